"""Processes that measure: how they end, and what they take, from /proc (nothing where there is none)."""

import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

WATCHER = "ends with parent"
"""Name of the thread that waits for the parent's end."""


def end_with_parent() -> None:
    """In a process that works for another one: it ends when that one has ended, however that was, and without a word
    at Ctrl-C, which the terminal sends to both."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.join,), name=WATCHER, daemon=True).start()


def _end_after(wait: Callable[[], object]) -> None:
    wait()
    os._exit(1)


def child_of(parent: int) -> int | None:
    """Process id of the first child of a process; None where there is none, or no /proc."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(entry.read_text().rpartition(")")[2].split()[1]) == parent:
                return int(entry.parent.name)
        except OSError:  # it has just ended
            continue
    return None


def members(session: int | None) -> list[int]:
    """Process ids of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat") if session is not None else ():
        try:
            if int(entry.read_text().rpartition(")")[2].split()[3]) == session:
                found.append(int(entry.parent.name))
        except OSError:  # it has just ended
            continue
    return found


def resident_mib(pid: int | None) -> float:
    """Resident memory in MiB; 0 where it cannot be known."""
    try:
        found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def processor_s(pid: int | None) -> float:
    """Processor time that a process has used, its threads' included; 0 where it cannot be known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Processes:
    """Processor time of some processes from now on."""

    def __init__(self, pids: Sequence[int | None]) -> None:
        self._pids = pids
        self._before_s = sum(map(processor_s, pids))

    def spent_s(self) -> float:
        """Seconds used since."""
        return sum(map(processor_s, self._pids)) - self._before_s
