"""What a payload costs on the wire: one function, one table of headers for each transport.

Everything is counted down to IPv4, as a link's rate limit counts it. Sources: data channels are DTLS 1.2 with
ChaCha20-Poly1305 (RFC 6347, RFC 7905), see `vidcodec.link.dtls`, around SCTP DATA chunks (RFC 9260) as aiortc sends
them; video is SRTP with an 80-bit tag (RFC 3711) around the payload format of each codec (VP8: RFC 7741, VP9: RFC 9628,
H.264: RFC 6184, H.265: RFC 7798, AV1: the AV1 RTP specification).
"""

from dataclasses import dataclass

from vidcodec.errors import UsageError

IPV4_BYTES = 20
UDP_BYTES = 8
DTLS_BYTES = 13 + 16  # record header, authentication tag
SCTP_BYTES = 12 + 16  # common header, DATA chunk header
RTP_BYTES = 12
SRTP_BYTES = 10  # authentication tag


@dataclass(frozen=True, slots=True)
class Transport:
    """How one transport wraps payloads.

    Attributes:
        name: what `wire_bytes` calls it.
        header_bytes: headers, tags and descriptors of every datagram, IPv4 included.
        split_bytes: the most payload one datagram carries.
        split_header_bytes: extra bytes in each datagram of a payload that is split.
        align_bytes: payloads are padded to a multiple of this.
    """

    name: str
    header_bytes: int
    split_bytes: int
    split_header_bytes: int = 0
    align_bytes: int = 1


def _rtp(name: str, descriptor_bytes: int, split_header_bytes: int = 0) -> Transport:
    """A video payload format over SRTP, RTP packets of at most 1,200 bytes before the tag (as libwebrtc sends)."""
    header_bytes = IPV4_BYTES + UDP_BYTES + RTP_BYTES + SRTP_BYTES + descriptor_bytes
    return Transport(name, header_bytes, 1200 - RTP_BYTES - descriptor_bytes - split_header_bytes, split_header_bytes)


DATA_CHANNEL = Transport(
    "datachannel", IPV4_BYTES + UDP_BYTES + DTLS_BYTES + SCTP_BYTES, split_bytes=1160, align_bytes=4
)

TRANSPORTS = {
    transport.name: transport
    for transport in (
        Transport("none", 0, 1 << 62),
        DATA_CHANNEL,
        _rtp("rtp-vp8", 4),  # X and I bits with a 15-bit picture id
        _rtp("rtp-vp9", 3),  # flexible mode off, 15-bit picture id
        _rtp("rtp-h264", 0, 2),  # a single NAL unit packet; FU-A when split
        _rtp("rtp-h265", 0, 3),  # a single NAL unit packet; FU when split
        _rtp("rtp-av1", 1),  # aggregation header
    )
}


def datagrams(payload_bytes: int, transport: Transport | str = DATA_CHANNEL) -> int:
    """How many datagrams one payload takes. An empty payload takes one."""
    split_bytes = _find(transport).split_bytes
    return max(1, -(-payload_bytes // split_bytes))


def wire_bytes(payload_bytes: int, transport: Transport | str = DATA_CHANNEL) -> int:
    """Bytes on the wire, IPv4 header included, of one payload (a message, a coded frame).

    Args:
        payload_bytes: size of the payload, >= 0.
        transport: a row of `TRANSPORTS` or its name.

    Raises:
        UsageError: an unknown transport or a negative size.
    """
    transport = _find(transport)
    if payload_bytes < 0:
        raise UsageError(f"payload of {payload_bytes} bytes: give 0 or more")
    count = datagrams(payload_bytes, transport)
    last_bytes = payload_bytes - (count - 1) * transport.split_bytes
    padding_bytes = -last_bytes % transport.align_bytes
    each_bytes = transport.header_bytes + (transport.split_header_bytes if count > 1 else 0)
    return payload_bytes + padding_bytes + count * each_bytes


def rate_kbps(total_bytes: int, duration_s: float) -> float:
    """Bytes over a time as kbit/s (1,000 bit)."""
    return total_bytes * 8 / 1000 / duration_s if duration_s > 0 else 0.0


def _find(transport: Transport | str) -> Transport:
    if isinstance(transport, Transport):
        return transport
    if transport not in TRANSPORTS:
        raise UsageError(f"transport {transport!r} is unknown: choose from {', '.join(TRANSPORTS)}")
    return TRANSPORTS[transport]
