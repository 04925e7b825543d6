"""`bench watch`: what decoding costs a browser. A call from the sender to a headless Chromium on this machine, through
WebRTC, decoded in its worker.

Sender and browser share the machine's cores, so it says more where there are several.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidcodec.bench.output import add_out, load_average, write_run
from vidcodec.bench.tables import number, table
from vidcodec.bench.viewers import Browser
from vidcodec.cli import add_shared, check_shared
from vidcodec.errors import InputError, PeerError
from vidcodec.settings import parse_words, without_options
from vidcodec.watch.files import WatchFiles, default_folder
from vidcodec.weights import load_weights

if TYPE_CHECKING:
    import aiohttp

START_S = 120.0
WARM_UP = 30
"""Frames not counted: a browser compiles what it runs often."""
RATES = (10.0, 15.0, 30.0)


class Watcher(Browser):
    """A browser on `/watch`.

    Attributes:
        seen: what the page says of the frames it showed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Any] = {}

    async def _watch(self, url: str) -> None:
        import aiohttp

        with contextlib.suppress(aiohttp.ClientError, ConnectionError):  # it was ended
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{self._port}/json") as answer:
                    tab = next(tab for tab in json.loads(await answer.text()) if tab["type"] == "page")
                async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as tools:
                    await self._ask(tools, "Page.navigate", url=url)
                    while not self._stop.is_set():
                        await asyncio.sleep(0.5)
                        await self._look_at_figures(tools)

    async def _look_at_figures(self, tools: "aiohttp.ClientWebSocketResponse") -> None:
        text = await self._evaluate(tools, "window.framesOfCall ? JSON.stringify(window.framesOfCall()) : ''")
        if text:
            self.seen = json.loads(text)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="vidcodec bench watch", description=__doc__)
    parser.add_argument(
        "--rates", nargs="*", type=float, default=list(RATES), metavar="FPS", help="frames a second (default: 10 15 30)"
    )
    parser.add_argument(
        "--watch-files", type=Path, metavar="DIR", help="where `export-web` wrote (default: its folder)"
    )
    add_out(parser)
    add_shared(parser, "input", "bitrate", "duration", "threads", input="sample", duration=20.0)
    options = parse_words(parser, argv)
    check_shared(options)
    check_files(options.watch_files or default_folder())
    result = {
        "input": Path(options.input).name,
        "cores": os.cpu_count(),
        "duration_s": options.duration,
        "rows": [call(fps, options) for fps in options.rates],
        "load": load_average(),
    }
    write_run(options.out, "watch", result, markdown(result))
    return 0


def check_files(folder: Path) -> None:
    """Raises InputError when a browser would not find what it needs there: it would be waited for in vain."""
    weights = load_weights("s")
    missing = WatchFiles.find(folder, str(weights.card["model_id"]), weights.sha256).missing
    if missing:
        raise InputError(missing)


def call(fps: float, options: argparse.Namespace) -> dict[str, Any]:
    """One call of so many frames a second, as the browser saw it.

    Raises:
        PeerError: the call failed, or the browser showed nothing.
    """
    folder = options.watch_files or default_folder()
    command = [sys.executable, "-m", "sender", "--watch", "127.0.0.1:0", "--watch-files", str(folder)]
    command += ["--input", options.input, "--loop", "--crop", "center", "--model", "s", "--baseline", "none"]
    command += ["--fps", str(fps), "--duration", str(options.duration)]
    for name in ("bitrate", "threads"):
        value = getattr(options, name)
        command += [] if value is None else [f"--{name}", str(value)]
    browser = Watcher()
    with browser:
        process = subprocess.Popen(
            command,
            env=without_options(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        watchdog = threading.Timer(options.duration + START_S, process.kill)
        watchdog.start()
        said: list[str] = []
        try:
            for line in process.stdout or ():
                said.append(line.strip())
                if found := re.search(r"watch the call at (\S+)", line):
                    browser.look(found[1])
            status = process.wait()
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()
        seen = browser.seen
    frames = seen.get("frames", [])[WARM_UP:]
    if status or not frames:
        reason = next((line for line in said if "export-web" in line or line.startswith("error")), "no frame was shown")
        raise PeerError(f"the call to a browser failed: {reason}")
    shown_s = (frames[-1]["shownMs"] - frames[0]["shownMs"]) / 1000 or 1.0
    return {
        "fps": fps,
        "where": seen["where"],
        "shown_fps": (len(frames) - 1) / shown_s,
        "frames": len(frames),
        "left_out": seen["leftOut"],
        "symbols_ms": shares([frame["symbolsMs"] for frame in frames]),
        "networks_ms": shares([frame["networkMs"] for frame in frames]),
        "delay_ms": shares([frame["shownMs"] - frame["receivedMs"] for frame in frames]),
    }


def shares(values: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    ordered = sorted(values)
    return {
        name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in (("p50", 0.5), ("p95", 0.95))
    }


def markdown(result: dict[str, Any]) -> str:
    """The run as a page."""
    header = [
        "sent frames/s",
        "run by",
        "shown frames/s",
        "left out",
        "symbols ms",
        "networks ms",
        "arrival to screen ms",
    ]

    def both(values: dict[str, float]) -> str:
        return f"{number(values['p50'])} / {number(values['p95'])}"

    rows = [
        [
            number(row["fps"], 0),
            row["where"],
            number(row["shown_fps"]),
            str(row["left_out"]),
            both(row["symbols_ms"]),
            both(row["networks_ms"]),
            both(row["delay_ms"]),
        ]
        for row in result["rows"]
    ]
    return (
        f"Calls of {result['duration_s']:g} s to a headless Chromium on the same machine, source `{result['input']}`, "
        f"{result['cores']} cores, load when measured: {result['load']}. Median / 95th percentile of the frames after "
        f"the first {WARM_UP}.\n\n{table(header, rows)}"
    )
