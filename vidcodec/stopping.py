"""Ctrl-C and SIGTERM at any moment: a command ends in order, and its report is written.

While a command starts, a signal interrupts it at once (`Interrupted`). While a call runs (`with
stop.deferred()`), the first signal only sets `requested`, which the main loop looks at, so that nothing is torn apart;
the second one interrupts.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end.

    Not `KeyboardInterrupt` itself: when that passes through code that is being exec'd, as a dataclass is while its
    module is imported, Python remembers it and in the end kills the process by SIGINT, though it was dealt with.
    """


class Stopping:
    """Turns the two signals into `requested` or `Interrupted`. Use as a context manager, in the main thread."""

    def __init__(self) -> None:
        # A plain attribute: locking in a signal handler can wait for the very code that it interrupted.
        self.requested = False
        self._deferred = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Stopping":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, the first signal only sets `requested`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        first, self.requested = not self.requested, True
        if not (first and self._deferred):
            raise Interrupted
