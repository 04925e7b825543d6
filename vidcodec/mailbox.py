"""A mailbox of few slots, mostly one: a slow reader drops the older items instead of adding delay.

    writer thread -- put() --> [ newest item ] -- get() --> reader thread

Joins the stages of a call (capture, encode, decode, display). A queue between them would turn every hiccup into a
delay that stays; one slot turns it into a dropped frame, which is counted.
"""

import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class MailboxClosed(Exception):
    """Nothing is in the mailbox and nothing will come any more."""


class Mailbox(Generic[T]):
    """Slots for the newest items, one by default, safe for any number of threads.

    An item is delivered to one reader, once, the oldest first. After `close()` items still there can be taken; then
    every `get` raises `MailboxClosed`.
    """

    def __init__(self, slots: int = 1) -> None:
        self._slots = slots
        self._changed = threading.Condition()
        self._items: list[T] = []
        self._closed = False
        self._put = 0
        self._dropped = 0

    def put(self, item: T) -> bool:
        """Leave `item` for the reader; return False if that dropped one that nobody had taken, or came after `close`.

        Never waits. An item put after `close` is dropped and counted, so that a writer need not know.
        """
        with self._changed:
            self._put += 1
            if self._closed:
                self._dropped += 1
                return False
            fresh = len(self._items) < self._slots
            if not fresh:
                self._dropped += 1
                self._items.pop(0)
            self._items.append(item)
            self._changed.notify()
            return fresh

    def get(self, timeout_s: float | None = None) -> T:
        """Take the oldest item, waiting for one up to `timeout_s` seconds (None: for ever).

        Raises:
            TimeoutError: nothing came in time.
            MailboxClosed: the mailbox is closed and empty.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._items or self._closed, timeout_s):
                raise TimeoutError(f"nothing arrived in the mailbox within {timeout_s} s")
            if not self._items:
                raise MailboxClosed
            return self._items.pop(0)

    def poll(self) -> T | None:
        """Take the oldest item if there is one, else None; never waits, never raises."""
        with self._changed:
            return self._items.pop(0) if self._items else None

    @property
    def waiting(self) -> int:
        """Items that can be taken at once."""
        with self._changed:
            return len(self._items)

    def close(self) -> None:
        """Say that nothing more will come, and wake every waiting reader; closing twice does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether `close` was called; an item may still be waiting."""
        with self._changed:
            return self._closed

    @property
    def put_count(self) -> int:
        """Items put so far, dropped ones included."""
        with self._changed:
            return self._put

    @property
    def dropped_count(self) -> int:
        """Items that were replaced before anyone took them, or put after `close`."""
        with self._changed:
            return self._dropped

    def __iter__(self) -> Iterator[T]:
        """Take items until the mailbox is closed and empty."""
        while True:
            try:
                item = self.get()
            except MailboxClosed:
                return
            yield item
