"""The first frames of a call, sent one by one until it shows what the path carries. No clock, no socket."""

ANSWER_S = 0.8
"""How long the next one waits for an answer to the one before."""

TRIES = 2
"""How often a frame that is too large is coded again meanwhile: what an intra frame takes hardly depends on quality
where that is high, so the first try may fall short by half."""

_ENOUGH = 2
"""Answers. How much longer the first frame took, the largest, than the second tells the rate of a narrow path."""


class FirstFrames:
    """What has left and what was answered of a connection's first frames."""

    def __init__(self) -> None:
        self._answered: set[int] = set()
        self._last, self._left_s = -1, float("-inf")

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

    def waits(self, now_s: float) -> bool:
        """Whether the next frame has to wait."""
        known = len(self._answered) >= _ENOUGH or self._last in self._answered
        return not known and now_s - self._left_s < ANSWER_S
