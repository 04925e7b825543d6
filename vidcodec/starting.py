"""How long ago this process was started, by the system's own note of it where there is one."""

import os
import time
from pathlib import Path

_IMPORTED_S = time.monotonic()
_START_FIELD = 22
"""Of /proc/PID/stat, counted from 1: when the process started, in clock ticks since the machine did."""


def process_age_s() -> float:
    """Seconds since this process was started; where the system does not say so, since this module was imported."""
    try:
        # The second field is the program's name in brackets, and may hold spaces and brackets itself.
        fields = Path("/proc/self/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        started_s = int(fields[_START_FIELD - 3]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started_s)
    except (OSError, ValueError, IndexError, AttributeError):
        return time.monotonic() - _IMPORTED_S
