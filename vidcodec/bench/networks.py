"""The networks that `bench link` tries, and what a call must hold on each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vidcodec.errors import UsageError
from vidcodec.link.impair import Impairment

GOOD = Impairment(delay_ms=20.0)
OPEN_KBPS = 150.0
RATES_KBPS = (100, 60, 40, 20)
BLACKOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Network:
    """A row.

    Attributes:
        name: what `--only` calls it.
        path: what it does to datagrams.
        seconds: how long a call over it lasts.
        fills: the call may take whatever the path carries, not only the rate that was asked for.
        steps_s: when the path changes.
        kill_s: when the receiver is killed, None for never.
    """

    name: str
    path: Impairment
    seconds: float
    fills: bool = False
    steps_s: tuple[float, ...] = ()
    kill_s: float | None = None

    @property
    def words(self) -> str:
        """What the path does, as `--impair` would be told."""
        path = self.path
        if self.name == "steps":
            rates = "-".join(f"{step.rate_kbps:g}" for _, step in path.trace)
            return f"delay={path.delay_ms:g}, rate={rates}"
        if self.name == "blackout":
            return f"delay={path.delay_ms:g}, nothing for {BLACKOUT_S:g} s"
        if self.kill_s is not None:
            return f"delay={path.delay_ms:g}, receiver killed"
        words = [f"delay={path.delay_ms:g}"]
        words += [f"loss={path.loss_percent:g}"] if path.loss_percent else []
        words += [f"burst={path.burst:g}"] if path.burst > 1 else []
        words += [f"rate={path.rate_kbps:g}"] if path.rate_kbps else []
        return ", ".join(words)


def networks(seconds: float) -> tuple[Network, ...]:
    """Every row, calls of about `seconds`; those with events need their own time."""
    third = max(seconds / 3, 10.0)
    wide, narrow = replace(GOOD, rate_kbps=150.0), replace(GOOD, rate_kbps=50.0)
    steps = ((0.0, wide), (third, narrow), (2 * third, wide))
    dark = ((0.0, GOOD), (5.0, Impairment(loss_percent=100.0)), (5.0 + BLACKOUT_S, GOOD))
    return (
        Network("20ms", GOOD, seconds),
        Network("loss2", replace(GOOD, loss_percent=2.0), seconds),
        Network("loss10", replace(GOOD, loss_percent=10.0), seconds),
        Network("burst3", replace(GOOD, loss_percent=5.0, burst=3.0), seconds),
        *(Network(f"rate{kbps}", replace(GOOD, rate_kbps=float(kbps)), seconds, fills=True) for kbps in RATES_KBPS),
        Network("rate60loss5", replace(GOOD, rate_kbps=60.0, loss_percent=5.0), seconds, fills=True),
        Network("steps", replace(wide, trace=steps), 3 * third, fills=True, steps_s=(third, 2 * third)),
        Network("blackout", replace(GOOD, trace=dark), 20.0 + BLACKOUT_S, steps_s=(5.0, 5.0 + BLACKOUT_S)),
        Network("killed", GOOD, 22.0, kill_s=6.0),
    )


def choose(seconds: float, only: Sequence[str]) -> list[Network]:
    """The rows that were asked for, all without a name.

    Raises:
        UsageError: a name is none.
    """
    rows = networks(seconds)
    unknown = set(only) - {row.name for row in rows}
    if unknown:
        raise UsageError(f"--only {sorted(unknown)[0]}: choose from {', '.join(row.name for row in rows)}")
    return [row for row in rows if not only or row.name in only]
