"""`bench rd`: every codec on every clip, as rate-distortion curves of real packets."""

import argparse
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from vidcodec.baselines.settings import NAMED, PEERS
from vidcodec.bench.atrate import AT_KBPS, CODEC, at_rate, at_rate_table
from vidcodec.bench.cache import Cache, default_folder
from vidcodec.bench.clips import Clip, find_clips, read_clip
from vidcodec.bench.coders import MODELS, ModelSpec, Spec, default_specs, find_spec
from vidcodec.bench.lookstable import looks_json, looks_rows, looks_table
from vidcodec.bench.measure import Point, measure
from vidcodec.bench.output import add_out, need, save
from vidcodec.bench.plots import plot_clip, plot_means
from vidcodec.bench.processes import end_with_parent
from vidcodec.bench.remote import RemoteDecoder
from vidcodec.bench.summary import MSE_MARKS, RATE_MARKS_KBPS, against, clip_deltas, summarise, to_json
from vidcodec.bench.tables import against_table, clip_table, rd_table
from vidcodec.cli import add_shared, check_shared
from vidcodec.codec import LEARNED_MODELS
from vidcodec.errors import InputError, UsageError, VidcodecError
from vidcodec.networks.config import LEVELS, SPARING
from vidcodec.settings import parse_words

ANCHOR = "x264-veryfast"
BELOW = -SPARING // 2
"""About here a clip full of motion takes least: lower still, later frames cost what the first ones saved."""

HALF_SIZE = ("vp8@2", "svtav1@2")
"""The scaled peers that the plot of the documentation shows beside all at full size."""


