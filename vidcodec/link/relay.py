"""A UDP relay in user space between this end and its peer, which applies an `Impairment` in both directions.

It stands in the session descriptions in place of the real candidates of both ends, so that ICE, DTLS and SCTP run over
it as over any bad path: real sockets, no root, no change to the kernel.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, cast

from vidcodec.errors import PeerError
from vidcodec.link.impair import Direction, Impairment

Address = tuple[str, int]


class _Side(asyncio.DatagramProtocol):
    """One socket of the relay: remembers who speaks to it."""

    def __init__(self, received: Callable[[bytes], None]) -> None:
        self.peer: Address | None = None
        self._received = received
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.peer = (addr[0], addr[1])
        self._received(data)

    def send(self, data: bytes) -> None:
        if self._transport is not None and self.peer is not None and not self._transport.is_closing():
            self._transport.sendto(data, self.peer)

    @property
    def bound(self) -> bool:
        return self._transport is not None

    @property
    def address(self) -> Address:
        assert self._transport is not None
        name = self._transport.get_extra_info("sockname")
        return (name[0], name[1])

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Relay:
    """Two sockets: `near` faces this end's own ICE agent, `far` the peer."""

    def __init__(self, impairment: Impairment, seed: int = 0, since_ms: float | None = None) -> None:
        self.outbound = Direction(impairment, random.Random(2 * seed), since_ms)
        self.inbound = Direction(impairment, random.Random(2 * seed + 1), since_ms)
        self._near = _Side(lambda data: self._forward(data, self.outbound, self._far))
        self._far = _Side(lambda data: self._forward(data, self.inbound, self._near))
        self._pending: set[asyncio.TimerHandle] = set()

    @property
    def is_open(self) -> bool:
        """Whether both sockets are bound."""
        return self._near.bound and self._far.bound

    async def open(self, host: str) -> None:
        """Bind both sockets to an address of this machine."""
        loop = asyncio.get_running_loop()
        for side in (self._near, self._far):
            await loop.create_datagram_endpoint(lambda side=side: side, local_addr=(host, 0))  # type: ignore[misc]

    def outgoing(self, sdp: str) -> str:
        """Our own description as the peer gets it: the relay instead of our candidates."""
        self._near.peer = self._near.peer or _first_candidate(sdp)
        return _with_candidate(sdp, self._far.address)

    def incoming(self, sdp: str) -> str:
        """The peer's description as our ICE agent gets it: the relay instead of its candidates."""
        self._far.peer = self._far.peer or _first_candidate(sdp)
        return _with_candidate(sdp, self._near.address)

    def change(self, impairment: Impairment) -> None:
        """Be another bad network, from the next datagram on."""
        self.outbound.impairment = self.inbound.impairment = impairment

    @property
    def stats(self) -> dict[str, int]:
        """Datagrams forwarded, lost and dropped by a full queue so far, and bytes of all of them with IP and UDP."""
        return {
            f"impairment{name}{what.capitalize()}": getattr(direction, what)
            for name, direction in (("Outbound", self.outbound), ("Inbound", self.inbound))
            for what in ("forwarded", "lost", "overflowed", "bytes")
        }

    def close(self) -> None:
        """Close both sockets; what was still under way is lost."""
        for handle in self._pending:
            handle.cancel()
        self._pending.clear()
        self._near.close()
        self._far.close()

    def _forward(self, data: bytes, direction: Direction, side: _Side) -> None:
        loop = asyncio.get_running_loop()
        now_ms = loop.time() * 1000.0  # the same monotonic clock as everywhere
        deliver_ms = direction.deliver_ms(len(data), now_ms)
        if deliver_ms is None:
            return

        def deliver() -> None:
            self._pending.discard(handle)
            side.send(data)

        handle = loop.call_at(deliver_ms / 1000.0, deliver)
        self._pending.add(handle)


def _first_candidate(sdp: str) -> Address:
    """The IPv4 UDP candidate of the highest priority."""
    best: tuple[int, Address] | None = None
    for line in sdp.splitlines():
        words = line.split()
        if line.startswith("a=candidate:") and len(words) >= 8 and words[2].lower() == "udp" and "." in words[4]:
            try:
                found = int(words[3]), (words[4], int(words[5]))
            except ValueError:
                continue
            best = found if best is None or found[0] > best[0] else best
    if best is None:
        raise PeerError("no IPv4 candidate that the impairment relay could stand in for")
    return best[1]


def _with_candidate(sdp: str, address: Address) -> str:
    """The description with one candidate, and no other address."""
    candidate = f"a=candidate:1 1 udp 2130706431 {address[0]} {address[1]} typ host"
    lines = []
    for line in sdp.splitlines():
        if line.startswith("a=candidate:"):
            if candidate not in lines:
                lines.append(candidate)
        elif line.startswith("c="):
            lines.append(f"c=IN IP4 {address[0]}")
        elif line.startswith("m="):
            kind, _, rest = line.split(" ", 2)
            lines.append(f"{kind} {address[1]} {rest}")
        else:
            lines.append(line)
    return "\r\n".join(lines) + "\r\n"
