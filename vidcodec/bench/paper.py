"""`bench paper`: the source paper's table and more, on single pictures of 192x192.

The paper compares an autoencoder's error with bicubic interpolation's and leaves its latents as they are. Here the same
network is also measured as it is really sent, beside a GDN autoencoder trained for its rate (after Balle, Laparra and
Simoncelli 2016) and beside JPEG and JPEG 2000 that may spend no more bytes on each picture than it did.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidcodec.baselines.scaling import bicubic
from vidcodec.baselines.still import STILLS, StillSettings, decode_still, encode_still
from vidcodec.bench.output import add_out, write_run
from vidcodec.bench.pictures import read_pictures
from vidcodec.bench.tables import mse_text, number, table
from vidcodec.cli import add_shared, check_shared
from vidcodec.codec import FRAME_SIZE, Codec, load_codec
from vidcodec.errors import InputError, UsageError
from vidcodec.metrics import mse
from vidcodec.settings import parse_words

Frame = NDArray[np.uint8]
Coder = Callable[[Frame], tuple[Frame, int | None]]
"""A picture in; what is shown and its bits out (None: the paper counts none)."""

PAPER = {"seed, before quantisation": 3.1e-4, "bicubic 2x": 1.9e-4}
"""MSE that the source paper reports, on a selfie of its own."""
SETS = {
    "train": "training portraits",
    "unseen": "unseen portraits",
    "video": "unseen video frames",
    "other": "no portraits",
}
PIXELS = FRAME_SIZE * FRAME_SIZE


@dataclass(frozen=True)
class Row:
    """One method: mean MSE and bits per pixel on each set that was given."""

    name: str
    mse: dict[str, float]
    bits_per_pixel: dict[str, float | None]
    paper_mse: float | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="vidcodec bench paper", description=__doc__)
    parser.add_argument("--portraits", nargs="+", required=True, metavar="FILE|DIR", help="portraits never trained on")
    parser.add_argument("--train-portraits", nargs="+", metavar="FILE|DIR", help="portraits of the training set")
    parser.add_argument("--clips", nargs="+", metavar="FILE|DIR", help="video of people never trained on")
    parser.add_argument("--pictures", nargs="+", metavar="FILE|DIR", help="pictures that are no portraits")
    parser.add_argument("--most", type=int, default=60, metavar="N", help="pictures of each set (default: %(default)s)")
    add_out(parser)
    add_shared(parser, "device", "precision", "threads", device="cpu")
    options = parse_words(parser, argv)
    check_shared(options)
    if options.most < 1:
        raise UsageError(f"--most {options.most}: must be 1 or more")
    from rich.progress import track

    given = {
        "train": options.train_portraits,
        "unseen": options.portraits,
        "video": options.clips,
        "other": options.pictures,
    }
    sets = {name: read_pictures(sources, options.most) for name, sources in given.items() if sources}
    codecs: dict[str, Codec] = {}
    notes: list[str] = []
    for model in ("seed", "gdn"):
        try:
            codecs[model] = load_codec(model, options.device, options.precision, options.threads)
        except InputError as error:
            notes.append(f"{model}: not measured ({error})")
    plan = methods(codecs)
    rows = [measure_row(name, coder, sets) for name, coder in track(plan, "methods", transient=True)]
    result = {
        "sets": {name: {"what": SETS[name], "pictures": len(pictures)} for name, pictures in sets.items()},
        "weights": {name: codec.info.weights_sha256 for name, codec in codecs.items()},
        "rows": [asdict(row) for row in rows],
        "surprise": surprise(rows),
        "notes": notes,
    }
    write_run(options.out, "paper", result, markdown(result))
    return 0


def methods(codecs: dict[str, Codec]) -> list[tuple[str, Coder]]:
    """Every row of the table, in order."""
    rows: list[tuple[str, Coder]] = [(f"bicubic {scale}x", _bicubic(scale)) for scale in (2, 4, 8)]
    for model, codec in codecs.items():
        if model == "seed":
            rows.append(("seed, before quantisation", _unquantised(codec)))
        top = codec.info.qualities - 1
        for quality in sorted({0, top // 2, top}):
            sent = _remembered(_sent(codec, quality))
            rows.append((f"{model}, sent, quality {quality}", sent))
            for still in ("jpeg", "jpeg2000"):
                rows.append((f"{still} in the bytes of {model} {quality}", at_most(STILLS[still], sent)))
    return rows


def measure_row(name: str, coder: Coder, sets: dict[str, NDArray[np.uint8]]) -> Row:
    """One method on every set."""
    errors: dict[str, float] = {}
    bits: dict[str, float | None] = {}
    for where, pictures in sets.items():
        results = [coder(picture) for picture in pictures]
        shown = [mse(picture, result[0]) for picture, result in zip(pictures, results, strict=True)]
        spent = [result[1] for result in results if result[1] is not None]
        errors[where] = float(f"{np.mean(shown):.5g}")
        bits[where] = float(f"{np.mean(spent) / PIXELS:.5g}") if spent else None
    return Row(name, errors, bits, PAPER.get(name))


def _bicubic(scale: int) -> Coder:
    return lambda picture: (bicubic(picture, scale), 8 * picture.size // scale**2)


def _unquantised(codec: Codec) -> Coder:
    """The latents as 32-bit numbers, as the paper leaves them."""
    from vidcodec.stills import StillCodec

    assert isinstance(codec, StillCodec)

    def run(picture: Frame) -> tuple[Frame, int | None]:
        latents = codec.latents(picture)
        return codec.picture(latents), latents.size * 32

    return run


def _sent(codec: Codec, quality: int) -> Coder:
    """A real packet, header included, and what its decoder shows."""

    def run(picture: Frame) -> tuple[Frame, int | None]:
        packet, _ = codec.encode(picture, codec.blank_state(), quality)
        shown, _ = codec.decode(packet, codec.blank_state())
        return shown, 8 * len(packet)

    return run


def _remembered(coder: Coder) -> Coder:
    """The same coder, run once for each picture."""
    results: dict[bytes, tuple[Frame, int | None]] = {}

    def run(picture: Frame) -> tuple[Frame, int | None]:
        key = picture.tobytes()
        if key not in results:
            results[key] = coder(picture)
        return results[key]

    return run


def at_most(settings: StillSettings, other: Coder) -> Coder:
    """A still format at its best quality that takes no more bytes than `other` takes for the same picture.

    Where even its lowest quality takes more, that one is used and its true bits are counted.
    """

    def run(picture: Frame) -> tuple[Frame, int | None]:
        allowed_bytes = (other(picture)[1] or 0) // 8
        low, high = 1, 100
        if settings.name == "jpeg2000":  # its parameter is a size, in thousandths of the raw one
            high = max(2, 1000 * allowed_bytes // picture.size + 1)
            low = max(1, high - 15)
        best = None
        while low <= high:
            middle = (low + high) // 2
            data = encode_still(picture, settings, middle)
            if len(data) <= allowed_bytes:
                best, low = data, middle + 1
            else:
                high = middle - 1
        data = best if best is not None else encode_still(picture, settings, 1)
        return decode_still(data), 8 * len(data)

    return run


def surprise(rows: Sequence[Row]) -> dict[str, float | bool] | None:
    """Does a codec trained on faces alone do nearly as well on a lamp?

    Pictures that are no portraits may be harder for anybody: how much harder is what bicubic 2x, which knows no faces,
    says. `excess` is the codec's ratio of errors over bicubic's; it holds when that is at most 1.25.
    """
    found = {row.name: row.mse for row in rows}
    seed, plain = found.get("seed, before quantisation"), found.get("bicubic 2x")
    if seed is None or plain is None or not {"unseen", "other"} <= set(seed):
        return None
    own, general = seed["other"] / seed["unseen"], plain["other"] / plain["unseen"]
    return {
        "seed_ratio": round(own, 3),
        "bicubic_ratio": round(general, 3),
        "excess": round(own / general, 3),
        "holds": own / general <= 1.25,
    }


def markdown(result: dict[str, Any]) -> str:
    """The run as a page."""
    names = list(result["sets"])
    header = ["method", *(f"MSE, {result['sets'][name]['what']}" for name in names), "bits/pixel", "paper's MSE"]
    rows = [
        [
            row["name"],
            *(mse_text(row["mse"][name]) for name in names),
            number(row["bits_per_pixel"].get("unseen"), 2),
            mse_text(row["paper_mse"]),
        ]
        for row in result["rows"]
    ]
    counts = ", ".join(f"{one['pictures']} {one['what']}" for one in result["sets"].values())
    text = (
        f"Pictures of 192x192: {counts}. Bits per pixel are means over the unseen portraits, of real packets with "
        "their headers; before quantisation they are those of 32-bit numbers, for bicubic those of raw samples. The "
        "paper trained on CelebA and reports a selfie; neither is used here, so its figures stand beside ours and "
        f"are no comparison on the same pictures.\n\n{table(header, rows)}"
    )
    found = result["surprise"]
    if found:
        verdict = "holds" if found["holds"] else "does not hold"
        text += (
            f"\nThe paper's surprise, that a codec trained on faces alone does nearly as well on a lamp, {verdict}: "
            f"from unseen portraits to pictures that are none, the error of `seed` grows {found['seed_ratio']:.2f} "
            f"times and that of bicubic 2x, which knows no faces, {found['bicubic_ratio']:.2f} times.\n"
        )
    return text + "".join(f"\n* {note}\n" for note in result["notes"])
