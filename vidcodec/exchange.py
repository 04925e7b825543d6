"""What two ends of a call tell each other beside the frames: counts and frame records, as JSON objects.

The sender says `SenderTotals` and its records, the receiver its count of decoded frames and its records, about once a
second and once more with the goodbye. Every field of a peer's object is checked here before it is used.
"""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from vidcodec.calllog import CallLog, SenderTotals
from vidcodec.drift import Sketch, from_text, to_text
from vidcodec.records import SentFrame, ShownFrame, pack_sent, pack_shown, unpack_sent, unpack_shown

ROWS_PER_MESSAGE = 1000
RETOLD = 128
"""So many records, those of the last four seconds, are told again over the next link after one was lost: its end is
noticed after three seconds, and what is told meanwhile does not arrive. A second copy counts nothing."""

MAX_LABEL = 32
_MAX_COUNT = 1 << 53

Record = TypeVar("Record", SentFrame, ShownFrame)


class Untold(Generic[Record]):
    """Records that the other end was not told of yet, in order, and the last ones that it was. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._untold: list[Record] = []
        self._told: deque[Record] = deque(maxlen=RETOLD)

    def add(self, record: Record) -> None:
        """There is another one."""
        with self._lock:
            self._untold.append(record)

    def take(self, most: int | None = None) -> list[Record]:
        """The oldest ones, all or at most so many, which are told now."""
        with self._lock:
            taken = self._untold[:most]
            del self._untold[: len(taken)]
            self._told.extend(taken)
        return taken

    def again(self) -> None:
        """The link was lost: the last ones that were told count as untold."""
        with self._lock:
            self._untold[:0] = self._told
            self._told.clear()


def sender_stats(
    totals: SenderTotals, frames: Sequence[SentFrame], sketched: tuple[int, Sketch] | None = None
) -> dict[str, Any]:
    """The sender's statistics; at most `ROWS_PER_MESSAGE` frames. `sketched`: a frame and its picture's sketch."""
    picture = {} if sketched is None else {"picture": {"number": sketched[0], "sketch": to_text(sketched[1])}}
    return picture | {
        "captured": totals.captured,
        "sent": totals.sent,
        "payload_bytes": totals.payload_bytes,
        "wire_bytes": totals.wire_bytes,
        "elapsed_ns": totals.elapsed_ns,
        "first_ms": totals.first_frame_ms,
        "baseline": totals.baseline_codec,
        "scale": totals.baseline_scale,
        "frames": pack_sent(frames),
    }


def receiver_stats(decoded: int, frames: Sequence[ShownFrame]) -> dict[str, Any]:
    """The receiver's statistics; at most `ROWS_PER_MESSAGE` frames."""
    return {"decoded": decoded, "frames": pack_shown(frames)}


def take_sender_stats(log: CallLog, payload: Mapping[str, Any]) -> None:
    """Put the sender's statistics into our log.

    Raises:
        ValueError: they are not what `sender_stats` makes; the log is unchanged.
    """
    counts = {name: _count(payload, name) for name in ("captured", "sent", "payload_bytes", "wire_bytes", "elapsed_ns")}
    codec = payload.get("baseline")
    if not isinstance(codec, str) or not codec.isprintable() or len(codec) > MAX_LABEL:
        raise ValueError("statistics name no baseline")
    frames = unpack_sent(_text(payload))
    # Senders of earlier versions do not say it.
    first_ms = _count(payload, "first_ms") if "first_ms" in payload else 0
    scale = _count(payload, "scale")
    log.set_totals(SenderTotals(**counts, baseline_codec=codec, baseline_scale=scale, first_frame_ms=first_ms))
    log.add_sent(frames)


def take_receiver_stats(log: CallLog, payload: Mapping[str, Any]) -> None:
    """Put the receiver's statistics into our log.

    Raises:
        ValueError: they are not what `receiver_stats` makes; the log is unchanged.
    """
    decoded, frames = _count(payload, "decoded"), unpack_shown(_text(payload))
    log.set_decoded(decoded)
    log.add_shown(frames)


def told_sketch(payload: Mapping[str, Any], blocks: int) -> tuple[int, Sketch] | None:
    """The frame and the sketch in the sender's statistics; None where there is none.

    Raises:
        ValueError: it is no sketch of so many blocks.
    """
    picture = payload.get("picture")
    if picture is None:
        return None
    if not isinstance(picture, Mapping):
        raise ValueError("a sketch of a picture is unusable")
    return _count(picture, "number"), from_text(picture.get("sketch"), blocks)


def _count(payload: Mapping[str, Any], name: str) -> int:
    value = payload.get(name)
    if type(value) is not int or not 0 <= value <= _MAX_COUNT:
        raise ValueError(f"statistics have no usable field {name!r}")
    return value


def _text(payload: Mapping[str, Any]) -> str:
    text = payload.get("frames")
    if not isinstance(text, str):
        raise ValueError("statistics have no frame records")
    return text
