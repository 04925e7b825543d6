"""`bench page`: what a page costs a call. One loopback call with a page, looked at by turns by each kind of viewer.

    nobody | viewer | viewer | nobody | nobody | next viewer | ...

Each turn of a viewer stands beside one of nobody's, before or after it, and only their difference counts: what else the
machine does falls on both. Delays are those that the receiver serves to Prometheus, of the newest 60 frames. A browser
on the same machine takes its own time from the call's cores: `reader` takes every frame without drawing it, as a
browser on another machine would.
"""

import argparse
import http.client
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from vidcodec.bench.output import add_out, load_average, write_run
from vidcodec.bench.paired import rise
from vidcodec.bench.processes import Processes, child_of, members, resident_mib
from vidcodec.bench.tables import number, table
from vidcodec.bench.viewers import Browser, Nobody, Reader, Stuck, find_browser
from vidcodec.cli import add_shared, check_shared
from vidcodec.errors import PeerError, UsageError, reason_of
from vidcodec.settings import parse_words, without_options

VIEWERS: dict[str, tuple[str, Callable[[], Nobody]]] = {
    "browser": ("one browser on the same machine", Browser),
    "reader": ("one viewer that reads everything, elsewhere", Reader),
    "stuck": ("one viewer that reads nothing", Stuck),
}
BOUND_MS = 5.0
"""By so much at most may one browser raise the call's p95."""

WINDOW_FRAMES = 60
"""Delays are served of so many of the newest frames (`CallLog.recent_latency`)."""

WINDOWS = 2
SETTLE_S = 1.5
"""After a viewer has come or gone, until it has loaded what it needs."""

LAG_S = 1.5
"""The sender's half of a delay comes once a second."""

START_S = 120.0
FIGURES = ("p50_ms", "p95_ms", "receiver_cpu_ms", "sender_cpu_ms", "viewer_cpu_ms", "memory_mib")
Turn = dict[str, float]


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="vidcodec bench page", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--viewers", nargs="+", choices=VIEWERS, default=list(VIEWERS), help="who looks at the page (default: all)"
    )
    parser.add_argument(
        "--pairs", type=int, default=8, metavar="N", help="pairs of turns for each viewer (default: %(default)s)"
    )
    parser.add_argument("--fps", type=float, default=30.0, metavar="F", help="frames a second (default: %(default)g)")
    add_out(parser)
    add_shared(parser, "input", "model", "bitrate", "threads", input="sample")
    options = parse_words(parser, argv)
    check_shared(options)
    if options.pairs < 1 or not 5 <= options.fps <= 240:
        raise UsageError("--pairs must be 1 or more, and --fps 5 to 240")
    viewers, notes = [viewer for viewer in VIEWERS if viewer in options.viewers], []
    if "browser" in viewers and find_browser() is None:
        viewers.remove("browser")
        notes.append("no browser is installed: not measured")
    from rich.console import Console

    console = Console(stderr=True)
    seconds = 2 * turn_s(options.fps) * options.pairs * len(viewers)
    console.print(
        f"{options.pairs} pairs of turns for each of {len(viewers)} viewers: {seconds:.0f} s", highlight=False
    )
    turns, drawn = call(viewers, options, lambda text: console.print(text, highlight=False))
    result = {
        "input": Path(options.input).name,
        "model": options.model,
        "fps": options.fps,
        "cores": os.cpu_count(),
        "load": load_average(),
        "turn_s": turn_s(options.fps),
        "rows": [row(viewer, turns[viewer], drawn[viewer]) for viewer in viewers],
        "notes": notes,
    }
    write_run(options.out, "page", result, markdown(result))
    return 0


def turn_s(fps: float) -> float:
    """How long a turn lasts: to settle, and the windows that are measured in it."""
    return SETTLE_S + LAG_S + WINDOWS * WINDOW_FRAMES / fps


def call(
    viewers: Sequence[str], options: argparse.Namespace, say: Callable[[str], object]
) -> tuple[dict[str, list[tuple[Turn, Turn]]], dict[str, int | None]]:
    """One call through the command, looked at by turns.

    Returns:
        For each viewer the pairs of turns (nobody, viewer), and how many frames it drew.

    Raises:
        PeerError: the call failed.
        InputError: the browser does not start.
    """
    command = [sys.executable, "-m", "sender", "--loopback", "--input", options.input, "--loop", "--crop", "center"]
    command += ["--display", "web", "--metrics", "127.0.0.1:0", "--model", options.model, "--fps", str(options.fps)]
    for name in ("bitrate", "threads"):
        value = getattr(options, name)
        command += [] if value is None else [f"--{name}", str(value)]
    with ExitStack() as stack:
        looking = {viewer: stack.enter_context(VIEWERS[viewer][1]()) for viewer in viewers}
        running = stack.enter_context(RunningCall(command))
        measure = Measure(running, options.fps)
        measure.turn(None)  # the call begins: not counted
        turns: dict[str, list[tuple[Turn, Turn]]] = {viewer: [] for viewer in viewers}
        for count in range(options.pairs * len(viewers)):
            viewer = viewers[count % len(viewers)]
            found: dict[bool, Turn] = {}
            for looks in (False, True) if count % 2 == 0 else (True, False):
                if looks:
                    looking[viewer].look(running.page)
                found[looks] = measure.turn(looking[viewer].session)
                looking[viewer].leave()
            turns[viewer].append((found[False], found[True]))
            without, there = found[False]["p95_ms"], found[True]["p95_ms"]
            say(f"{count + 1}: {VIEWERS[viewer][0]}: p95 {without:.0f} ms without, {there:.0f} with")
        return turns, {viewer: looking[viewer].drawn for viewer in viewers}


