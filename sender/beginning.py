"""The first frames of a call, sent one by one until it shows what the path carries. No clock, no socket."""

from collections.abc import Callable

from sender.cadence import HEADERS

ANSWER_S = 0.8
"""How long the next one waits for an answer to the one before."""

TRIES = 3
"""How often a frame that is too large is coded again meanwhile: what an intra frame takes hardly depends on quality
where that is high, so the first try may fall short by half. What is more than one datagram does not pass a narrow path
with a short queue at all."""

INVESTED_S, AT_ONCE_S = 0.6, 0.07
"""Time of the path that frames may then take beyond their own, all together and each: what a good frame shows of a
background stays for the whole call, so first ones that are held down make all of it dull."""

_ENOUGH = 2
"""Answers. How much longer the first frame took, the largest, than the second tells the rate of a narrow path."""


class FirstFrames:
    """What has left and what was answered of a connection's first frames."""

    def __init__(self) -> None:
        self._answered: set[int] = set()
        self._last, self._left_s = -1, float("-inf")
        self._to_invest_s = INVESTED_S

    @property
    def known(self) -> bool:
        """Whether they have told what the path carries."""
        return len(self._answered) >= _ENOUGH

    @property
    def tries(self) -> int:
        """How often a frame may be coded again."""
        return 1 if self._answered else TRIES

    def left(self, number: int, now_s: float) -> None:
        """A frame was sent."""
        self._last, self._left_s = number, now_s

    def answered(self, number: int) -> None:
        """There is news of a frame."""
        if len(self._answered) < _ENOUGH:
            self._answered.add(number)

    def most_bytes(self, longest_s: float, budget: Callable[[float], float]) -> float:
        """How large a frame may be that is to take the path for so long; `budget`: bytes that each of so many messages
        a second may have beside its headers."""
        return budget(1.0 / (longest_s + (min(self._to_invest_s, AT_ONCE_S) if self.known else 0.0)))

    def took(self, size: int, longest_s: float, budget: Callable[[float], float]) -> None:
        """A frame came to `size` bytes."""
        if self.known:
            took_s = (size + HEADERS) / (budget(1.0) + HEADERS)
            self._to_invest_s = max(0.0, self._to_invest_s - max(0.0, took_s - longest_s))

    def waits(self, now_s: float) -> bool:
        """Whether the next frame has to wait."""
        return self._asks and now_s - self._left_s < ANSWER_S

    def unanswered(self, now_s: float) -> bool:
        """Whether nothing was heard of any frame for so long that the path has lost the last one, or is so narrow that
        it still carries it. Either way the next one should be smaller, and not be predicted from it."""
        return not self._answered and self._asks and now_s - self._left_s >= ANSWER_S

    @property
    def _asks(self) -> bool:
        """Whether the last frame has no answer that matters."""
        return self._last >= 0 and not self.known and self._last not in self._answered
