"""What one message of the `frames` channel holds: packets, a fragment of a large message, or acknowledgements.

    packets   | 00 | packets - 1 (6 bits) | (length, packet) ... | last packet |
    fragment  | 01 | index (6 bits)       | count (8) | message id (16) | bytes |
    acks      | 10 | entries (6 bits)     | base time (32) | (number 10 + status 2, age 16) ... |

A lone packet costs one byte. Lengths are LEB128. A message never exceeds one datagram of 1,160 bytes: SCTP would split
it and lose all of it with any part, and its own reassembly is bounded by nothing. All integers are big-endian.
"""

import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from vidcodec.errors import DamagedPacket

MAX_DATAGRAM_BYTES = 1160
FRAGMENT_HEADER_BYTES = 4
FRAGMENT_BYTES = MAX_DATAGRAM_BYTES - FRAGMENT_HEADER_BYTES
MAX_FRAGMENTS = 64
MAX_MESSAGE_BYTES = FRAGMENT_BYTES * MAX_FRAGMENTS
MAX_PACKETS = 16
MAX_ACKS = 63
TICK_MS = 0.1
CLOCK_WRAP_MS = (1 << 32) * TICK_MS
MAX_AGE_TICKS = 0xFFFF

_PACKETS, _FRAGMENT, _ACKS = 0, 1, 2


class FrameStatus(IntEnum):
    """What became of a frame at the receiver."""

    RECEIVED = 0
    OK = 1
    DAMAGED = 2
    MISSING_REFERENCE = 3


@dataclass(frozen=True, slots=True)
class AckEntry:
    """One frame as the receiver saw it.

    Attributes:
        number: frame number modulo 1024.
        status: RECEIVED on arrival, one of the others once the decoder has seen it.
        received_ms: arrival time on the receiver's clock, modulo `CLOCK_WRAP_MS`.
    """

    number: int
    status: FrameStatus
    received_ms: float


