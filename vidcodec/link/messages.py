"""Control messages: JSON objects on the reliable channel, checked field by field into frozen dataclasses.

Nothing of a peer's message is used before it passed here: types, ranges, lengths, no field missing and none unknown.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vidcodec.errors import PeerError

PROTOCOL_VERSION = 1
MAX_CONTROL_BYTES = 60_000
MAX_OPTIONS_BYTES = 8_192
MAX_TEXT = 300


class InvalidMessage(PeerError):
    """A control message that does not fit the protocol: counted and dropped, the session goes on."""


class PeerRefused(PeerError):
    """The peer will not have us, and trying again cannot help: wrong token, other weights, other version."""


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of both ends; the receiver answers with its own.

    Attributes:
        bitstream: version of the packet format.
        model_id: codec model, e.g. `seed`.
        weights_sha256: 64 lower-case hexadecimal digits.
        fps: frames per second offered, above 0 to 240.
        width: frame width in pixels.
        height: frame height in pixels.
        options: further session options, a JSON object of at most 8 kB that the link does not look into.
        first: full count of the first frame of this session.
        protocol: version of the link protocol.
    """

    bitstream: int
    model_id: str
    weights_sha256: str
    fps: float = 30.0
    width: int = 192
    height: int = 192
    options: Mapping[str, Any] = field(default_factory=dict)
    first: int = 0
    protocol: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class Ping:
    """Heartbeat. `sent_ms` is the sender's clock, echoed by the pong."""

    sent_ms: float


@dataclass(frozen=True, slots=True)
class Pong:
    """Answer to a ping: its `sent_ms`, and this end's clock on receipt and on answering."""

    sent_ms: float
    received_ms: float
    answered_ms: float


@dataclass(frozen=True, slots=True)
class Refresh:
    """The receiver cannot go on from what it holds.

    Attributes:
        have: newest full frame count that it holds and can predict from, None for none.
        reason: short text for the log.
    """

    have: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics or per-frame records in either direction, a JSON object that the link does not look into."""

    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bye:
    """Last message of both ends, with final statistics; `error` says why a peer is refused, else it is empty."""

    stats: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


Control = Hello | Ping | Pong | Refresh | Stats | Bye


def to_json(message: Control) -> str:
    """One control message as text for the wire.

    Raises:
        ValueError: larger than 60,000 bytes, or not valid JSON (NaN, objects).
    """
    data = {"type": type(message).__name__.lower(), **asdict(message)}
    try:
        text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"{data['type']} message cannot be written as JSON: {error}") from error
    if len(text) > MAX_CONTROL_BYTES:
        raise ValueError(f"{data['type']} message of {len(text)} bytes: at most {MAX_CONTROL_BYTES}; send it in parts")
    return text


def from_json(text: str | bytes) -> Control:
    """Check one control message from the wire.

    Raises:
        InvalidMessage: anything but a well-formed message of this protocol.
    """
    if len(text) > MAX_CONTROL_BYTES:
        raise InvalidMessage(f"control message of {len(text)} bytes: at most {MAX_CONTROL_BYTES}")
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage("control message is not JSON") from error
    if not isinstance(data, dict):
        raise InvalidMessage("control message is not a JSON object")
    kind = data.pop("type", None)
    checks = _FIELDS.get(kind) if isinstance(kind, str) else None
    if checks is None:
        raise InvalidMessage(f"control message of unknown type {str(kind)[:20]!r}")
    if data.keys() != checks[1].keys():
        raise InvalidMessage(f"{kind} message has missing or unknown fields")
    try:
        message: Control = checks[0](**{name: check(data[name]) for name, check in checks[1].items()})
    except _Bad as error:
        raise InvalidMessage(f"{kind} message has a bad field: {error}") from None
    except RecursionError:  # what could just be read may be nested too deeply to be measured
        raise InvalidMessage(f"{kind} message is nested too deeply") from None
    return message


class _Bad(Exception):
    """A field that fails its check."""


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _Bad(f"expected an integer {low}..{high}")
        return value

    return check


def _number(low: float, high: float) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        if type(value) not in (int, float) or not low <= value <= high or not math.isfinite(value):
            raise _Bad(f"expected a number {low}..{high}")
        return float(value)

    return check


def _text(longest: int, alphabet: str = "") -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > longest or not value.isprintable():
            raise _Bad(f"expected printable text of at most {longest} characters")
        if alphabet and not set(value) <= set(alphabet):
            raise _Bad(f"expected only characters of {alphabet}")
        return value

    return check


def _digest(value: Any) -> str:
    text = _text(64, "0123456789abcdef")(value)
    if len(text) != 64:
        raise _Bad("expected 64 hexadecimal digits")
    return text


def _object(longest: int) -> Callable[[Any], dict[str, Any]]:
    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or len(json.dumps(value)) > longest:
            raise _Bad(f"expected an object of at most {longest} bytes")
        return value

    return check


def _optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


_TIME = _number(0.0, 1e15)
_FIELDS: dict[str, tuple[type, dict[str, Callable[[Any], Any]]]] = {
    "hello": (
        Hello,
        {
            "bitstream": _integer(0, 1 << 16),
            "model_id": _text(64),
            "weights_sha256": _digest,
            "fps": _number(0.01, 240.0),
            "width": _integer(1, 8192),
            "height": _integer(1, 8192),
            "options": _object(MAX_OPTIONS_BYTES),
            "first": _integer(0, 1 << 53),
            "protocol": _integer(0, 1 << 16),
        },
    ),
    "ping": (Ping, {"sent_ms": _TIME}),
    "pong": (Pong, {"sent_ms": _TIME, "received_ms": _TIME, "answered_ms": _TIME}),
    "refresh": (Refresh, {"have": _optional(_integer(0, 1 << 53)), "reason": _text(MAX_TEXT)}),
    "stats": (Stats, {"payload": _object(MAX_CONTROL_BYTES)}),
    "bye": (Bye, {"stats": _object(MAX_CONTROL_BYTES), "error": _text(MAX_TEXT)}),
}


def check_hello(ours: Hello, theirs: Hello) -> None:
    """Both ends must speak the same protocol and decode with the same weights.

    Raises:
        PeerRefused: names the first difference and what to do.
    """
    if ours.protocol != theirs.protocol or ours.bitstream != theirs.bitstream:
        raise PeerRefused(
            f"peer speaks protocol {theirs.protocol} with bitstream {theirs.bitstream}, this side "
            f"{ours.protocol} with {ours.bitstream}: install the same version on both sides"
        )
    if ours.model_id != theirs.model_id:
        raise PeerRefused(
            f"peer uses model {theirs.model_id!r}, this side {ours.model_id!r}: choose the same --model on both sides"
        )
    if ours.weights_sha256 != theirs.weights_sha256:
        raise PeerRefused(
            f"peer has other weights for model {ours.model_id!r} ({theirs.weights_sha256[:12]} against "
            f"{ours.weights_sha256[:12]}): install the same weights on both sides"
        )
