"""The packet: one frame on the wire, a header of five bytes and a body. Bytes only.

    bit   0         10        16        22  24              40
          | number  | distance| quality |0 0|   checksum     | body ...

All fields are big-endian, most significant bit first. `number` counts sent frames modulo 1024. `distance` is how many
frames back the reference lies, 0 meaning none (blank state, an intra frame). Two reserved bits are zero. `checksum` is
the lower half of CRC-32 (ISO 3309) over the first three bytes and the decoded symbols: it protects what was decoded
and not how it was written, so that it also catches a decoder that disagrees with the encoder.
"""

import struct
import zlib
from dataclasses import dataclass

from vidcodec.errors import DamagedPacket

HEADER_BYTES = 5
NUMBERS = 1024
MAX_DISTANCE = 63
QUALITIES = 64
MAX_PACKET_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Header:
    """What precedes the body of a packet.

    Attributes:
        number: frame number modulo 1024.
        distance: frames back to the reference, 1..63; 0 = no reference.
        quality: rate point, 0 (fewest bits)..63.
        checksum: 16 bits, see `checksum`.

    Raises:
        ValueError: a field is out of its range.
    """

    number: int
    distance: int
    quality: int
    checksum: int = 0

    def __post_init__(self) -> None:
        if not (
            0 <= self.number < NUMBERS
            and 0 <= self.distance <= MAX_DISTANCE
            and 0 <= self.quality < QUALITIES
            and 0 <= self.checksum <= 0xFFFF
        ):
            raise ValueError(f"header field out of range: {self}")

    @property
    def reference(self) -> int | None:
        """Number of the reference frame, or None for an intra frame."""
        return (self.number - self.distance) % NUMBERS if self.distance else None

    def prefix(self) -> bytes:
        """The first three bytes: all but the checksum."""
        return (self.number << 14 | self.distance << 8 | self.quality << 2).to_bytes(3, "big")


@dataclass(frozen=True, slots=True)
class Packet:
    """One frame on the wire: `header` and the entropy-coded `body`."""

    header: Header
    body: bytes

    def __len__(self) -> int:
        return HEADER_BYTES + len(self.body)

    def to_bytes(self) -> bytes:
        return self.header.prefix() + struct.pack(">H", self.header.checksum) + self.body

    @classmethod
    def from_bytes(cls, data: bytes) -> "Packet":
        """Parse a packet. The body is not looked at: `Codec.decode` does that.

        Raises:
            DamagedPacket: shorter than a header, longer than 65,536 bytes, or a reserved bit is set.
        """
        if not HEADER_BYTES <= len(data) <= MAX_PACKET_BYTES:
            raise DamagedPacket(f"packet of {len(data)} bytes: expected {HEADER_BYTES} to {MAX_PACKET_BYTES}")
        bits = int.from_bytes(data[:3], "big")
        if bits & 3:
            raise DamagedPacket("packet header has a reserved bit set: made by a newer version or damaged")
        (check,) = struct.unpack_from(">H", data, 3)
        header = Header(bits >> 14, bits >> 8 & MAX_DISTANCE, bits >> 2 & (QUALITIES - 1), check)
        return cls(header, bytes(data[HEADER_BYTES:]))


def checksum(prefix: bytes, symbols: bytes) -> int:
    """Checksum of a packet: CRC-32 of the header prefix and the symbols, cut to 16 bits.

    Args:
        prefix: `Header.prefix()`.
        symbols: every symbol of the frame in coding order as little-endian int16.
    """
    return zlib.crc32(symbols, zlib.crc32(prefix)) & 0xFFFF


def unwrap(number: int, near: int) -> int:
    """The full frame count nearest to `near` that is `number` modulo 1024, never below 0.

    >>> unwrap(2, 1023)
    1026
    """
    count = near + (number - near + NUMBERS // 2) % NUMBERS - NUMBERS // 2
    return count if count >= 0 else count + NUMBERS
