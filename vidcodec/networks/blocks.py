"""Building blocks: 1x1 convolutions as matrix products on channels-last features, depthwise 3x3 between them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """x + W2 relu(D relu(W1 x)): two 1x1 and a depthwise 3x3. Features are [B, H, W, C]. Starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(width, width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.leave = nn.Linear(width, width)
        with torch.no_grad():
            self.depthwise.weight.mul_(0.5)
            self.depthwise.weight[:, :, 1, 1] += 1.0
            nn.init.zeros_(self.depthwise.bias)  # type: ignore[arg-type]
            self.leave.weight.mul_(0.1)
            self.leave.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.enter(x))
        h = self.depthwise(h.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.leave(F.relu(h))


class Trunk(nn.Module):
    """A linear entry, a bias by quality and a chain of blocks: [B, H, W, inputs] to [B, H, W, width]."""

    def __init__(self, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.by_quality = nn.Linear(4, width, bias=False)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        h = self.enter(x) + self.by_quality(quality_features(quality))[:, None, None]
        for block in self.blocks:
            h = block(h)
        return h


def quality_features(quality: Tensor) -> Tensor:
    """Qualities [B] in 0..63 to smooth features [B, 4]: powers of quality mapped to -1..1."""
    t = quality.to(torch.float32) / 31.5 - 1.0
    return torch.stack([torch.ones_like(t), t, t * t, t * t * t], -1)


def to_patches(picture: Tensor, size: int) -> Tensor:
    """[B, C, H, W] to [B, H/size, W/size, C*size*size]."""
    return F.pixel_unshuffle(picture, size).permute(0, 2, 3, 1)


def from_patches(patches: Tensor, size: int) -> Tensor:
    """Inverse of `to_patches`."""
    return F.pixel_shuffle(patches.permute(0, 3, 1, 2), size)
