"""What a page may change in a call: a small set of named controls, each with its own check.

A call offers the controls that it supports; the page shows those and no other, and a message for anything else is
refused. Pure values: no socket, no call.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vidcodec.errors import UsageError

MAX_MESSAGE_BYTES = 4096
MAX_QUALITIES = 64
MAX_KBPS = 1e6
MAX_OPTIONS = 16

Value = float | str | bool | None


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a range, both ends included; whole numbers only if `step` is whole."""

    name: str
    label: str
    low: float
    high: float
    step: float = 1.0
    unit: str = ""

    def check(self, value: object) -> Value:
        """`value` as a number in range."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"{self.name}: {value!r} is no number")
        if not self.low <= value <= self.high:
            raise UsageError(
                f"{self.name} {value:g} is out of range: {self.low:g} to {self.high:g} {self.unit}".strip()
            )
        return round(value) if float(self.step).is_integer() else float(value)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    name: str
    label: str
    options: tuple[str, ...]

    def check(self, value: object) -> Value:
        """`value` as one of the options."""
        if not isinstance(value, str) or value not in self.options:
            raise UsageError(f"{self.name}: {value!r} is unknown: choose from {', '.join(self.options)}")
        return value


@dataclass(frozen=True, slots=True)
class Switch:
    """On or off."""

    name: str
    label: str

    def check(self, value: object) -> Value:
        """`value` as true or false."""
        if not isinstance(value, bool):
            raise UsageError(f"{self.name}: {value!r} is neither true nor false")
        return value


@dataclass(frozen=True, slots=True)
class Action:
    """Something that happens once; it has no value."""

    name: str
    label: str

    def check(self, value: object) -> Value:
        """None."""
        if value is not None:
            raise UsageError(f"{self.name}: takes no value")
        return None


Control = Number | Choice | Switch | Action


@dataclass(frozen=True, slots=True)
class Change:
    """A checked wish of a page: set the control `name` to `value` (None for an action)."""

    name: str
    value: Value


def call_controls(
    *,
    qualities: int | None = None,
    bitrate_kbps: tuple[float, float] | None = None,
    baselines: Sequence[str] = (),
    crop: bool = False,
    pause: bool = False,
    refresh: bool = False,
    record: bool = False,
    impair: bool = False,
) -> tuple[Control, ...]:
    """The controls of a call, by what it supports.

    Args:
        qualities: number of rate points; None for no such control.
        bitrate_kbps: lowest and highest payload rate to hold, kbit/s.
        baselines: codecs that the baseline can be switched to; empty for no such control.
        crop: the face crop can be changed.
        pause: sending can be paused.
        refresh: a frame without reference can be asked for.
        record: recording can be switched on and off.
        impair: delay, loss and rate of the emulated link can be changed.
    """
    controls: list[Control] = []
    if bitrate_kbps is not None:
        controls.append(Number("bitrate", "Bitrate", *bitrate_kbps, step=1, unit="kbit/s"))
    if qualities is not None:
        controls.append(Number("quality", "Quality", 0, qualities - 1))
    if baselines:
        controls.append(Choice("baseline_codec", "Baseline", tuple(baselines)))
        controls.append(Choice("baseline_scale", "Baseline scale", ("auto", "1", "2", "4", "8")))
    if crop:
        controls.append(Choice("crop", "Crop", ("face", "center", "none")))
    if impair:
        controls.append(Number("impair_delay", "Link delay", 0, 1000, unit="ms"))
        controls.append(Number("impair_loss", "Link loss", 0, 50, step=0.5, unit="%"))
        controls.append(Number("impair_rate", "Link rate, 0 for any", 0, 1000, unit="kbit/s"))
    if pause:
        controls.append(Switch("pause", "Pause"))
    if record:
        controls.append(Switch("record", "Record"))
    if refresh:
        controls.append(Action("refresh", "Refresh"))
    return tuple(controls)


def offered_controls(offer: Mapping[str, Any]) -> tuple[Control, ...]:
    """The controls of an offer that came from a peer: a JSON object of `call_controls`' arguments.

    Raises:
        UsageError: it is no such object.
    """
    flags = ("crop", "pause", "refresh", "record", "impair")
    unknown = set(offer) - {"qualities", "bitrate_kbps", "baselines", *flags}
    if unknown or any(not isinstance(offer.get(flag, False), bool) for flag in flags):
        raise UsageError("the offer of controls has unknown or unsound fields")
    qualities, rates, baselines = offer.get("qualities"), offer.get("bitrate_kbps"), offer.get("baselines", [])
    if qualities is not None and (type(qualities) is not int or not 1 <= qualities <= MAX_QUALITIES):
        raise UsageError("the offer of controls has an unsound number of qualities")
    if rates is not None:
        sound = isinstance(rates, list) and [type(rate) for rate in rates] in ([int, int], [float, float])
        if not sound or not 0 < rates[0] < rates[1] < MAX_KBPS:
            raise UsageError("the offer of controls has an unsound range of rates")
    words = isinstance(baselines, list) and len(baselines) <= MAX_OPTIONS
    if not words or any(not isinstance(word, str) or not word.isprintable() or len(word) > 32 for word in baselines):
        raise UsageError("the offer of controls names unsound baselines")
    return call_controls(
        qualities=qualities,
        bitrate_kbps=(rates[0], rates[1]) if rates else None,
        baselines=baselines,
        **{flag: offer.get(flag, False) for flag in flags},
    )


def describe(controls: Sequence[Control]) -> list[dict[str, Any]]:
    """The controls for the page, as JSON objects: their fields and their `kind`."""
    return [{"kind": type(control).__name__.lower(), **asdict(control)} for control in controls]


def parse_change(message: Mapping[str, Any], offered: Sequence[Control]) -> Change:
    """Check a control message `{"type": "control", "name": ..., "value": ...}` of a page.

    Raises:
        UsageError: it is not one of the offered controls, or its value does not fit.
    """
    if set(message) - {"type", "name", "value"} or not isinstance(message.get("name"), str):
        raise UsageError("a control message has a name and a value")
    name = message["name"]
    control = next((control for control in offered if control.name == name), None)
    if control is None:
        raise UsageError(f"{name[:40]!r} cannot be changed in this call")
    return Change(name, control.check(message.get("value")))


def parse_message(text: str) -> dict[str, Any]:
    """A message of a page as a JSON object with a `type`.

    Raises:
        UsageError: it is none.
    """
    if len(text) > MAX_MESSAGE_BYTES:
        raise UsageError(f"message of {len(text)} characters: at most {MAX_MESSAGE_BYTES}")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError("message is no JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise UsageError("message has no type")
    return message
