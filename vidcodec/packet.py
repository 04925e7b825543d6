"""The packet: one frame on the wire, a header of four or five bytes and a body.

    bit   0         10  11        17             32          40
          | number  | 1 | quality |   checksum   | body ...            reference: the frame before
          | number  | 0 | quality |   checksum   |0 0| distance | body ...   any other, or none

All fields are big-endian, most significant bit first. `number` counts sent frames modulo 1024. `distance` is how many
frames back the reference lies, 0 meaning none (blank state, an intra frame); nearly always it is 1, and takes a bit.
`checksum` is the lower 15 bits of CRC-32 (ISO 3309) over the other fields and the decoded symbols: it protects what
was decoded and not how it was written, so that it also catches a decoder that disagrees with the encoder.
"""

import zlib
from dataclasses import dataclass

from vidcodec.errors import DamagedPacket

HEADER_BYTES = 4  # of most packets; those that do not refer to the frame before have one more
NUMBERS = 1024
MAX_DISTANCE = 63
QUALITIES = 64
CHECKSUMS = 1 << 15
MAX_PACKET_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Header:
    """What precedes the body of a packet.

    Attributes:
        number: frame number modulo 1024.
        distance: frames back to the reference, 1..63; 0 = no reference.
        quality: rate point, 0 (fewest bits)..63.
        checksum: 15 bits, see `checksum`.

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
            and 0 <= self.checksum < CHECKSUMS
        ):
            raise ValueError(f"header field out of range: {self}")

    @property
    def reference(self) -> int | None:
        """Number of the reference frame, or None for an intra frame."""
        return (self.number - self.distance) % NUMBERS if self.distance else None

    def prefix(self) -> bytes:
        """All fields but the checksum as three bytes: number 10 bits, distance 6, quality 6, two zeros."""
        return (self.number << 14 | self.distance << 8 | self.quality << 2).to_bytes(3, "big")

    def to_bytes(self) -> bytes:
        """Four bytes, or five where the distance is not 1."""
        near = self.distance == 1
        first = (self.number << 22 | near << 21 | self.quality << 15 | self.checksum).to_bytes(4, "big")
        return first if near else first + bytes([self.distance])

    def __len__(self) -> int:
        return HEADER_BYTES + (self.distance != 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Header":
        """Parse the header that a packet begins with.

        Raises:
            DamagedPacket: too short, or a distance that has another form or none.
        """
        if len(data) < HEADER_BYTES:
            raise DamagedPacket(f"packet of {len(data)} bytes: a header has at least {HEADER_BYTES}")
        bits = int.from_bytes(data[:4], "big")
        distance = 1
        if not bits >> 21 & 1:
            if len(data) == HEADER_BYTES or data[4] == 1 or data[4] > MAX_DISTANCE:
                raise DamagedPacket("packet header without a valid distance: made by a newer version or damaged")
            distance = data[4]
        return cls(bits >> 22, distance, bits >> 15 & (QUALITIES - 1), bits & (CHECKSUMS - 1))


@dataclass(frozen=True, slots=True)
class Packet:
    """One frame on the wire: `header` and the entropy-coded `body`."""

    header: Header
    body: bytes

    def __len__(self) -> int:
        return len(self.header) + len(self.body)

    def to_bytes(self) -> bytes:
        return self.header.to_bytes() + self.body

    @classmethod
    def from_bytes(cls, data: bytes) -> "Packet":
        """Parse a packet. The body is not looked at: `Codec.decode` does that.

        Raises:
            DamagedPacket: no header, or longer than 65,536 bytes.
        """
        if len(data) > MAX_PACKET_BYTES:
            raise DamagedPacket(f"packet of {len(data)} bytes: expected at most {MAX_PACKET_BYTES}")
        header = Header.from_bytes(data)
        return cls(header, bytes(data[len(header) :]))


def checksum(prefix: bytes, symbols: bytes) -> int:
    """Checksum of a packet: CRC-32 of the header prefix and the symbols, cut to 15 bits.

    Args:
        prefix: `Header.prefix()`.
        symbols: every symbol of the frame in coding order as little-endian int16.
    """
    return zlib.crc32(symbols, zlib.crc32(prefix)) & (CHECKSUMS - 1)


def unwrap(number: int, near: int) -> int:
    """The full frame count nearest to `near` that is `number` modulo 1024, never below 0.

    >>> unwrap(2, 1023)
    1026
    """
    count = near + (number - near + NUMBERS // 2) % NUMBERS - NUMBERS // 2
    return count if count >= 0 else count + NUMBERS
