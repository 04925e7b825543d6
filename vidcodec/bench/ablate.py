"""`bench ablate`: what each part of the learned codec is worth, by taking it away at both ends without new training.

The networks learned beside the part that is missing, so what it is worth is overstated: the order says more than the
figures.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidcodec.bdrate import Curve, bjontegaard
from vidcodec.bench.clips import Clip, find_clips, read_clip
from vidcodec.bench.output import add_out, need, write_run
from vidcodec.bench.tables import table
from vidcodec.cli import add_shared, check_shared
from vidcodec.errors import UsageError
from vidcodec.learned import LearnedCodec
from vidcodec.networks.config import PATCH, ModelConfig
from vidcodec.networks.refine import ROUNDS
from vidcodec.settings import parse_words

Arrays = Mapping[str, NDArray[Any]]
QUALITIES = (4, 14, 24, 36)
FRAMES = 96
WHOLE = "whole"


@dataclass(frozen=True)
class Part:
    """A part and how to do without it: other arrays and other settings."""

    name: str
    without: Callable[[dict[str, NDArray[Any]], ModelConfig], tuple[dict[str, NDArray[Any]], ModelConfig]]
    motion_rounds: int = ROUNDS


def _silent(layer: str, rows: slice, bias: float = 0.0) -> Callable[..., tuple[dict[str, NDArray[Any]], ModelConfig]]:
    """Rows of a linear layer that give `bias` whatever goes in."""

    def without(arrays: dict[str, NDArray[Any]], sizes: ModelConfig) -> tuple[dict[str, NDArray[Any]], ModelConfig]:
        weight, offset = arrays[f"net.{layer}.weight"].copy(), arrays[f"net.{layer}.bias"].copy()
        weight[rows], offset[rows] = 0, bias
        return {**arrays, f"net.{layer}.weight": weight, f"net.{layer}.bias": offset}, sizes

    return without


def _set(**settings: Any) -> Callable[..., tuple[dict[str, NDArray[Any]], ModelConfig]]:
    return lambda arrays, sizes: (arrays, replace(sizes, **settings))


def parts_of(sizes: ModelConfig) -> list[Part]:
    """What can be taken away from a model of these sizes."""
    detail = 3 * PATCH * PATCH
    parts = [
        Part("analysis trunk", _silent("analysis_head", slice(None))),
        Part("detail of the synthesis trunk", _silent("synthesis_head", slice(0, detail))),
        Part("memory", _silent("synthesis_head", slice(detail + sizes.memory, None), bias=-30.0)),
        Part("choice by rate and distortion", _set(bit_price=0.0)),
        Part("vectors by rate and distortion", _set(), motion_rounds=0),
        Part("pattern of levels", _set(pattern=(0.0,))),
        Part("boost of intra frames", _set(intra_boost=0.0)),
    ]
    if sizes.mean_hidden:
        parts.append(Part("means of y", _set(mean_hidden=0)))
    if sizes.sharp_motion:
        parts.append(Part("motion read more sharply", _set(sharp_motion=False)))
    if sizes.least_change:
        parts.append(Part("changes below a level left out", _set(least_change=0.0)))
    if sizes.fine_width:
        parts.append(Part("layers at 1/4 resolution", _set(fine_width=0)))
    return parts


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="vidcodec bench ablate", description=__doc__)
    parser.add_argument("--clips", nargs="+", required=True, metavar="DIR|FILE", help="folders or files of video")
    add_out(parser)
    add_shared(parser, "frames", "weights", "device", "precision", "threads", frames=FRAMES, device="cpu", threads=1)
    options = parse_words(parser, argv)
    check_shared(options)
    need("bench ablate", "scipy")
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    clips = [read_clip(path, options.frames) for path in find_clips(options.clips)]
    whole = LearnedCodec.load(
        "s", options.device, options.precision, options.threads, Path(options.weights) if options.weights else None
    )
    curves = {WHOLE: curves_of(whole, clips)}
    for part in track(parts_of(whole.sizes), "parts", console=console):
        curves[part.name] = curves_of(deprived(whole, part), clips)
    rows = [
        {"without": name, "percent": {c.name: _change(curves[WHOLE], own, c.name) for c in clips}}
        for name, own in curves.items()
        if name != WHOLE
    ]
    result = {"model_id": whole.info.model_id, "frames": options.frames, "qualities": QUALITIES, "rows": rows}
    write_run(options.out, "ablate", result, markdown(result))
    return 0


def deprived(whole: LearnedCodec, part: Part) -> LearnedCodec:
    """The same weights without a part."""
    arrays, sizes = part.without(dict(whole.arrays), whole.sizes)
    info = whole.info
    codec = LearnedCodec(
        arrays, sizes, model_id=info.model_id, sha256="", device=whole.device, precision=whole.precision
    )
    codec.motion_rounds = part.motion_rounds
    return codec


def curves_of(codec: LearnedCodec, clips: Sequence[Clip]) -> dict[str, Curve]:
    """Rate and PSNR of each clip over `QUALITIES`, from real packets."""
    curves = {}
    for clip in clips:
        rates, levels = [], []
        for quality in QUALITIES:
            state, count, error = codec.blank_state(), 0, 0.0
            for frame in clip.frames:
                packet, state = codec.encode(frame, state, quality)
                count += len(packet)
                error += float(np.mean((frame / 255.0 - state.picture / 255.0) ** 2)) / len(clip.frames)
            rates.append(count * 8 / 1000 / clip.duration_s)
            levels.append(-10 * float(np.log10(error)))
        curves[clip.name] = Curve.of(rates, levels)
    return curves


def _change(whole: Mapping[str, Curve], other: Mapping[str, Curve], clip: str) -> float | None:
    """BD-rate in percent against the whole model; None where the curves do not overlap."""
    try:
        return bjontegaard(whole[clip], other[clip], least_points=len(QUALITIES)).rate_percent
    except UsageError:
        return None


def markdown(result: Mapping[str, Any]) -> str:
    """A table: one row a part, the mean over the clips first."""
    names = list(result["rows"][0]["percent"])
    rows = []
    for row in result["rows"]:
        values = [row["percent"][name] for name in names]
        known = [value for value in values if value is not None]
        mean = f"{np.mean(known):+.1f} %" if known else "-"
        rows.append([row["without"], mean, *("-" if v is None else f"{v:+.1f} %" for v in values)])
    title = f"Bits at equal PSNR without a part of {result['model_id']}, first {result['frames']} frames:"
    return f"{title}\n\n{table(['without', 'mean', *names], rows)}"
