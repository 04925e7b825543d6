"""Frame records: what each end of a call knows about a frame, and the compact text in which the other end gets it.

Nothing is added to a frame on the wire. About once a second each end sends what it noted, as one string on the control
channel: integer rows, differences to the row before, JSON, zlib, base64. That is 15-23 bytes a frame, 4-6 kbit/s
at 30 frames a second. Times are `time.monotonic_ns` of the end that took them, rounded to `TICK_NS`, and errors are
exact integers, so that two ends that fold the same records get the same figures.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from itertools import pairwise

TICK_NS = 100_000
MAX_ROWS = 4096
MAX_TEXT_BYTES = 1 << 18
_MAX_JSON_BYTES = 1 << 20
_MAX_VALUE = 1 << 62

Row = list[int | None]


def ticks(time_ns: int) -> int:
    """A time or a difference of times in units of `TICK_NS`."""
    return time_ns // TICK_NS


@dataclass(frozen=True, slots=True)
class SentFrame:
    """What the sender knows about a frame that the link took.

    Attributes:
        number: full count of sent frames, from 0 (a packet carries it modulo 1024).
        captured_ns: the picture came from the source.
        taken_ns: the frame path took it from its mailbox.
        cropped_ns: cropped and resized.
        encoded_ns: coded and handed to the link.
        payload_bytes: size of the packet.
        quality: rate point of the packet.
        offset_ns: the receiver's clock minus the sender's, as estimated when the frame was sent.
        squared_error: sum over `[192, 192, 3]` of squared 8-bit differences between the cropped original and what the
            receiver shows; None where the receiver measures it itself (loopback) or nobody had the time.
        ms_ssim_ppm: MS-SSIM of the same two pictures in millionths; None on most frames (see `MS_SSIM_EVERY`).
        baseline_squared_error: the same sum for the baseline's picture.
        baseline_bytes: what the baseline's packet costs on the wire, headers included.
    """

    number: int
    captured_ns: int
    taken_ns: int
    cropped_ns: int
    encoded_ns: int
    payload_bytes: int
    quality: int
    offset_ns: int = 0
    squared_error: int | None = None
    ms_ssim_ppm: int | None = None
    baseline_squared_error: int | None = None
    baseline_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """What the receiver knows about a frame that it showed. The last three only in loopback.

    Attributes:
        number: full count of sent frames.
        received_ns: the link delivered the packet.
        decoded_ns: the picture was ready.
        shown_ns: the picture was handed to the screen (or to the recorder, or to nobody).
        squared_error: see `SentFrame`; taken from the shown pixels.
        ms_ssim_ppm: see `SentFrame`.
        baseline_squared_error: see `SentFrame`.
    """

    number: int
    received_ns: int
    decoded_ns: int
    shown_ns: int
    squared_error: int | None = None
    ms_ssim_ppm: int | None = None
    baseline_squared_error: int | None = None


def pack_sent(frames: Sequence[SentFrame]) -> str:
    """Records of sent frames as text; read by `unpack_sent`."""
    return _pack([_to_row(astuple(replace(frame, offset_ns=ticks(frame.offset_ns))), times=4) for frame in frames])


def unpack_sent(text: str) -> list[SentFrame]:
    """Read what `pack_sent` wrote.

    Raises:
        ValueError: not such a text. Bounded in time and memory, whatever the text is.
    """
    frames = []
    for row in _unpack(text, columns=12):
        offset, row[7] = row[7], 0
        fields = _from_row(row, times=4, required=8)
        fields[7] = (offset or 0) * TICK_NS
        frames.append(SentFrame(*fields))  # type: ignore[arg-type]
    return frames


def pack_shown(frames: Sequence[ShownFrame]) -> str:
    """Records of shown frames as text; read by `unpack_shown`."""
    return _pack([_to_row(astuple(frame), times=3) for frame in frames])


def unpack_shown(text: str) -> list[ShownFrame]:
    """Read what `pack_shown` wrote.

    Raises:
        ValueError: not such a text. Bounded in time and memory, whatever the text is.
    """
    return [ShownFrame(*_from_row(row, times=3, required=4)) for row in _unpack(text, columns=7)]  # type: ignore[arg-type]


def _to_row(fields: Sequence[int | None], times: int) -> Row:
    """Fields after the number are `times` times, each noted as the difference to the one before, in ticks."""
    moments = [ticks(value or 0) for value in fields[1 : 1 + times]]
    steps = [later - earlier for earlier, later in pairwise(moments)]
    return [fields[0], moments[0], *steps, *fields[1 + times :]]


def _from_row(row: Row, times: int, required: int) -> Row:
    if any(value is None for value in row[:required]):
        raise ValueError("a frame record lacks a number")
    moments, now = [], 0
    for step in row[1 : 1 + times]:
        now += step or 0
        moments.append(now * TICK_NS)
    rest = row[1 + times :]
    if any(value is not None and value < 0 for value in (row[0], *rest)):
        raise ValueError("a frame record has a negative count")
    return [row[0], *moments, *rest]


def _pack(rows: Sequence[Row]) -> str:
    """Column by column, the first two (number and first time) as differences: like stands beside like."""
    if not rows:
        return ""
    columns = [list(column) for column in zip(*rows, strict=True)]
    for index in (0, 1):
        values = [value or 0 for value in columns[index]]
        columns[index] = [values[0], *(b - a for a, b in pairwise(values))]
    data = json.dumps(columns, separators=(",", ":")).encode()
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii")


def _unpack(text: str, columns: int) -> list[Row]:
    if not text:
        return []
    if len(text) > MAX_TEXT_BYTES:
        raise ValueError("frame records are too long")
    try:
        inflater = zlib.decompressobj()
        data = inflater.decompress(base64.b64decode(text, validate=True), _MAX_JSON_BYTES)
        if inflater.unconsumed_tail or not inflater.eof:
            raise ValueError("frame records are too long or cut short")
        table = json.loads(data)
    except (binascii.Error, zlib.error, RecursionError, UnicodeDecodeError) as error:
        raise ValueError("frame records are damaged") from error
    if not isinstance(table, list) or len(table) != columns:
        raise ValueError("frame records have other columns")
    for column in table:
        if not isinstance(column, list) or not 1 <= len(column) <= MAX_ROWS or len(column) != len(table[0]):
            raise ValueError("frame records have columns of other lengths")
        if not all(value is None or (type(value) is int and abs(value) < _MAX_VALUE) for value in column):
            raise ValueError("frame records hold something other than numbers")
    for index in (0, 1):
        if None in table[index]:
            raise ValueError("a frame record lacks a number")
        for position in range(1, len(table[index])):
            table[index][position] += table[index][position - 1]
    return [list(row) for row in zip(*table, strict=True)]
