"""`bench latency`: a whole call on this machine, stage by stage, for each model and for VP8 in a video track.

The call is the one that `python -m sender --loopback` makes, through the same command; its report holds the stages.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vidcodec.bench.clips import find_clips, read_clip
from vidcodec.bench.output import add_out, load_average, need, write_run
from vidcodec.bench.tables import number, table
from vidcodec.bench.videotrack import run_track
from vidcodec.cli import add_shared, check_shared
from vidcodec.errors import InputError, PeerError, UsageError
from vidcodec.logs import said_error
from vidcodec.report import STAGES, Percentiles
from vidcodec.settings import parse_words, without_options

MODELS = ("s", "seed")
TRACK = "VP8 in aiortc's video track"
_COLOURS = ("#4c78a8", "#72b7b2", "#e45756", "#f2cf5b", "#b279a2", "#9d9da1")


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="vidcodec bench latency", description=__doc__)
    parser.add_argument("--models", nargs="*", default=MODELS, metavar="NAME", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--no-track", action="store_true", help="leave out aiortc's video track")
    add_out(parser)
    add_shared(parser, "input", "bitrate", "duration", "device", "precision", "threads", input="sample", duration=10.0)
    options = parse_words(parser, argv)
    check_shared(options)
    need("bench latency", "matplotlib")
    check_input(options.input, with_track=not options.no_track)
    from rich.console import Console

    console = Console(stderr=True)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for model in options.models:
        console.print(f"{model}: a call of {options.duration:g} s", highlight=False)
        try:
            rows.append(call(model, options))
        except InputError as error:
            notes.append(f"{model}: not measured ({error})")
            console.print(notes[-1], highlight=False)
    if not options.no_track:
        console.print(f"{TRACK}: {options.duration:g} s", highlight=False)
        rows.append(track(options))
    load = load_average()
    result = {"input": Path(options.input).name, "cores": os.cpu_count(), "load": load, "rows": rows, "notes": notes}
    write_run(options.out, "latency", result, markdown(result))
    plot(rows, options.out / "latency.png")
    return 0


def check_input(source: str, with_track: bool) -> None:
    """Find out before any call whether there is something to send.

    Raises:
        InputError: it cannot be read.
        UsageError: the video track takes no such source.
    """
    from sender.capture import camera_index, open_source
    from sender.resending import RecordedSource, is_recording

    if with_track and (camera_index(source) is not None or is_recording(source)):
        raise UsageError(f"--input {source}: the video track is sent files only; leave it out with --no-track")
    if is_recording(source):
        RecordedSource(Path(source))
    else:
        open_source(source, paced=False).close()


def call(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """One loopback call through the command.

    Raises:
        InputError: the model has no weights, or the input cannot be read.
        PeerError: the call failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "sender", "--loopback", "--display", "none", "--report", str(report)]
        command += ["--model", model, "--input", options.input, "--duration", str(options.duration)]
        command += ["--loop", "--baseline", "none", "--crop", "center"]
        for name in ("bitrate", "device", "precision", "threads"):
            value = getattr(options, name)
            if value is not None:
                command += [f"--{name}", str(value)]
        try:
            done = subprocess.run(
                command,
                env=without_options(os.environ),
                capture_output=True,
                text=True,
                timeout=options.duration + 90,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise PeerError(f"loopback call with model {model} did not end in {error.timeout:g} s") from error
        if done.returncode:
            line = (done.stderr.strip() or "no message").splitlines()[-1]
            said = said_error(line) or line
            kind = {2: UsageError, 3: InputError}.get(done.returncode, PeerError)
            raise kind(f"loopback call with model {model} ended with status {done.returncode}: {said}")
        values = json.loads(report.read_text("utf-8"))
    kept = ("frames_captured", "frames_shown", "fps", "payload_kbps", "wire_kbps", "mse")
    return {"name": model, **{key: values[key] for key in kept}, "latency_ms": values["latency_ms"]}


def track(options: argparse.Namespace) -> dict[str, Any]:
    """aiortc's own way with the same frames."""
    path = options.input
    if path == "sample":
        from sender.capture import SAMPLE

        path = str(SAMPLE)
    clip = read_clip(find_clips([path])[0])
    count = round(options.duration * clip.fps)
    frames = clip.frames[[i % len(clip.frames) for i in range(count)]]
    delays = run_track(frames, clip.fps)
    whole = Percentiles.of([delay_ms for _, delay_ms in delays])
    latency = {stage: asdict(whole if stage == "total" else Percentiles()) for stage in STAGES}
    shown = {"frames_captured": count, "frames_shown": len(delays), "fps": clip.fps}
    return {"name": TRACK, **shown, "payload_kbps": None, "wire_kbps": None, "mse": None, "latency_ms": latency}


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """A frame's way through each call: median stages in a row, p95 and p99 of the whole as marks."""
    from vidcodec.bench.plots import load_pyplot

    pyplot = load_pyplot()
    figure, axis = pyplot.subplots(figsize=(9, 1.2 + 0.8 * len(rows)))
    for place, row in enumerate(rows):
        left = 0.0
        stages = [stage for stage in STAGES if stage != "total"]
        for stage, colour in zip(stages, _COLOURS, strict=True):
            width = row["latency_ms"][stage]["p50"] or 0.0
            axis.barh(place, width, left=left, color=colour, label=stage if place == 0 else None, height=0.55)
            left += width
        total = row["latency_ms"]["total"]
        if left == 0 and total["p50"]:
            axis.barh(place, total["p50"], color="#dddddd", height=0.55)
        for share, mark in (("p95", "|"), ("p99", "x")):
            if total[share] is not None:
                axis.plot(total[share], place, mark, color="black", markersize=10, label=share if place == 0 else None)
    axis.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axis.invert_yaxis()
    axis.set_xlabel("ms from the source's picture to the screen: medians of the stages, p95 and p99 of the whole")
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def markdown(result: dict[str, Any]) -> str:
    """The run as a page."""
    header = ["call", "shown", *(f"{stage} p50/p95/p99" for stage in STAGES)]
    rows = [
        [
            row["name"],
            f"{row['frames_shown']} of {row['frames_captured']}",
            *(_cell(row["latency_ms"][stage]) for stage in STAGES),
        ]
        for row in result["rows"]
    ]
    text = (
        f"Milliseconds, {result['cores']} cores, source `{result['input']}`; load when measured: {result['load']}. In "
        "the video track the stages cannot be told apart: the total is from the frame given to the track to the "
        f"decoded picture.\n\n{table(header, rows)}"
    )
    return text + "".join(f"\n* {note}\n" for note in result["notes"])


def _cell(values: dict[str, float | None]) -> str:
    if values["p50"] is None:
        return "-"
    return " / ".join(number(values[share], 1) for share in ("p50", "p95", "p99"))
