"""A real pair over loopback for the link's tests: receiver server, sender, and what both of them saw."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from vidcodec.errors import PeerError
from vidcodec.link import (
    Acknowledgement,
    Closed,
    Frame,
    FrameStatus,
    Hello,
    LinkOptions,
    ReceiverHandlers,
    ReceiverLink,
    ReceiverServer,
    Refresh,
    SenderHandlers,
    SenderLink,
    connect,
)
from vidcodec.packet import NUMBERS, Header, Packet

HELLO = Hello(1, "seed", "ab" * 32)


def packet(number: int, size: int = 100) -> bytes:
    """A packet as the link sees one, with a random body."""
    return Packet(Header(number % NUMBERS, 0, 3), random.Random(number).randbytes(size - 5)).to_bytes()


def eventually(condition: Callable[[], Any], timeout_s: float = 5.0) -> Any:
    """Wait for something true and return it; what is there at the end if it never gets true."""
    end = time.monotonic() + timeout_s
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.005)
    return value


@dataclass
class Seen:
    """Events of both ends."""

    links: list[ReceiverLink] = field(default_factory=list)
    hellos: list[Hello] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    acks: list[Acknowledgement] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    refreshes: list[Refresh] = field(default_factory=list)
    refused: list[PeerError] = field(default_factory=list)
    stats: list[Any] = field(default_factory=list)
    byes: list[Any] = field(default_factory=list)
    receiver_closed: list[Closed] = field(default_factory=list)
    sender_closed: list[Closed] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)

    def receiver_handlers(self, **others: Any) -> ReceiverHandlers:
        def on_open(link: ReceiverLink, hello: Hello) -> None:
            self.links.append(link)
            self.hellos.append(hello)

        def on_frame(link: ReceiverLink, frame: Frame) -> None:
            self.threads.add(threading.current_thread().name)
            self.frames.append(frame)
            link.report(frame.number, FrameStatus.OK)

        return ReceiverHandlers(
            **{
                "on_open": on_open,
                "on_frame": on_frame,
                "on_stats": lambda link, stats: self.stats.append(stats),
                "on_closed": lambda link, closed: self.receiver_closed.append(closed),
                "on_refused": self.refused.append,
            }
            | others
        )

    def sender_handlers(self, **others: Any) -> SenderHandlers:
        return SenderHandlers(
            **{
                "on_ack": self.acks.append,
                "on_lost": self.lost.append,
                "on_refresh": self.refreshes.append,
                "on_stats": self.stats.append,
                "on_bye": self.byes.append,
                "on_closed": self.sender_closed.append,
            }
            | others
        )


@contextmanager
def pair(
    options: LinkOptions | None = None, receiver: dict[str, Any] | None = None, sender: dict[str, Any] | None = None
) -> Iterator[tuple[SenderLink, ReceiverLink, Seen, ReceiverServer]]:
    """A connected pair; closes what the test left open."""
    seen = Seen()
    options = options or LinkOptions(bye_timeout_s=1.0)
    with (
        ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers(**receiver or {}), options=options) as server,
        connect(server.url, HELLO, options, seen.sender_handlers(**sender or {})) as link,
    ):
        yield link, seen.links[0], seen, server
