"""What SCTP says of its own, over real connections: it travels with data where there is any, or else by itself."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from aiortc import RTCDataChannel, RTCPeerConnection, RTCSctpTransport
from aiortc.rtcsctptransport import DataChunk, ForwardTsnChunk, SackChunk, parse_packet
from aiortc_pair import connected

from vidcodec.link.sctp import EARLY_SACKS, MAX_CHUNKS_BYTES, MAX_WAITING_S, RIDE_S, open_window, tune

HEADER_BYTES = 12


class Wire:
    """What one end sends: the kinds of chunks of each datagram and their size; `drops` says which are lost."""

    def __init__(self, sctp: RTCSctpTransport, drops: Callable[[list[type]], bool] = lambda kinds: False) -> None:
        self.datagrams: list[tuple[list[type], int]] = []
        self._drops, self._transport = drops, sctp.transport
        self._send = sctp.transport._send_data
        sctp.transport._send_data = self.send  # type: ignore[method-assign]

    async def send(self, data: bytes) -> None:
        kinds = [type(chunk) for chunk in parse_packet(data)[3]]
        self.datagrams.append((kinds, len(data) - HEADER_BYTES))
        if not self._drops(kinds):
            await self._send(data)

    def of(self, kind: type) -> list[list[type]]:
        """The kinds of chunks of those datagrams that hold one of this kind."""
        return [kinds for kinds, _ in self.datagrams if kind in kinds]


Ends = tuple[RTCPeerConnection, RTCPeerConnection]


def sctp_of(end: RTCPeerConnection) -> RTCSctpTransport:
    assert end.sctp is not None
    return end.sctp


def frames_of(end: RTCPeerConnection) -> RTCDataChannel:
    return sctp_of(end)._data_channels[0]


def run(play: Callable[[Ends], Coroutine[Any, Any, None]]) -> None:
    """Play something on a connection whose two ends are tuned."""

    async def whole() -> None:
        cancels = []
        async with connected(*2 * [lambda sctp: cancels.append(tune(sctp, lambda: None))]) as ends:
            await talk(ends, (1, 1), EARLY_SACKS)
            await settle()
            await play(ends)
            for cancel in cancels:
                cancel()

    asyncio.run(whole())


async def talk(ends: Ends, sizes: tuple[int, int], times: int) -> None:
    """Messages of both ends, thirty a second; none where the size is 0."""
    for _ in range(times):
        for end, size in zip(ends, sizes, strict=True):
            if size:
                open_window(sctp_of(end))
                frames_of(end).send(bytes(size))
        await asyncio.sleep(1 / 30)


async def settle() -> None:
    """Until everything that waits has left."""
    await asyncio.sleep(MAX_WAITING_S + RIDE_S + 0.1)


def test_acknowledgements_travel_with_data() -> None:
    async def play(ends: Ends) -> None:
        wires = [Wire(sctp_of(end)) for end in ends]
        await talk(ends, (150, 30), 40)
        for wire in wires:
            assert len(wire.of(SackChunk)) >= 2
            assert all(kinds == [SackChunk, DataChunk] for kinds in wire.of(SackChunk))
            assert len(wire.datagrams) == 40

    run(play)


def test_acknowledgement_leaves_by_itself_where_nothing_is_sent() -> None:
    async def play(ends: Ends) -> None:
        wire = Wire(sctp_of(ends[1]))
        await talk(ends, (150, 0), 5)
        assert len(sctp_of(ends[0])._sent_queue) > 0
        await settle()
        assert [kinds for kinds, _ in wire.datagrams] == [[SackChunk]]
        assert len(sctp_of(ends[0])._sent_queue) == 0

    run(play)


def test_what_is_given_up_is_told_with_data_and_catches_up() -> None:
    async def play(ends: Ends) -> None:
        first, second = map(sctp_of, ends)
        count = 0

        def drops(kinds: list[type]) -> bool:
            nonlocal count
            count += DataChunk in kinds
            return count in (10, 30)

        wire = Wire(first, drops)
        await talk(ends, (150, 30), 90)
        told = wire.of(ForwardTsnChunk)
        assert told and all(kinds[-1] is DataChunk for kinds in told)
        assert all(kinds[-1] is DataChunk for kinds in wire.of(SackChunk))
        assert not second._sack_misordered
        assert second._last_received_tsn >= first._local_tsn - 5 or second._last_received_tsn < 100  # it may wrap

    run(play)


def test_datagrams_stay_as_short_as_every_path_carries() -> None:
    async def play(ends: Ends) -> None:
        first, second = map(sctp_of, ends)
        count = 0

        def every_third(kinds: list[type]) -> bool:
            nonlocal count
            count += 1
            return count % 3 == 0

        Wire(first, every_third)
        wire = Wire(second)
        await talk(ends, (150, 1160), 45)
        await settle()
        assert max(size for _, size in wire.datagrams) <= MAX_CHUNKS_BYTES
        assert any(DataChunk not in kinds for kinds in wire.of(SackChunk)), "its gaps do not fit beside such data"

    run(play)


def test_first_datagrams_are_acknowledged_soon_and_make_the_round_trip_known() -> None:
    async def whole() -> None:
        async with connected(*2 * [lambda sctp: tune(sctp, lambda: None)]) as ends:
            first = sctp_of(ends[0])
            assert first._srtt is None
            frames_of(ends[0]).send(b"word")
            await asyncio.sleep(RIDE_S + 0.1)
            assert first._srtt is not None and first._srtt < RIDE_S + 0.1
            assert first._rto >= 1.0

    asyncio.run(whole())


def test_time_out_doubles_while_nothing_is_heard() -> None:
    async def play(ends: Ends) -> None:
        sctp = sctp_of(ends[0])
        wire = Wire(sctp, lambda kinds: True)
        sctp._data_channels[1].send(b"nobody hears this")
        await asyncio.sleep(3.4)
        assert [kinds for kinds, _ in wire.datagrams] == 3 * [[DataChunk]], "at 0, 1 and 3 s"
        assert sctp._rto == 4.0

    run(play)
