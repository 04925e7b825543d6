"""What a session counted, under the names of W3C webrtc-stats where they exist (getStats has none of it in aiortc)."""

from dataclasses import dataclass
from typing import Any

from aiortc import RTCPeerConnection

IP_UDP_BYTES = 28


@dataclass(slots=True)
class Counters:
    """Counts of one session. Written on the event loop's thread, or under the sender's lock."""

    frames_messages_sent: int = 0
    frames_bytes_sent: int = 0
    frames_messages_received: int = 0
    frames_bytes_received: int = 0
    control_messages_sent: int = 0
    control_bytes_sent: int = 0
    control_messages_received: int = 0
    control_bytes_received: int = 0
    invalid_messages_received: int = 0
    stats_messages_received: int = 0
    messages_incomplete: int = 0
    payload_bytes_sent: int = 0
    payload_bytes_received: int = 0
    frames_sent: int = 0
    frames_repeated: int = 0
    messages_repeated: int = 0
    frames_refused: int = 0
    frames_received: int = 0
    frames_duplicated: int = 0
    frames_acknowledged: int = 0
    frames_lost: int = 0
    frames_rescued: int = 0
    acks_unknown: int = 0
    wire: tuple[int, int, int, int] | None = None

    def datagram_sent(self, size: int) -> None:
        self.frames_messages_sent += 1
        self.frames_bytes_sent += size

    def datagram_received(self, size: int) -> None:
        self.frames_messages_received += 1
        self.frames_bytes_received += size

    def control_sent(self, size: int) -> None:
        self.control_messages_sent += 1
        self.control_bytes_sent += size

    def control_received(self, size: int) -> None:
        self.control_messages_received += 1
        self.control_bytes_received += size

    def freeze_wire(self, pc: RTCPeerConnection) -> None:
        """Keep the transport's counts for after the connection is gone."""
        self.wire = _transport_counts(pc)

    def snapshot(self, pc: RTCPeerConnection) -> dict[str, Any]:
        """All counts as a flat dict.

        `wireBytesSent` and `wireBytesReceived` are what crossed the network: every datagram of the DTLS transport
        (frames, control, acknowledgements, SCTP's own SACKs) plus 28 bytes of IPv4 and UDP; ICE checks are not in it.
        """
        packets_sent, bytes_sent, packets_received, bytes_received = self.wire or _transport_counts(pc)
        return {
            "messagesSent": self.frames_messages_sent + self.control_messages_sent,
            "bytesSent": self.frames_bytes_sent + self.control_bytes_sent,
            "messagesReceived": self.frames_messages_received + self.control_messages_received,
            "bytesReceived": self.frames_bytes_received + self.control_bytes_received,
            "controlMessagesSent": self.control_messages_sent,
            "controlBytesSent": self.control_bytes_sent,
            "controlMessagesReceived": self.control_messages_received,
            "controlBytesReceived": self.control_bytes_received,
            "invalidMessagesReceived": self.invalid_messages_received,
            "messagesIncomplete": self.messages_incomplete,
            "payloadBytesSent": self.payload_bytes_sent,
            "payloadBytesReceived": self.payload_bytes_received,
            "framesSent": self.frames_sent,
            "framesRepeated": self.frames_repeated,
            "messagesRepeated": self.messages_repeated,
            "framesRefused": self.frames_refused,
            "framesReceived": self.frames_received,
            "framesDuplicated": self.frames_duplicated,
            "framesAcknowledged": self.frames_acknowledged,
            "framesLost": self.frames_lost,
            "framesRescued": self.frames_rescued,
            "acksUnknown": self.acks_unknown,
            "packetsSent": packets_sent,
            "packetsReceived": packets_received,
            "wireBytesSent": bytes_sent + IP_UDP_BYTES * packets_sent,
            "wireBytesReceived": bytes_received + IP_UDP_BYTES * packets_received,
        }


def _transport_counts(pc: RTCPeerConnection) -> tuple[int, int, int, int]:
    if pc.sctp is None:
        return (0, 0, 0, 0)
    for report in pc.sctp.transport._get_stats().values():
        if report.type == "transport":
            return (report.packetsSent, report.bytesSent, report.packetsReceived, report.bytesReceived)
    return (0, 0, 0, 0)
