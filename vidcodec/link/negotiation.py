"""Offer and answer of one session, with the impairment relay between them where one is asked for."""

from aiortc import RTCPeerConnection, RTCSessionDescription

from vidcodec.errors import PeerError
from vidcodec.link.ice import check_sdp, describe, fingerprint_code, reachable_address
from vidcodec.link.options import LinkOptions
from vidcodec.link.relay import Relay


class Negotiation:
    """Makes and takes the two descriptions.

    Attributes:
        code: fingerprint code, empty until both descriptions are known.
        relay: stands between the two ends, None without impairment.
    """

    def __init__(self, pc: RTCPeerConnection, options: LinkOptions) -> None:
        self.code = ""
        self.relay = None if options.impair is None else Relay(options.impair, options.seed, options.impair_since_ms)
        self._pc = pc
        self._options = options
        self._offer = ""

    async def offer(self, loopback: bool) -> str:
        """Our offer, with all candidates.

        Args:
            loopback: the signalling stays on this machine, and so may the media.

        Raises:
            PeerError: no network address to offer.
        """
        self._offer = await self._describe(loopback)
        return self._offer

    async def take_answer(self, sdp: str) -> None:
        """Take the peer's answer to our offer.

        Raises:
            PeerError: it is none.
        """
        self.code = fingerprint_code(check_sdp(self._offer), check_sdp(sdp))
        await self._take(sdp, "answer")

    async def answer(self, offer: str, loopback: bool) -> str:
        """Our answer to a peer's offer, with all candidates.

        Raises:
            PeerError: the offer is none, or we have no network address.
        """
        fingerprint = check_sdp(offer)
        if self.relay is not None:
            await self.relay.open(_relay_host(loopback))
        await self._take(offer, "offer")
        answer = await self._describe(loopback)
        self.code = fingerprint_code(fingerprint, check_sdp(answer))
        return answer

    def close(self) -> None:
        """Close the relay."""
        if self.relay is not None:
            self.relay.close()

    async def _describe(self, loopback: bool) -> str:
        sdp = await describe(self._pc, self._options.ice, loopback)
        if self.relay is None:
            return sdp
        if not self.relay.is_open:
            await self.relay.open(_relay_host(loopback))
        return self.relay.outgoing(sdp)

    async def _take(self, sdp: str, kind: str) -> None:
        if self.relay is not None:
            sdp = self.relay.incoming(sdp)
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(sdp, kind))
        except Exception as error:  # aiortc's parser fails in many ways on text that is no description
            raise PeerError(f"peer's session description cannot be used ({type(error).__name__})") from error


def _relay_host(loopback: bool) -> str:
    return "127.0.0.1" if loopback else reachable_address()