@dataclass(frozen=True)
class Job:
    """One codec on one clip: the levels that no cache holds."""

    path: Path
    frames: int | None
    noise: float
    spec: Spec
    levels: tuple[int, ...]
    lpips: bool


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    options = _parse(argv)
    check_shared(options)
    need("bench rd", "scipy", *(() if options.no_plots else ("matplotlib",)))
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    clips = [(path, read_clip(path, options.frames, options.noise)) for path in find_clips(options.clips)]
    specs, missing = _specs(options)
    if options.anchor not in [spec.name for spec in specs]:
        specs.append(find_spec(options.anchor, options.device, options.precision))
    for line in missing:
        console.print(line, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    store = Cache(None if options.no_cache else options.cache)
    with Progress(*columns, console=console) as progress:
        total = sum(len(spec.levels) for spec in specs) * len(clips)
        task = progress.add_task("rate-distortion points", total=total)
        points, refused = run(
            clips,
            specs,
            store,
            jobs=options.jobs,
            lpips=options.lpips,
            frames=options.frames,
            noise=options.noise,
            report=lambda count: progress.advance(task, count),
        )
    for line in refused:
        console.print(f"refused: {line}", style="red", highlight=False)
    result = write(options.out, points, clips=clips, specs=specs, anchor=options.anchor, notes=[*missing, *refused])
    if not options.no_plots:
        _plots(options.out, points, [clip.name for _, clip in clips])
    print(rd_table(result["summary"], MSE_MARKS))
    if result["looks"]:
        print(f"\n{looks_table(result['looks'], options.anchor)}")
    console.print(f"written: {options.out / 'rd.json'}, rd.md and plots")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vidcodec bench rd", description=__doc__)
    parser.add_argument("--clips", nargs="+", required=True, metavar="DIR|FILE", help="folders or files of video")
    parser.add_argument("--codecs", nargs="+", metavar="NAME", help="what to measure (default: all but s-p)")
    parser.add_argument("--anchor", default=ANCHOR, help="what BD-rate is against (default: %(default)s)")
    add_out(parser)
    parser.add_argument("--cache", type=Path, default=default_folder(), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--no-cache", action="store_true", help="measure everything again, keep nothing")
    parser.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes (default: %(default)s)"
    )
    parser.add_argument(
        "--qualities",
        nargs="+",
        type=int,
        metavar="Q",
        help="rate points of s and s-p (default: six over all of them, and one below 0)",
    )
    parser.add_argument("--lpips", action="store_true", help="also LPIPS (AlexNet); needs its weights, see docs")
    parser.add_argument(
        "--noise",
        type=float,
        default=0.0,
        metavar="LEVELS",
        help="camera noise put on the clips, 0 to 20 levels of 255",
    )
    parser.add_argument("--no-plots", action="store_true", help="no PNG files")
    add_shared(parser, "frames", "device", "precision", device="cpu")
    options = parse_words(parser, argv)
    if options.qualities and not all(-SPARING <= quality < LEVELS for quality in options.qualities):
        raise UsageError(f"--qualities {' '.join(map(str, options.qualities))}: each is {-SPARING} to {LEVELS - 1}")
    if options.qualities and max(options.qualities) < 0:
        raise UsageError("--qualities: give one of 0 or more, too; those below say nothing of bits for a picture")
    if not 0 <= options.noise <= 20:
        raise UsageError(f"--noise {options.noise:g}: give 0 to 20 levels of 255")
    return options


def _specs(options: argparse.Namespace) -> tuple[list[Spec], list[str]]:
    if options.jobs < 1:
        raise UsageError(f"--jobs {options.jobs}: must be 1 or more")
    if options.lpips:
        from vidcodec.perceptual import load_lpips

        load_lpips()  # fails here, with what to do, rather than in a worker after minutes
    if options.codecs:
        found = [find_spec(name, options.device, options.precision) for name in dict.fromkeys(options.codecs)]
        return [_at_qualities(spec, options.qualities) for spec in found], []
    specs, missing = default_specs(options.device, options.precision)
    return [_at_qualities(spec, options.qualities) for spec in specs], missing


def _at_qualities(spec: Spec, qualities: Sequence[int] | None) -> Spec:
    """The spec at other rate points, where it is one of ours that has so many; as a rule its own and one below 0."""
    if not isinstance(spec, ModelSpec) or spec.model not in LEARNED_MODELS:
        return spec
    return replace(spec, levels=tuple(sorted(set(qualities or (BELOW, *spec.levels)))))


def run(
    clips: Sequence[tuple[Path, Clip]],
    specs: Sequence[Spec],
    store: Cache,
    *,
    jobs: int = 2,
    lpips: bool = False,
    frames: int | None = None,
    noise: float = 0.0,
    report: Callable[[int], None] = lambda _count: None,
) -> tuple[list[Point], list[str]]:
    """Measure what the cache does not hold.

    Returns:
        Points ordered by codec, clip, level; and a line for each codec that was refused, once.
    """
    points: dict[tuple[str, str, int], Point] = {}
    keys: dict[tuple[str, str, int], str] = {}
    work: list[Job] = []
    for spec in sorted(specs, key=lambda spec: not isinstance(spec, ModelSpec)):  # the slow ones first
        for path, clip in clips:
            open_levels = []
            for level in spec.levels:
                place = (spec.name, clip.name, level)
                keys[place] = store.key(clip, spec, level, lpips)
                known = store.get(keys[place], clip, spec)
                if known is None:
                    open_levels.append(level)
                else:
                    points[place] = known
                    report(1)
            if open_levels:
                work.append(Job(path, frames, noise, spec, tuple(open_levels), lpips))
    refused: dict[str, str] = {}
    for job, outcome in _work(work, jobs):
        report(len(job.levels))
        if isinstance(outcome, str):
            refused.setdefault(job.spec.name, outcome)
            continue
        for point in outcome:
            place = (point.codec, point.clip, point.level)
            points[place] = point
            store.put(keys[place], point)
    order = [
        (spec.name, clip.name, level)
        for spec in specs
        if spec.name not in refused
        for _, clip in clips
        for level in spec.levels
    ]
    return [points[place] for place in order], list(refused.values())


def _work(work: Sequence[Job], jobs: int) -> Iterable[tuple[Job, list[Point] | str]]:
    if not work:
        return
    count = min(jobs, len(work))
    pool = ProcessPoolExecutor(count, get_context("spawn"), initializer=_start_worker)
    try:
        futures: dict[Future[list[Point] | str], Job] = {pool.submit(_measure_job, job): job for job in work}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """One thread for OpenCV and torch (`--jobs` says how many cores work), and no life after the parent's."""
    import cv2

    end_with_parent()
    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


@cache
def _remote() -> RemoteDecoder:
    """The decoder process of this worker."""
    return RemoteDecoder()


@cache
def _clip(path: Path, frames: int | None, noise: float) -> Clip:
    return read_clip(path, frames, noise)


def _measure_job(job: Job) -> list[Point] | str:
    """In a worker: the points of a job, or why the codec is refused."""
    try:
        clip = _clip(job.path, job.frames, job.noise)
        return [measure(clip, job.spec, level, _remote(), job.lpips) for level in job.levels]
    except InputError:
        raise
    except VidcodecError as error:
        return str(error)


def write(
    folder: Path,
    points: Sequence[Point],
    *,
    clips: Sequence[tuple[Path, Clip]],
    specs: Sequence[Spec],
    anchor: str,
    notes: Sequence[str],
) -> dict[str, Any]:
    """Write `rd.json` and `rd.md`; returns what the JSON holds.

    Raises:
        InputError: the folder cannot be written.
    """
    deltas = clip_deltas(points, anchor)
    summaries = summarise(points, deltas)
    looks = looks_rows(points, anchor) if all(point.lpips is not None for point in points) else []
    result: dict[str, Any] = {
        "anchor": anchor,
        "mse_marks": MSE_MARKS,
        "rate_marks_kbps": RATE_MARKS_KBPS,
        "clips": [{"name": c.name, "frames": len(c.frames), "fps": c.fps, "sha256": c.sha256} for _, c in clips],
        "codecs": {spec.name: spec.describe() for spec in specs},
        "notes": list(notes),
        "summary": to_json(summaries),
        "deltas": to_json(deltas),
        "looks": looks_json(looks),
        "columns": list(Point.columns()),
        "points": [list(point.to_json().values()) for point in points],
    }
    save(folder, {"rd.json": dump(result), "rd.md": markdown(result)})
    return result


def read_points(result: dict[str, Any]) -> list[Point]:
    """The points of an `rd.json`."""
    return [Point.from_json(dict(zip(result["columns"], row, strict=True))) for row in result["points"]]


def dump(result: dict[str, Any]) -> str:
    """JSON with one line for each row of a list, so that differences read well."""
    parts = []
    for key, value in result.items():
        if isinstance(value, list) and value:
            rows = ",\n".join("  " + json.dumps(row) for row in value)
            parts.append(f"{json.dumps(key)}: [\n{rows}\n ]")
        elif isinstance(value, dict):
            rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in value.items())
            parts.append(f"{json.dumps(key)}: {{\n{rows}\n }}")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def markdown(result: dict[str, Any]) -> str:
    """The run as a page: the table, BD-rate clip by clip, every setting."""
    clips = ", ".join(f"{clip['name']} ({clip['frames']} at {clip['fps']:g}/s)" for clip in result["clips"])
    curved = [row["codec"] for row in result["summary"] if row["clips"]]
    settings = "\n".join(f"* `{name}`: {text}" for name, text in result["codecs"].items())
    notes = "".join(f"\n* {note}" for note in result["notes"])
    points = read_points(result)
    low = at_rate(points)
    measured = {point.codec for point in points}
    anchors = [name for name in NAMED if {CODEC, name} <= measured]
    beside = to_json(against(points, CODEC, name) for name in anchors)
    return (
        f"# Rate and distortion\n\nClips, 192x192: {clips}.\n\nBD-rate by RGB PSNR against {result['anchor']}, clip by "
        "clip, then averaged: negative is fewer bits for the same error. Rates are those of packets with their "
        "headers, at each clip's frame rate, before the transport's overhead.\n\n"
        f"{rd_table(result['summary'], result['mse_marks'])}\n## BD-rate clip by clip, with its PSNR overlap\n\n"
        f"{clip_table(result['deltas'], curved)}\n"
        + (f"## Bits of `{CODEC}` against each video codec\n\n{against_table(beside, anchors)}\n" if beside else "")
        + f"## Settings\n\n{settings}\n"
        + (f"\n## At {AT_KBPS:g} kbit/s, clip by clip\n\n{at_rate_table(low)}" if low else "")
        + (f"\n## LPIPS\n\n{looks_table(result['looks'], result['anchor'])}" if result.get("looks") else "")
        + (f"\n## Not measured\n{notes}\n" if notes else "")
    )


def _plots(folder: Path, points: Sequence[Point], clips: Sequence[str]) -> None:
    for name in clips:
        plot_clip([point for point in points if point.clip == name], name, folder / f"rd_{name}.png")
    plot_means(points, f"Mean of {len(clips)} clips, 192x192", folder / "rd_mean.png")
    plot_means(points, f"Mean of {len(clips)} clips, 192x192", folder / "rd_main.png", (*MODELS, *PEERS, *HALF_SIZE))
