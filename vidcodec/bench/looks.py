"""`bench looks`: codecs beside the original at one bitrate, as a picture to look at."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vidcodec.bench.coders import ModelSpec, Spec, VideoSpec, find_spec
from vidcodec.bench.output import add_out, write_run
from vidcodec.bench.tables import number, table
from vidcodec.cli import add_shared, check_shared
from vidcodec.errors import InputError, UsageError
from vidcodec.metrics import psnr_db
from vidcodec.networks.config import LEVELS
from vidcodec.settings import parse_words
from vidcodec.wire import rate_kbps

Frame = NDArray[np.uint8]

CODECS = ("s", "s-p", "svtav1")
ZOOM = 2
BAND_PX = 44
"""Height of the words above a picture."""


@dataclass(frozen=True)
class Shown:
    """A clip through one codec.

    Attributes:
        codec, level: which; the level is the one whose rate comes nearest to the one asked for without exceeding it, or
            the lowest where every one does.
        kbps: payload rate over the clip. lpips: over the frames that the picture shows; psnr_db: over all.
        pictures: `[N, 192, 192, 3]`, what a receiver shows.
    """

    codec: str
    level: int
    kbps: float
    psnr_db: float
    lpips: float | None
    pictures: NDArray[np.uint8]


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    options = _parse(argv)
    frames, fps = _read(options)
    at = [round((row + 1) * (len(frames) - 1) / options.rows) for row in range(options.rows)]
    specs = [find_spec(name, options.device, options.precision) for name in options.codecs]
    shown = [at_rate(spec, frames, fps, options.bitrate, at) for spec in specs]
    rows = [
        {"codec": one.codec, "level": one.level, "kbps": one.kbps, "psnr_db": one.psnr_db, "lpips": one.lpips}
        for one in shown
    ]
    result: dict[str, Any] = {
        "input": str(options.input),
        "frames": len(frames),
        "fps": fps,
        "kbps": options.bitrate,
        "shown_frames": at,
        "rows": rows,
    }
    picture = picture_of(frames, shown, at)
    write_run(options.out, "looks", result, markdown(result))
    if not cv2.imwrite(str(options.out / "looks.png"), picture[..., ::-1]):
        raise InputError(f"--out {options.out}: looks.png cannot be written")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vidcodec bench looks", description=__doc__)
    parser.add_argument(
        "--codecs", nargs="+", default=CODECS, metavar="NAME", help=f"what to show (default: {' '.join(CODECS)})"
    )
    parser.add_argument(
        "--rows", type=int, default=2, help="how many frames of the clip to show (default: %(default)s)"
    )
    add_out(parser)
    add_shared(parser, "input", "bitrate", "crop", "frames", "device", "precision", input="sample", bitrate=12.0)
    options = parse_words(parser, argv)
    check_shared(options)
    if options.rows < 1:
        raise UsageError(f"--rows {options.rows}: must be 1 or more")
    return options


def _read(options: argparse.Namespace) -> tuple[NDArray[np.uint8], float]:
    from sender.capture import open_source
    from sender.crop import crop_frames

    with open_source(options.input, paced=False) as source:
        pictures = crop_frames((frame.picture for frame in source.frames()), source.fps, options.crop)
        frames = list(islice(pictures, options.frames))
    if not frames:
        raise InputError(f"{options.input}: no frame in it")
    return np.stack(frames), source.fps


def at_rate(spec: Spec, frames: NDArray[np.uint8], fps: float, kbps: float, at: Sequence[int]) -> Shown:
    """A clip through a codec at a rate, found by halving the range of its levels.

    Raises:
        UsageError: a codec without levels.
    """
    ladder = _ladder(spec)
    low, high = 0, len(ladder) - 1
    best: Shown | None = None
    while low <= high:
        middle = (low + high) // 2
        tried = _code(spec, ladder[middle], frames, fps, at)
        if tried.kbps <= kbps:
            best, low = tried, middle + 1
        else:
            high = middle - 1
    return best or _code(spec, ladder[0], frames, fps, at)


def _ladder(spec: Spec) -> Sequence[int]:
    """Every level of a codec, fewest bits first."""
    if isinstance(spec, VideoSpec):
        ladder = spec.settings.ladder
        return range(ladder[0], ladder[-1] - 1, -1)
    if isinstance(spec, ModelSpec) and len(spec.levels) > 1:
        return range(min(LEVELS, spec.levels[-1] + 1))
    raise UsageError(f"codec {spec.name!r} has no rate to choose: give one of ours or a video codec")


def _code(spec: Spec, level: int, frames: NDArray[np.uint8], fps: float, at: Sequence[int]) -> Shown:
    encoder, decoder = spec.open_encoder(level, fps), spec.open_decoder()
    try:
        packets = [encoder.encode(frame) for frame in frames]
    finally:
        encoder.close()
    pictures = np.stack([decoder.decode(packet) for packet in packets])
    error = float(np.mean([np.mean((a.astype(np.float64) - b) ** 2) for a, b in zip(frames, pictures, strict=True)]))
    rate = rate_kbps(sum(map(len, packets)), len(frames) / fps)
    return Shown(spec.name, level, rate, psnr_db(error / 255**2), _lpips(frames, pictures, at), pictures)


def _lpips(frames: NDArray[np.uint8], pictures: NDArray[np.uint8], at: Sequence[int]) -> float | None:
    """LPIPS where its weights are installed."""
    from vidcodec.perceptual import load_lpips

    try:
        metric = load_lpips()
    except InputError:
        return None
    return float(np.mean([metric.distance(frames[k], pictures[k]) for k in at]))


def picture_of(frames: NDArray[np.uint8], shown: Sequence[Shown], at: Sequence[int]) -> Frame:
    """A column for the original and each codec, a row for each frame; twice the size, with words above."""
    columns = [("original", "", frames)]
    for one in shown:
        lpips = "" if one.lpips is None else f"  LPIPS {one.lpips:.3f}"
        columns.append((f"{one.codec}  {one.kbps:.1f} kbit/s", f"{one.psnr_db:.1f} dB{lpips}", one.pictures))
    return np.hstack([_column(title, under, [pictures[k] for k in at]) for title, under, pictures in columns])


def _column(title: str, under: str, pictures: Sequence[Frame]) -> Frame:
    side = pictures[0].shape[0] * ZOOM
    band = np.full((BAND_PX, side, 3), 24, np.uint8)
    for line, (text, grey) in enumerate(((title, 255), (under, 180))):
        place = (8, 18 + 20 * line)
        cv2.putText(band, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.52, (grey,) * 3, 1, cv2.LINE_AA)
    large = [cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC) for picture in pictures]
    return np.asarray(np.vstack([band, *large]), np.uint8)


def markdown(result: dict[str, Any]) -> str:
    """The run as a page."""
    rows = [
        [row["codec"], str(row["level"]), number(row["kbps"]), number(row["psnr_db"], 2), number(row["lpips"], 3)]
        for row in result["rows"]
    ]
    return (
        f"# Looks at {result['kbps']:g} kbit/s\n\n{result['frames']} frames of {result['input']} at "
        f"{result['fps']:g}/s; LPIPS of the frames shown. Picture: looks.png.\n\n"
        + table(["codec", "level", "kbit/s", "PSNR, dB", "LPIPS"], rows)
    )