@dataclass(frozen=True, slots=True)
class Acks:
    """Acknowledgements, and when they left on the receiver's clock (modulo `CLOCK_WRAP_MS`)."""

    sent_ms: float
    entries: tuple[AckEntry, ...]


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a message too large for one datagram."""

    message_id: int
    index: int
    count: int
    data: bytes


def join_packets(packets: Sequence[bytes]) -> bytes:
    """Put 1..16 packets, oldest first, into one message.

    Raises:
        ValueError: no packet, an empty one, too many, or too long for 64 fragments.
    """
    if not 1 <= len(packets) <= MAX_PACKETS or not all(packets):
        raise ValueError(f"a message holds 1 to {MAX_PACKETS} packets that are not empty, not {len(packets)}")
    parts = [bytes([_PACKETS << 6 | len(packets) - 1])]
    for packet in packets[:-1]:
        parts += [_varint(len(packet)), packet]
    message = b"".join(parts) + packets[-1]
    if len(message) > MAX_MESSAGE_BYTES:
        raise ValueError(f"message of {len(message)} bytes: at most {MAX_MESSAGE_BYTES} fit")
    return message


def split_message(message: bytes, message_id: int) -> list[bytes]:
    """The datagrams that carry `message`: itself, or its fragments under `message_id` (modulo 65536)."""
    if len(message) <= MAX_DATAGRAM_BYTES:
        return [message]
    count = -(-len(message) // FRAGMENT_BYTES)
    return [
        struct.pack(">BBH", _FRAGMENT << 6 | index, count, message_id & 0xFFFF)
        + message[index * FRAGMENT_BYTES : (index + 1) * FRAGMENT_BYTES]
        for index in range(count)
    ]


def group_packets(packets: Sequence[bytes]) -> list[list[bytes]]:
    """Packets as messages that fit a datagram each; a larger packet goes alone."""
    groups: list[list[bytes]] = []
    size = 0
    for packet in packets:
        room = len(packet) + 3
        if groups and len(groups[-1]) < MAX_PACKETS and size + room <= MAX_DATAGRAM_BYTES:
            groups[-1].append(packet)
            size += room
        else:
            groups.append([packet])
            size = 1 + room
    return groups


def join_acks(entries: Sequence[AckEntry], now_ms: float) -> bytes:
    """Put 1..63 acknowledgements into one message. An entry older than 6.5 s is given that age."""
    if not 1 <= len(entries) <= MAX_ACKS:
        raise ValueError(f"1 to {MAX_ACKS} acknowledgements, not {len(entries)}")
    parts = [struct.pack(">BI", _ACKS << 6 | len(entries), round(now_ms / TICK_MS) & 0xFFFFFFFF)]
    for entry in entries:
        age = min(max(round((now_ms - entry.received_ms) / TICK_MS), 0), MAX_AGE_TICKS)
        parts.append(struct.pack(">HH", entry.status << 10 | entry.number, age))
    return b"".join(parts)


def parse_message(data: bytes) -> list[bytes] | Fragment | Acks:
    """Read one message of the `frames` channel.

    Returns:
        Its packets, a fragment, or acknowledgements.

    Raises:
        DamagedPacket: the bytes are none of the three.
    """
    if not data or len(data) > MAX_MESSAGE_BYTES:
        raise DamagedPacket(f"message of {len(data)} bytes on the frames channel: expected 1 to {MAX_MESSAGE_BYTES}")
    kind, low = data[0] >> 6, data[0] & 63
    if kind == _PACKETS:
        return list(_packets(data, low + 1))
    if kind == _FRAGMENT:
        return _fragment(data, low)
    if kind == _ACKS:
        return _acks(data, low)
    raise DamagedPacket("message of an unknown kind on the frames channel")


def _packets(data: bytes, count: int) -> Iterator[bytes]:
    if count > MAX_PACKETS:
        raise DamagedPacket(f"message announces {count} packets: at most {MAX_PACKETS}")
    position = 1
    for _ in range(count - 1):
        length, position = _read_varint(data, position)
        if not 0 < length <= len(data) - position:
            raise DamagedPacket("packet length in a message leads outside of it")
        yield data[position : position + length]
        position += length
    if position >= len(data):
        raise DamagedPacket("message ends before its last packet")
    yield data[position:]


def _fragment(data: bytes, index: int) -> Fragment:
    if len(data) <= FRAGMENT_HEADER_BYTES:
        raise DamagedPacket("fragment without content")
    _, count, message_id = struct.unpack_from(">BBH", data)
    size = len(data) - FRAGMENT_HEADER_BYTES
    last = index == count - 1
    if not (2 <= count <= MAX_FRAGMENTS and index < count and size <= FRAGMENT_BYTES) or (
        not last and size != FRAGMENT_BYTES
    ):
        raise DamagedPacket(f"fragment {index} of {count} with {size} bytes does not fit the format")
    return Fragment(message_id, index, count, data[FRAGMENT_HEADER_BYTES:])


def _acks(data: bytes, count: int) -> Acks:
    if count == 0 or len(data) != 5 + 4 * count:
        raise DamagedPacket(f"acknowledgement of {len(data)} bytes does not hold {count} entries")
    (base,) = struct.unpack_from(">I", data, 1)
    entries = []
    for word, age in struct.iter_unpack(">HH", data[5:]):
        if word >> 12:
            raise DamagedPacket("acknowledgement has a reserved bit set")
        entries.append(AckEntry(word & 1023, FrameStatus(word >> 10), (base - age) % (1 << 32) * TICK_MS))
    return Acks(base * TICK_MS, tuple(entries))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in (0, 7, 14):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
    raise DamagedPacket("packet length in a message is cut short or too long")


@dataclass(slots=True)
class _Partial:
    count: int
    started_ms: float
    parts: dict[int, bytes] = field(default_factory=dict)


class Reassembler:
    """Joins fragments that come late, twice or in any order, in bounded memory and time.

    At most `max_partial` messages are kept (oldest dropped first) and none for longer than `max_age_ms`; of each id
    already completed the copies that come within that time are ignored, and no longer, because ids come again.
    """

    def __init__(self, max_partial: int = 4, max_age_ms: float = 1000.0) -> None:
        self._max_partial = max_partial
        self._max_age_ms = max_age_ms
        self._partial: OrderedDict[int, _Partial] = OrderedDict()
        self._done: OrderedDict[int, float] = OrderedDict()
        self.incomplete = 0

    def add(self, fragment: Fragment, now_ms: float) -> bytes | None:
        """Take one fragment; return the message when it is the last one that was missing."""
        self._expire(now_ms)
        if fragment.message_id in self._done:
            return None
        partial = self._partial.get(fragment.message_id)
        if partial is None or partial.count != fragment.count:
            if partial is not None:
                self._drop(fragment.message_id)
            while len(self._partial) >= self._max_partial:
                self._drop(next(iter(self._partial)))
            partial = self._partial[fragment.message_id] = _Partial(fragment.count, now_ms)
        partial.parts.setdefault(fragment.index, fragment.data)
        if len(partial.parts) < partial.count:
            return None
        del self._partial[fragment.message_id]
        self._done[fragment.message_id] = now_ms
        if len(self._done) > 4 * self._max_partial:
            self._done.popitem(last=False)
        return b"".join(partial.parts[index] for index in range(partial.count))

    def _expire(self, now_ms: float) -> None:
        while self._partial:
            oldest = next(iter(self._partial))
            if now_ms - self._partial[oldest].started_ms <= self._max_age_ms:
                break
            self._drop(oldest)
        while self._done and now_ms - next(iter(self._done.values())) > self._max_age_ms:
            self._done.popitem(last=False)

    def _drop(self, message_id: int) -> None:
        del self._partial[message_id]
        self.incomplete += 1
