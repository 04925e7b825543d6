"""The two commands as processes, for tests of whole calls. Everything is real: processes, sockets, WebRTC, codec."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
START_S = 90.0
"""Generous: a machine that runs a test suite may be busy."""


class Command:
    """A running `python -m sender` or `python -m receiver`. Ends with the `with` block."""

    def __init__(self, *words: str, env: dict[str, str] | None = None) -> None:
        self._began_s = time.monotonic()
        self._ready_s = 0.0
        self._process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, kept), daemon=True)
            for pipe, kept in ((self._process.stdout, self.out), (self._process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def wait_for(self, start: str) -> str:
        """The first line of stdout that starts so."""
        until_s = time.monotonic() + START_S
        seen = 0
        while time.monotonic() < until_s:
            for line in self.out[seen:]:
                if line.startswith(start):
                    self._ready_s = self._ready_s or time.monotonic() - self._began_s
                    return line
                seen += 1
            if self._process.poll() is not None and not self._readers[0].is_alive() and seen == len(self.out):
                break
            time.sleep(0.02)
        raise AssertionError(f"no line {start!r}; stdout: {self.out}, stderr: {self.err}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_s(self) -> float:
        """How long its exit may take on this machine: four seconds, or as long as its start took up to its first line
        that was waited for. Either is Python with torch in it, at the speed that others leave."""
        return max(4.0, self._ready_s)

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = START_S) -> int:
        """The exit status."""
        status = self._process.wait(timeout_s)
        for reader in self._readers:
            reader.join(5.0)
        return status

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self._process.kill()
        self.wait()

    def _read(self, pipe: Any, kept: list[str]) -> None:
        for line in pipe:
            kept.append(line.rstrip("\n"))


def children(pid: int) -> list[int]:
    """Process ids of the children of a process (Linux)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if int(parent) == pid and state != "Z":
                    found.append(int(entry.name))
    return found


def read_report(path: Path) -> dict[str, Any]:
    """A report as written."""
    report: dict[str, Any] = json.loads(path.read_text())
    return report


def only_error_line(lines: Sequence[str]) -> str:
    """The one line of stderr that says what went wrong; nothing else may be there."""
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]
