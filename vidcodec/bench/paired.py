"""Does something cost anything, on a machine that does other things as well? Differences of neighbours in time.

What else the machine does changes within minutes and falls on two neighbouring rounds alike, so their difference says
more than two means do; and the median of many differences has an interval that asks nothing of how they are spread.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

CONFIDENCE = 0.95
LEAST_PAIRS = 6
"""With fewer, not even the whole range of the differences holds the median with this confidence."""


@dataclass(frozen=True)
class Rise:
    """By how much a figure is higher with something than without.

    Attributes:
        middle: median of the differences, in the figure's unit; None where there are none.
        low, high: bounds between which the true median lies with a confidence of 95 %; None with too few pairs.
        pairs: how many differences.
    """

    middle: float | None
    low: float | None
    high: float | None
    pairs: int

    def within(self, bound: float) -> bool | None:
        """Whether it is at most `bound`; None where the pairs cannot tell."""
        if self.low is None or self.high is None or self.low <= bound < self.high:
            return None
        return self.high <= bound


def rise(pairs: Sequence[tuple[float, float]]) -> Rise:
    """The rise over pairs of (without, with)."""
    differences = sorted(there - without for without, there in pairs)
    count = len(differences)
    if not count:
        return Rise(None, None, None, 0)
    outside = _outside(count)
    if outside is None:
        return Rise(median(differences), None, None, count)
    return Rise(median(differences), differences[outside], differences[count - 1 - outside], count)


def _outside(count: int) -> int | None:
    """How many differences at each end may be left out of the interval: the binomial distribution of how many lie
    below the true median (the sign test's interval)."""
    if count < LEAST_PAIRS:
        return None
    below, left_out = 0.0, -1
    while 2 * (below + math.comb(count, left_out + 1) / 2**count) <= 1 - CONFIDENCE:
        left_out += 1
        below += math.comb(count, left_out) / 2**count
    return left_out
