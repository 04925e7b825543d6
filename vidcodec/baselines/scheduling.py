"""Keeps native code from making this process a real-time one.

SVT-AV1, run as root, puts the thread that opens it and all threads of its own under SCHED_FIFO at priority 99, and
leaves the opener so when it is closed. Every thread and process that the opener starts later inherits that, and
threads of this policy at one priority never make room for each other: two busy ones stop a two-core machine, whoever
else waits. It would also give one peer of a comparison a machine of its own.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_TASKS = Path("/proc/self/task")
_ONE_AT_A_TIME = threading.Lock()  # or one would take the other's passing state for that of before


def policies() -> dict[int, tuple[int, int]]:
    """Policy and real-time priority of each thread of this process, by thread id; nothing where there is no Linux."""
    found: dict[int, tuple[int, int]] = {}
    if not _TASKS.is_dir():
        return found
    for task in _TASKS.iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            number = int(task.name)
            found[number] = os.sched_getscheduler(number), os.sched_getparam(number).sched_priority
    return found


@contextlib.contextmanager
def same_scheduling() -> Iterator[None]:
    """Afterwards every thread has the policy that it had before; threads begun inside have that of the caller."""
    with _ONE_AT_A_TIME:
        before = policies()
        try:
            yield
        finally:
            if before:
                own = before[threading.get_native_id()]
                for number, now in policies().items():
                    wanted = before.get(number, own)
                    if now != wanted:
                        _set(number, *wanted)


def _set(number: int, policy: int, priority: int) -> None:
    # It has just ended, or a sandbox forbids the change, as it then forbade the library's.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.sched_setscheduler(number, policy, os.sched_param(priority))