class RunningCall:
    """A call by the command, while it runs.

    Attributes:
        page, metrics: where its page and its figures are.
        sender, receiver: process ids; the receiver's is None without /proc.

    Raises:
        PeerError: it ended, or did not begin within `START_S`.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            env=without_options(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.page = self.metrics = ""
        self.sender = self._process.pid
        until_s, said = time.monotonic() + START_S, ""
        while not said.startswith("connected"):
            try:
                line = self._lines.get(timeout=max(0.0, until_s - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                self.close()
                raise PeerError(f"the call did not begin: {said or 'it said nothing'}")
            said = line
            if found := re.search(r"watch the call at (\S+)", line):
                self.page = found[1]
            if found := re.search(r"Prometheus at (\S+)", line):
                self.metrics = found[1]
        self.receiver = child_of(self.sender)

    def figures(self) -> dict[str, float]:
        """What the receiver tells Prometheus, by name with labels.

        Raises:
            PeerError: the call is over.
        """
        at = urlsplit(self.metrics)
        connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=10.0)
        try:
            connection.request("GET", at.path)
            text = connection.getresponse().read().decode()
        except OSError as error:
            raise PeerError(f"the call ended before its turns ({reason_of(error)})") from error
        finally:
            connection.close()
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line.strip())
        self._lines.put(None)

    def close(self) -> None:
        """Hang up."""
        self._process.terminate()
        try:
            self._process.wait(20.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> "RunningCall":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Measure:
    """The figures of one turn after another."""

    def __init__(self, running: RunningCall, fps: float) -> None:
        self._running = running
        self._fps = fps

    def turn(self, session: int | None) -> Turn:
        """Wait for a turn to pass; means over its windows, and processor time in ms for each second.

        Args:
            session: of the viewer's processes.
        """
        running = self._running
        time.sleep(SETTLE_S)
        sender, receiver = Processes([running.sender]), Processes([running.receiver])
        viewer = Processes(members(session))
        before_mib, began_s = resident_mib(running.receiver), time.monotonic()
        time.sleep(LAG_S)
        values: dict[str, list[float]] = {"p50_ms": [], "p95_ms": []}
        for _ in range(WINDOWS):
            time.sleep(WINDOW_FRAMES / self._fps)
            figures = running.figures()
            for name, quantile in (("p50_ms", "0.5"), ("p95_ms", "0.95")):
                value = figures.get(f'vidcodec_latency_seconds{{stage="total",quantile="{quantile}"}}')
                if value is not None:
                    values[name].append(1000 * value)
        if not values["p95_ms"]:
            raise PeerError("the call measured no delay: nothing was shown")
        passed_s = time.monotonic() - began_s
        return {
            **{name: sum(found) / len(found) for name, found in values.items()},
            "sender_cpu_ms": 1000 * sender.spent_s() / passed_s,
            "receiver_cpu_ms": 1000 * receiver.spent_s() / passed_s,
            "viewer_cpu_ms": 1000 * viewer.spent_s() / passed_s,
            "memory_mib": resident_mib(running.receiver) - before_mib,
        }


def row(viewer: str, pairs: Sequence[tuple[Turn, Turn]], drawn: int | None) -> dict[str, Any]:
    """What one kind of viewer costs: medians, and for each figure by how much it rises."""
    rises = {name: rise([(without[name], there[name]) for without, there in pairs]) for name in FIGURES}
    return {
        "viewer": viewer,
        "pairs": len(pairs),
        "frames_drawn": drawn,
        "without": {name: median(without[name] for without, _ in pairs) for name in FIGURES},
        "with": {name: median(there[name] for _, there in pairs) for name in FIGURES},
        "rise": {name: asdict(found) for name, found in rises.items()},
        "p95_within_bound": rises["p95_ms"].within(BOUND_MS),
    }


def markdown(result: dict[str, Any]) -> str:
    """The run as a page."""
    header = ["viewer", "pairs", "drawn", "p50 / p95 ms without", "with", "p50 rises by ms", "p95 rises by ms"]
    header += [
        f"p95 at most {BOUND_MS:g} ms later",
        "receiver's CPU rises by ms/s",
        "sender's",
        "memory in a turn, MiB",
    ]

    def risen(found: dict[str, Any], name: str, digits: int = 1) -> str:
        values = found["rise"][name]
        if values["low"] is None:
            return f"{values['middle']:+.{digits}f}"
        return f"{values['middle']:+.{digits}f} ({values['low']:+.{digits}f} .. {values['high']:+.{digits}f})"

    verdicts = {True: "yes", False: "no", None: "cannot be told"}
    rows = [
        [
            VIEWERS[found["viewer"]][0],
            str(found["pairs"]),
            number(found["frames_drawn"], 0),
            *(f"{number(found[key]['p50_ms'])} / {number(found[key]['p95_ms'])}" for key in ("without", "with")),
            risen(found, "p50_ms"),
            risen(found, "p95_ms"),
            verdicts[found["p95_within_bound"]],
            risen(found, "receiver_cpu_ms", 0),
            risen(found, "sender_cpu_ms", 0),
            risen(found, "viewer_cpu_ms", 0),
            risen(found, "memory_mib"),
        ]
        for found in result["rows"]
    ]
    text = (
        f"One loopback call at {result['fps']:g} frames/s, model `{result['model']}`, source `{result['input']}`, "
        f"{result['cores']} cores, load at the end: {result['load']}. Turns of {result['turn_s']:.0f} s with and "
        "without each viewer, side by side in time; a rise is the median of their differences, and in brackets where "
        f"it lies with a confidence of 95 %.\n\n{table(header, rows)}"
    )
    return text + "".join(f"\n* {note}\n" for note in result["notes"])
