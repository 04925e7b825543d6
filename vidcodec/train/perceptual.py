"""What training for looks adds to the squared error: LPIPS, and more weight where the face is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vidcodec.perceptual import load_lpips

# The mean box of YuNet on the training takes, as shares of the picture: they are cut to about twice a face's height, as
# the sender cuts. The faces of other takes lie within 0.05 of its middle (standard deviation). The map falls off by a
# Gauss bell of 0.6 of the box's sides, so at the edge of the box a place still has 70 % of the middle's extra weight.
FACE_MIDDLE = (0.50, 0.47)
FACE_SIDES = (0.41, 0.57)
FALL = 0.6
NEAREST = 0.55
"""The least side of what LPIPS looks at, as a share of the crop."""


@dataclass(frozen=True)
class PerceptualConfig:
    """The distortion of a run: squared error, by default; with LPIPS and more weight on the face for a model for looks.

    weight: of LPIPS beside MSE on [0,1]; 0: none. A picture at MSE 1e-3 has an LPIPS of about 0.2.
    frames: share of a window's frames that LPIPS is taken of; their weight makes up for the others.
    scale: of the distortion as a whole. LPIPS on top of MSE makes a bit worth more; less than 1 brings the rate of a
    quality back to about what it is without.
    face_weight: how many times more the middle of the face counts than the far corners, in both terms.
    """

    weight: float = 0.0
    frames: float = 0.5
    scale: float = 1.0
    face_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight < 0 or not 0 < self.frames <= 1 or self.scale <= 0 or self.face_weight < 1:
            raise ValueError(f"{self}: weight 0 or more, frames in 0..1, scale above 0, face_weight 1 or more")


def face_map(places: np.ndarray, size: int, face_weight: float) -> Tensor:
    """Weight of every pixel, float32 [B, 1, size, size], for crops that show `places` [B, 3] of their pictures.

    Its mean over a whole picture is 1, so a crop of background counts for less than one of the face.
    """
    centres = (np.arange(size) + 0.5) / size
    bells = []
    for axis in (0, 1):
        at = places[:, axis, None] + places[:, 2, None] * centres
        bells.append(_bell(at, axis))
    whole = [_bell(centres, axis).mean() for axis in (0, 1)]
    bell = bells[1][:, :, None] * bells[0][:, None, :]
    extra = face_weight - 1
    return torch.from_numpy(((1 + extra * bell) / (1 + extra * whole[0] * whole[1])).astype(np.float32))[:, None]


def _bell(at: np.ndarray, axis: int) -> np.ndarray:
    values: np.ndarray = np.exp(-0.5 * ((at - FACE_MIDDLE[axis]) / (FALL * FACE_SIDES[axis])) ** 2)
    return values


class View(NamedTuple):
    """How a frame is looked at: the square at (top, left) of `side`, all in shares of the crop's side, enlarged to the
    crop's size, and for how many frames of its window it stands.

    The layers of AlexNet step 4 pixels, the codec's 8 and 16: always looked at from the same place, the codec would
    learn a grain of its own grid that LPIPS likes and people do not.
    """

    top: float
    left: float
    side: float
    stands_for: float

    def of(self, pictures: Tensor) -> Tensor:
        """Pictures [B, C, S, S], in this view, of the same size."""
        size = pictures.shape[2]
        side = round(self.side * size)
        top, left = round(self.top * size), round(self.left * size)
        part = pictures[:, :, top : top + side, left : left + side]
        return F.interpolate(part, size=(size, size), mode="bilinear", align_corners=False)


class Looks:
    """The distortion of a run for looks; see `PerceptualConfig`.

    Raises InputError when the weights of LPIPS are not installed.
    """

    def __init__(self, config: PerceptualConfig) -> None:
        self.config = config
        self.lpips = load_lpips() if config.weight else None

    def emphasis(self, places: np.ndarray, size: int) -> Tensor | None:
        """`face_map` of crops; None where every place counts the same."""
        return face_map(places, size, self.config.face_weight) if self.config.face_weight > 1 else None

    def chosen(self, window: int, rng: np.random.Generator) -> dict[int, View]:
        """Frames of a window that LPIPS is taken of, and how."""
        if not self.config.weight:
            return {}
        count = max(1, round(self.config.frames * window))
        views = {}
        for k in rng.choice(window, count, replace=False):
            side = rng.uniform(NEAREST, 1)
            top, left = rng.uniform(0, 1 - side, 2)
            views[int(k)] = View(top, left, side, window / count)
        return views

    def loss(
        self, shown: Tensor, x: Tensor, view: View, *, emphasis: Tensor | None, autocast: torch.dtype | None
    ) -> Tensor:
        """What LPIPS adds to the MSE [B] of pictures [B, 3, S, S] in 0..1, looked at in this view."""
        seen = None if emphasis is None else view.of(emphasis)
        return view.stands_for * self.distance(view.of(shown), view.of(x), autocast, seen)

    def distance(
        self, shown: Tensor, x: Tensor, autocast: torch.dtype | None, emphasis: Tensor | None = None
    ) -> Tensor:
        """Weighted LPIPS [B] of pictures [B, 3, H, W] in 0..1, to be added to their MSE."""
        if self.lpips is None:
            return torch.zeros(len(x), device=x.device)
        with torch.autocast(x.device.type, autocast or torch.float32, enabled=autocast is not None):
            return self.config.weight * self.lpips(shown, x, emphasis)
