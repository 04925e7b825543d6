"""The cipher that two ends choose, over real DTLS: the short one if one of them prefers it, whichever begins."""

import asyncio

import pytest
from aiortc import RTCPeerConnection
from link_pair import eventually, packet, pair

from vidcodec.link.dtls import prefer_short_records
from vidcodec.wire import wire_bytes


async def chosen(offering: bool, answering: bool) -> str | None:
    """The cipher of a connection whose ends prefer short records or have aiortc's own order."""
    ends = RTCPeerConnection(), RTCPeerConnection()
    for end, prefers in zip(ends, (offering, answering), strict=True):
        end.createDataChannel("frames", negotiated=True, id=0)
        assert end.sctp is not None
        if prefers:
            prefer_short_records(end.sctp.transport)
    first, second = ends
    try:
        await first.setLocalDescription(await first.createOffer())
        await second.setRemoteDescription(first.localDescription)
        await second.setLocalDescription(await second.createAnswer())
        await first.setRemoteDescription(second.localDescription)
        transport = first.sctp.transport  # type: ignore[union-attr]
        while transport.state != "connected":
            await asyncio.sleep(0.005)
        return transport._ssl.get_cipher_name()  # type: ignore[union-attr]
    finally:
        await asyncio.gather(first.close(), second.close())


@pytest.mark.parametrize(("offering", "answering"), [(True, True), (True, False), (False, True)])
def test_records_are_short_where_one_end_prefers_it(offering: bool, answering: bool) -> None:
    cipher = asyncio.run(asyncio.wait_for(chosen(offering, answering), 10.0))
    assert cipher == "ECDHE-ECDSA-CHACHA20-POLY1305"


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
