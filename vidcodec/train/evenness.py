"""How much the frames of each running clip count, so that a calm clip's few bits are learned from as well."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MEMORY = 0.92  # of a clip's usual loss from frame to frame: a pattern of levels and more
LEAST, MOST = 0.3, 3.0


class Evenness:
    """Weights of `clips` running clips by what their frames usually lose.

    A clip in which all moves loses ten times what a calm one does, and a sum of losses learns ten times as much from
    it. BD-rate is a mean over clips of the logarithm of their bits, to which a bit in a hundred is the same in both.
    With an exponent of 1 clips count by shares of their own loss, with 0 by the loss itself.
    """

    def __init__(self, clips: int, exponent: float) -> None:
        self.exponent = exponent
        self._usual = np.full(clips, np.nan)  # of each clip
        self._all = np.nan  # of any

    def shares(self, starts: NDArray[np.bool_]) -> NDArray[np.float64]:
        """What the next frame of each clip counts, 1 where nothing is known of it. starts: clips that begin anew with
        it; such a frame has no reference, which says nothing of those to come."""
        self._usual[starts] = np.nan
        shares: NDArray[np.float64] = np.clip((self._all / self._usual) ** self.exponent, LEAST, MOST)
        return np.where(np.isnan(shares), 1.0, shares)

    def saw(self, losses: NDArray[np.floating], starts: NDArray[np.bool_]) -> None:
        """Learn from the losses [clips] of a frame of each; those of clips that began with it do not count."""
        good = ~starts & np.isfinite(losses) & (losses > 0)
        if not good.any():
            return
        kept = np.where(np.isnan(self._usual), losses, MEMORY * self._usual + (1 - MEMORY) * losses)
        self._usual = np.where(good, kept, self._usual)
        mean = float(np.exp(np.log(losses[good]).mean()))
        self._all = mean if np.isnan(self._all) else MEMORY * self._all + (1 - MEMORY) * mean
