"""The golden .vdc files: what a release wrote, and every later one reads. `python tests/golden_files.py` makes them.

    tests/golden/VERSION-MODEL.vdc    a few frames of the bundled sample
    tests/golden/VERSION-MODEL.json   its weights; sha256 of every packet's symbols; PSNR of the pictures
    tests/golden/VERSION-MODEL.png    its last picture as it was decoded then
    tests/golden/weights/s.*          small weights of the learned codec, made of random numbers and kept for ever

A file that is there is never written again: a release adds its own. `s` is made with the small weights, since those
that people use are replaced as training goes on; `seed` with its own, which stay.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).resolve().parent / "golden"
WEIGHTS = GOLDEN / "weights" / "s.safetensors"
QUALITY = {"seed": 1, "s": 24}
FRAMES = {"seed": 2, "s": 12}


@dataclass(frozen=True)
class Golden:
    """What is known of a golden file: the model, how many frames, sha256 of each one's symbols, PSNR in dB."""

    model: str
    weights_sha256: str
    frames: int
    symbols_sha256: tuple[str, ...]
    psnr_db: float


def weights_of(model: str) -> Path | None:
    """The weights that golden files of a model are made with; None: the bundled ones."""
    return WEIGHTS if model == "s" else None


def originals(count: int) -> list[NDArray[np.uint8]]:
    """Pictures of the bundled sample, some frames apart."""
    from sender.capture import open_source
    from sender.crop import fit_whole

    with open_source("sample", paced=False) as source:
        return [fit_whole(frame.picture) for frame in islice(source.frames(), 0, 3 * count, 3)]


def symbols_sha256(codec: Any, packet: Any) -> str:
    """Of all whole numbers that a packet says, as little-endian 64-bit integers."""
    from vidcodec.learned import LearnedCodec

    if isinstance(codec, LearnedCodec):
        symbols = codec.decode_symbols(packet)
        parts = [symbols.vectors, symbols.z, symbols.y]
    else:
        parts = [codec._symbols(packet)]
    return hashlib.sha256(b"".join(np.ascontiguousarray(part, "<i8").tobytes() for part in parts)).hexdigest()


def played(path: Path, codec: Any) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Symbols' sha256 and picture of every frame of a file."""
    from vidcodec.container import read_info, read_packets

    state = codec.blank_state()
    with path.open("rb") as file:
        read_info(file)
        for packet in read_packets(file):
            assert packet is not None, "golden files have no lost frames"
            picture, state = codec.decode(packet, state)
            yield symbols_sha256(codec, packet), picture


def make_weights() -> None:
    """Small weights for the learned codec, with every part that it has: motion, means, fine layers, a pattern."""
    from tests.tiny import RICH, tiny_arrays
    from vidcodec.weights import save_weights

    card = {"model_id": "s", "note": "Random numbers, for golden files: no training, no use but in tests."}
    save_weights(WEIGHTS, tiny_arrays(sizes=RICH), card, {"sizes": RICH.to_dict()})


def make(version: str, model: str) -> Path:
    """Write the golden files of a release."""
    from vidcodec.codec import load_codec
    from vidcodec.container import StreamInfo, StreamWriter
    from vidcodec.metrics import mse, psnr_db

    codec = load_codec(model, "cpu", "fp32", 1, weights_of(model))
    pictures, path = originals(FRAMES[model]), GOLDEN / f"{version}-{model}.vdc"
    state = codec.blank_state()
    with path.open("xb") as file:
        writer = StreamWriter(file, StreamInfo(codec.info.model_id, codec.info.weights_sha256, 30.0))
        for picture in pictures:
            packet, state = codec.encode(picture, state, QUALITY[model])
            writer.write(packet)
    shown = list(played(path, codec))
    error = float(np.mean([mse(a, b) for a, (_, b) in zip(pictures, shown, strict=True)]))
    golden = Golden(
        model, codec.info.weights_sha256, len(shown), tuple(sha for sha, _ in shown), round(psnr_db(error), 3)
    )
    path.with_suffix(".json").write_text(json.dumps(asdict(golden), indent=1) + "\n", "utf-8")
    cv2.imwrite(str(path.with_suffix(".png")), cv2.cvtColor(shown[-1][1], cv2.COLOR_RGB2BGR))
    return path


def main() -> int:
    """Make what is missing for the present version."""
    from vidcodec import __version__

    if not WEIGHTS.is_file():
        make_weights()
        print(WEIGHTS, WEIGHTS.stat().st_size, "bytes")
    for model in QUALITY:
        if not (GOLDEN / f"{__version__}-{model}.vdc").exists():
            path = make(__version__, model)
            print(path, path.stat().st_size, "bytes")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
