"""Two peer connections of aiortc in one event loop, for tests of what lies below a session."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiortc import RTCPeerConnection, RTCSctpTransport


@asynccontextmanager
async def connected(
    offering: Callable[[RTCSctpTransport], object], answering: Callable[[RTCSctpTransport], object]
) -> AsyncIterator[tuple[RTCPeerConnection, RTCPeerConnection]]:
    """Both ends, each with an unreliable, unordered channel 0 and a reliable channel 1; `offering` and `answering` set
    them up before they connect."""
    ends = RTCPeerConnection(), RTCPeerConnection()
    for end, set_up in zip(ends, (offering, answering), strict=True):
        end.createDataChannel("frames", negotiated=True, id=0, ordered=False, maxRetransmits=0)
        end.createDataChannel("control", negotiated=True, id=1)
        assert end.sctp is not None
        set_up(end.sctp)
    first, second = ends
    try:
        await first.setLocalDescription(await first.createOffer())
        await second.setRemoteDescription(first.localDescription)
        await second.setLocalDescription(await second.createAnswer())
        await first.setRemoteDescription(second.localDescription)
        await asyncio.wait_for(_both_connected(ends), 10.0)
        yield ends
    finally:
        await asyncio.gather(first.close(), second.close())


async def _both_connected(ends: tuple[RTCPeerConnection, RTCPeerConnection]) -> None:
    while any(end.sctp is None or end.sctp.state != "connected" for end in ends):
        await asyncio.sleep(0.005)
