"""`bench page`: what a page costs a call. The same loopback call without a page, and with each kind of viewer.

Rounds are interleaved, so that what else the machine does falls on all of them alike; each figure is the median over
rounds. A browser on the same machine takes its own time from the call's cores: `reader` takes every frame without
drawing it, as a browser on another machine would.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from vidcodec.bench.output import add_out, load_average, write_run
from vidcodec.bench.tables import number, table
from vidcodec.bench.viewers import Browser, Nobody, Reader, Stuck, find_browser
from vidcodec.cli import add_shared, check_shared
from vidcodec.errors import PeerError, UsageError
from vidcodec.settings import parse_words, without_options

VIEWERS: dict[str, tuple[str, Callable[[], Nobody]]] = {
    "none": ("no page", Nobody),
    "nobody": ("a page that nobody opens", Nobody),
    "stuck": ("one viewer that reads nothing", Stuck),
    "reader": ("one viewer that reads everything, elsewhere", Reader),
    "browser": ("one browser on the same machine", Browser),
}
SHARES = ("p50", "p95", "p99")
SAMPLE_S = 0.5
SETTLE_S = 3.0
"""Memory is compared from here on: before, codecs and buffers are still being set up."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="vidcodec bench page", description=__doc__)
    parser.add_argument("--viewers", nargs="*", choices=VIEWERS, default=list(VIEWERS), help="default: all")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--fps", type=float, metavar="F", help="default: what the source gives")
    add_out(parser)
    add_shared(parser, "input", "model", "bitrate", "duration", "threads", input="sample", duration=10.0)
    options = parse_words(parser, argv)
    check_shared(options)
    if options.rounds < 1:
        raise UsageError(f"--rounds {options.rounds}: must be 1 or more")
    viewers, notes = [viewer for viewer in VIEWERS if viewer in options.viewers], []
    if "browser" in viewers and find_browser() is None:
        viewers.remove("browser")
        notes.append("no browser is installed: not measured")
    from rich.console import Console

    console = Console(stderr=True)
    calls: dict[str, list[dict[str, Any]]] = {viewer: [] for viewer in viewers}
    for turn in range(options.rounds):
        for place in range(len(viewers)):
            viewer = viewers[(turn + place) % len(viewers)]
            console.print(f"round {turn + 1} of {options.rounds}: {VIEWERS[viewer][0]}", highlight=False)
            calls[viewer].append(call(viewer, options))
    load = load_average()
    result = {
        "input": Path(options.input).name,
        "model": options.model,
        "cores": os.cpu_count(),
        "load": load,
        "rounds": options.rounds,
        "duration_s": options.duration,
        "rows": rows_of(calls),
        "notes": notes,
    }
    write_run(options.out, "page", result, markdown(result))
    return 0


def call(viewer: str, options: argparse.Namespace) -> dict[str, Any]:
    """One loopback call through the command, looked at by one kind of viewer.

    Raises:
        PeerError: the call failed.
    """
    with tempfile.TemporaryDirectory() as folder, VIEWERS[viewer][1]() as looking:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "sender", "--loopback", "--input", options.input, "--loop", "--crop", "center"]
        command += ["--display", "none" if viewer == "none" else "web", "--report", str(report)]
        command += ["--model", options.model, "--duration", str(options.duration)]
        for name in ("bitrate", "threads", "fps"):
            value = getattr(options, name)
            if value is not None:
                command += [f"--{name}", str(value)]
        with (Path(folder) / "errors").open("w+") as errors:
            process = subprocess.Popen(
                command, env=without_options(os.environ), stdout=subprocess.PIPE, stderr=errors, text=True
            )
            watchdog = threading.Timer(options.duration + 120, process.kill)
            watchdog.start()
            memory = Memory(process.pid)
            try:
                for line in process.stdout or ():
                    if found := re.search(r"watch the call at (\S+)", line):
                        looking.look(found[1])
                    if line.startswith("connected"):
                        memory.start()
                status = process.wait()
            finally:
                watchdog.cancel()
                process.kill()
                process.wait()
                memory.stop()
            errors.seek(0)
            said = errors.read().strip().splitlines()
        if status:
            raise PeerError(f"a call with {VIEWERS[viewer][0]} ended with status {status}: {''.join(said[-1:])}")
        values = json.loads(report.read_text("utf-8"))
    return {
        "frames_captured": values["frames_captured"],
        "frames_shown": values["frames_shown"],
        "frames_drawn": looking.drawn,
        "total_ms": values["latency_ms"]["total"],
        "memory_growth_mib": memory.growth_mib,
    }


