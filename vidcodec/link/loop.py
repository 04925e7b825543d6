"""The event loop of a link: one thread of its own, so that worker threads can use it without knowing asyncio."""

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

log = logging.getLogger("vidcodec.link")
T = TypeVar("T")

CLEAN_UP_S = 3.0
"""A connection takes 2 s to close at most, and telling the receiver of it another."""


class LoopThread:
    """An asyncio event loop in a daemon thread. `stop` leaves neither a task nor the thread behind."""

    def __init__(self, name: str = "vidcodec-link") -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(_log_one_line)
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether work can still be handed in."""
        return self._thread.is_alive() and not self.loop.is_closed()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run a coroutine on the loop and wait for its result. Never call this from the loop's own thread.

        An interrupt (Ctrl-C) while waiting cancels the coroutine, gives it `CLEAN_UP_S` to undo what it began, and is
        passed on.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("this call would wait for its own thread: handlers must not block")
        ended = threading.Event()

        async def told() -> T:
            try:
                return await work
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(told(), self.loop)
        try:
            return future.result(timeout_s)
        except (KeyboardInterrupt, concurrent.futures.TimeoutError):
            future.cancel()  # says nothing of when the coroutine has ended
            ended.wait(CLEAN_UP_S)
            raise

    def call(self, function: Callable[..., object], *args: object) -> bool:
        """Have `function` called soon on the loop's thread; False when the loop has ended."""
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return False
        return True

    def stop(self) -> None:
        """End the loop: cancel what still runs, close, join. May be called twice."""
        if self.call(self.loop.stop) and threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
        finally:
            self.loop.close()


def _log_one_line(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A library's forgotten exception (a closed transport, mostly) is a line for debugging, not a traceback."""
    log.debug("event loop: %s: %r", context.get("message"), context.get("exception"))
