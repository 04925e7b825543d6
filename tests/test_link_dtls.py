"""The cipher that two ends choose, over real DTLS: the short one if one of them prefers it, whichever begins."""

import asyncio

import pytest
from aiortc import RTCSctpTransport
from aiortc_pair import connected
from link_pair import eventually, packet, pair

from vidcodec.link.dtls import prefer_short_records
from vidcodec.wire import wire_bytes


@pytest.mark.parametrize(("offering", "answering"), [(True, True), (True, False), (False, True)])
def test_records_are_short_where_one_end_prefers_it(offering: bool, answering: bool) -> None:
    def prefers(sctp: RTCSctpTransport) -> None:
        prefer_short_records(sctp.transport)

    def leaves(sctp: RTCSctpTransport) -> None:
        """In aiortc's own order."""

    async def chosen() -> str | None:
        async with connected(prefers if offering else leaves, prefers if answering else leaves) as (first, _):
            assert first.sctp is not None and first.sctp.transport._ssl is not None
            return first.sctp.transport._ssl.get_cipher_name()

    assert asyncio.run(chosen()) == "ECDHE-ECDSA-CHACHA20-POLY1305"


def test_datagrams_of_a_session_are_as_long_as_they_are_counted() -> None:
    with pair() as (link, _receiver, seen, _server):
        before = dict(link.stats)
        for number in range(40):
            link.send_frame(number, packet(number, 250))
        assert eventually(lambda: len(seen.frames) == 40)
        after = link.stats
        others = after["packetsSent"] - before["packetsSent"] - 40
        each = (after["wireBytesSent"] - before["wireBytesSent"] - others * wire_bytes(20)) / 40
        assert others <= 10
        assert each == pytest.approx(wire_bytes(251), abs=6)