class Memory:
    """Resident memory of the receiver, a child of the sender, while a call runs; known on Linux only.

    Attributes:
        samples: MiB, one for each `SAMPLE_S` after `SETTLE_S`.
    """

    def __init__(self, parent: int) -> None:
        self.samples: list[float] = []
        self._parent = parent
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def growth_mib(self) -> float | None:
        """The last samples less the first ones; None where there are too few."""
        if len(self.samples) < 6:
            return None
        return median(self.samples[-3:]) - median(self.samples[:3])

    def start(self) -> None:
        """Begin to sample; the call runs."""
        self._thread.start()

    def stop(self) -> None:
        """Sample no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _run(self) -> None:
        child = child_of(self._parent)
        if child is None or self._stop.wait(SETTLE_S):
            return
        while not self._stop.wait(SAMPLE_S):
            try:
                status = Path(f"/proc/{child}/status").read_text()
            except OSError:
                return  # it has ended
            if found := re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE):
                self.samples.append(int(found[1]) / 1024)


def child_of(parent: int) -> int | None:
    """Process id of the first child of a process; None where there is none, or no /proc."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(entry.read_text().rpartition(")")[2].split()[1]) == parent:
                return int(entry.parent.name)
        except OSError:  # it has just ended
            continue
    return None


def rows_of(calls: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """For each kind of viewer the medians over its calls, and how much later than without a page it is."""
    rows: list[dict[str, Any]] = []
    for viewer, made in calls.items():
        total = {share: middle([one["total_ms"][share] for one in made]) for share in SHARES}
        plain = rows[0]["total_ms"]["p95"] if rows and rows[0]["viewer"] == "none" else None
        rows.append(
            {
                "viewer": viewer,
                "frames_captured": sum(one["frames_captured"] for one in made),
                "frames_shown": sum(one["frames_shown"] for one in made),
                "frames_drawn": sum(one["frames_drawn"] for one in made)
                if made[0]["frames_drawn"] is not None
                else None,
                "total_ms": total,
                "p95_of_rounds_ms": [one["total_ms"]["p95"] for one in made],
                "p95_rise_ms": None if plain is None or total["p95"] is None else total["p95"] - plain,
                "memory_growth_mib": middle([one["memory_growth_mib"] for one in made]),
            }
        )
    return rows


def middle(values: Sequence[float | None]) -> float | None:
    """The median of what is known."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def markdown(result: dict[str, Any]) -> str:
    """The run as a page."""
    header = ["viewer", "shown", "drawn by the viewer", "delay ms p50 / p95 / p99", "p95 of each round"]
    header += ["p95 rises by ms", "receiver's memory grows by MiB"]
    rows = [
        [
            VIEWERS[row["viewer"]][0],
            f"{row['frames_shown']} of {row['frames_captured']}",
            "-" if row["frames_drawn"] is None else str(row["frames_drawn"]),
            " / ".join(number(row["total_ms"][share], 1) for share in SHARES),
            ", ".join(number(value, 0) for value in row["p95_of_rounds_ms"]),
            "-" if row["p95_rise_ms"] is None else f"{row['p95_rise_ms']:+.1f}",
            "-" if row["memory_growth_mib"] is None else f"{row['memory_growth_mib']:+.1f}",
        ]
        for row in result["rows"]
    ]
    text = (
        f"Loopback calls of {result['duration_s']:g} s, model `{result['model']}`, source `{result['input']}`, "
        f"{result['cores']} cores, load when measured: {result['load']}. Medians over {result['rounds']} interleaved "
        f"rounds; the rise is against the call without a page; memory from {SETTLE_S:g} s after the start to the "
        f"end.\n\n{table(header, rows)}"
    )
    return text + "".join(f"\n* {note}\n" for note in result["notes"])
