"""The two data channels of a session: what goes out is counted, what comes in is checked.

Bad input, and more of it than any session needs, is dropped, counted, and said once of each kind.
"""

import logging
from collections.abc import Callable

from aiortc import RTCPeerConnection
from aiortc.exceptions import InvalidStateError

from vidcodec.errors import DamagedPacket
from vidcodec.link.counters import Counters
from vidcodec.link.dtls import prefer_short_records
from vidcodec.link.framing import Acks, Fragment, Reassembler, parse_message
from vidcodec.link.messages import Control, InvalidMessage, from_json, to_json
from vidcodec.link.sctp import open_window, tune

log = logging.getLogger("vidcodec.link")

MAX_CONTROL_PER_S = 200


class Channels:
    """Belongs to the event loop's thread.

    Args:
        pc: what the channels are opened on.
        counters: of the session.
        heard: called whenever anything arrives from the peer.

    Attributes:
        frames: unordered, and nothing is repeated.
        control: reliable and in order.
    """

    def __init__(self, pc: RTCPeerConnection, counters: Counters, heard: Callable[[], object]) -> None:
        self.frames = pc.createDataChannel("frames", negotiated=True, id=0, ordered=False, maxRetransmits=0)
        self.control = pc.createDataChannel("control", negotiated=True, id=1)
        assert pc.sctp is not None  # the channels made it
        self._sctp = pc.sctp
        self._cancel_sack = tune(pc.sctp, heard)
        prefer_short_records(pc.sctp.transport)
        self._counters = counters
        self._reassembler = Reassembler()
        self._control_budget = float(MAX_CONTROL_PER_S)
        self._complained: set[str] = set()

    @property
    def are_open(self) -> bool:
        """Whether the peer can be told anything."""
        return bool(self.control.readyState == "open")

    def send_control(self, message: Control) -> None:
        """Send one control message; ignored when the channel is gone."""
        text = to_json(message)
        try:
            self.control.send(text)
        except (InvalidStateError, ConnectionError):
            return
        self._counters.control_sent(len(text))

    def send_datagrams(self, datagrams: list[bytes]) -> bool:
        """Send the datagrams of one message of the frames channel; False when the channel is gone."""
        try:
            open_window(self._sctp)
            for datagram in datagrams:
                self.frames.send(datagram)
                self._counters.datagram_sent(len(datagram))
        except (InvalidStateError, ConnectionError):
            return False
        return True

    def read_frames(self, data: bytes | str, now_ms: float) -> list[bytes] | Acks | None:
        """What a datagram of the frames channel brings: packets, acknowledgements, or nothing (yet)."""
        try:
            if isinstance(data, str):
                raise DamagedPacket("text on the frames channel")
            content = parse_message(data)
            if not isinstance(content, Fragment):
                return content
            whole = self._reassembler.add(content, now_ms)
            self._counters.messages_incomplete = self._reassembler.incomplete
            if whole is None:
                return None
            packets = parse_message(whole)
            if not isinstance(packets, list):
                raise DamagedPacket("fragments of something that is no frame")
            return packets
        except DamagedPacket as error:
            self.complain("frames", str(error))
            return None

    def read_control(self, data: bytes | str) -> Control | None:
        """What a message of the control channel says, None for nothing of use."""
        self._control_budget -= 1.0
        if self._control_budget < 0.0:
            self.complain("flood", "more control messages than any session needs")
            return None
        try:
            return from_json(data)
        except InvalidMessage as error:
            self.complain("control", str(error))
            return None

    def passed(self, seconds: float) -> None:
        """Time has passed: the peer may send more control messages."""
        self._control_budget = min(self._control_budget + MAX_CONTROL_PER_S * seconds, MAX_CONTROL_PER_S)

    def complain(self, kind: str, text: str) -> None:
        """Count bad input, and log each kind of it once a session."""
        self._counters.invalid_messages_received += 1
        if kind not in self._complained:
            self._complained.add(kind)
            log.warning("dropped bad input from the peer (further ones are only counted): %s", text)

    def close(self) -> None:
        """Send nothing more by ourselves; the connection closes the channels."""
        self._cancel_sack()
