"""A bad network, described: `delay=20,jitter=5,loss=5,burst=3,rate=60,queue=400`, or `trace.json`.

`Direction` is the model of one direction: a queue in front of a bottleneck, then losses, then delay. It is told the
time and moves nothing; `relay` applies it to real datagrams.
"""

import json
import random
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vidcodec.errors import InputError, UsageError, reason_of

IP_UDP_BYTES = 28
_KEYS = {
    "delay": ("delay_ms", 0.0, 60_000.0),
    "jitter": ("jitter_ms", 0.0, 60_000.0),
    "loss": ("loss_percent", 0.0, 100.0),
    "burst": ("burst", 1.0, 1000.0),
    "rate": ("rate_kbps", 0.0, 1e7),
    "queue": ("queue_ms", 0.0, 60_000.0),
}


@dataclass(frozen=True, slots=True)
class Impairment:
    """What both directions of a path do to datagrams.

    Attributes:
        delay_ms: one-way delay.
        jitter_ms: added to it, uniformly from 0 to this; may change the order.
        loss_percent: share of datagrams lost, 0..100.
        burst: mean number of datagrams lost in a row (two-state Gilbert model); 1 = independent losses.
        rate_kbps: bottleneck in kbit/s, IPv4 and UDP headers included; 0 = none.
        queue_ms: what may wait in front of it; more is dropped.
        trace: later conditions, as (time in s, impairment) in order of time.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss_percent: float = 0.0
    burst: float = 1.0
    rate_kbps: float = 0.0
    queue_ms: float = 400.0
    trace: tuple[tuple[float, "Impairment"], ...] = ()

    def at(self, elapsed_ms: float) -> "Impairment":
        """The conditions at a time after the start."""
        place = bisect_right(self.trace, elapsed_ms / 1000.0, key=lambda step: step[0])
        return self.trace[place - 1][1] if place else self


def parse_impairment(text: str) -> Impairment:
    """Read `key=value,...` (delay, jitter and queue in ms, loss in percent, burst in datagrams, rate in kbit/s), or the
    name of a `.json` file: a list of objects with these keys and `at` in s, each holding until the next, missing keys
    as in the one before.

    Raises:
        UsageError: an unknown key, or a value out of range; so in a trace, too.
        InputError: the file cannot be read, or is no such list.
    """
    if text.endswith(".json"):
        return _read_trace(Path(text))
    values: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        values[key.strip()] = value.strip()
    return _changed(Impairment(), values)


def _changed(base: Impairment, values: dict[str, Any]) -> Impairment:
    fields: dict[str, Any] = {}
    for key, value in values.items():
        if key not in _KEYS:
            raise UsageError(f"impairment {key!r} is unknown: choose from {', '.join(_KEYS)}")
        name, low, high = _KEYS[key]
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not low <= number <= high:
            raise UsageError(f"impairment {key}={value} is out of range: give a number {low:g}..{high:g}")
        fields[name] = number
    return replace(base, **fields)


def _read_trace(path: Path) -> Impairment:
    try:
        steps = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"--impair {path}: {reason_of(error)}; give a trace in JSON, or delay=20,loss=5") from error
    except ValueError as error:
        raise InputError(f"--impair {path}: not JSON ({error})") from error
    if not isinstance(steps, list) or not steps or not all(isinstance(step, dict) for step in steps):
        raise InputError(f'--impair {path}: no list of impairments; write [{{"at": 0, "rate": 150}}, ...]')
    now, trace, last = Impairment(), [], -1.0
    for step in steps:
        at_s = step.pop("at", 0.0)
        if not isinstance(at_s, (int, float)) or not at_s > last:
            raise UsageError(f'--impair {path}: "at" has to be a number that grows from step to step')
        last = float(at_s)
        now = _changed(now, step)
        trace.append((last, now))
    return replace(trace[0][1] if trace[0][0] <= 0.0 else Impairment(), trace=tuple(trace))


@dataclass(slots=True)
class Direction:
    """One direction of the path.

    Attributes:
        impairment: what it does.
        generator: source of its losses and jitter.
        since_ms: when the trace began; None for the first datagram.
        forwarded, lost, overflowed: datagrams so far.
        bytes: of all of them, IPv4 and UDP headers included.
    """

    impairment: Impairment
    generator: random.Random
    since_ms: float | None = None
    forwarded: int = 0
    lost: int = 0
    overflowed: int = 0
    bytes: int = 0
    _busy_until_ms: float = 0.0
    _losing: bool = field(default=False)

    def deliver_ms(self, size: int, now_ms: float) -> float | None:
        """When a UDP payload of `size` bytes that leaves now arrives; None when it does not."""
        if self.since_ms is None:
            self.since_ms = now_ms
        self.bytes += size + IP_UDP_BYTES
        now = self.impairment.at(now_ms - self.since_ms)
        left_ms = now_ms
        if now.rate_kbps:
            begin_ms = max(now_ms, self._busy_until_ms)
            if begin_ms - now_ms > now.queue_ms:
                self.overflowed += 1
                return None
            left_ms = self._busy_until_ms = begin_ms + (size + IP_UDP_BYTES) * 8.0 / now.rate_kbps
        if self._loses(now):
            self.lost += 1
            return None
        self.forwarded += 1
        return left_ms + now.delay_ms + self.generator.uniform(0.0, now.jitter_ms)

    def _loses(self, now: Impairment) -> bool:
        """Gilbert's model: the mean share is `loss_percent`, the mean run of losses `burst`."""
        share = now.loss_percent / 100.0
        if share >= 1.0:
            return True
        stay = 1.0 - 1.0 / now.burst
        enter = min(1.0, share * (1.0 - stay) / (1.0 - share)) if now.burst > 1.0 else share
        self._losing = self.generator.random() < (stay if self._losing and now.burst > 1.0 else enter)
        return self._losing
