"""Building blocks: 1x1 convolutions as matrix products on channels-last features, depthwise 3x3 between them."""

from __future__ import annotations

import math

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


class Means(nn.Module):
    """What y is likely to be: from the memory for all cells, for the odd cells of a checkerboard also from the even.

    Both ends compute it in floating point and add it after decoding, so it never takes part in reading a packet.
    Starts by predicting zero.
    """

    def __init__(self, latent: int, memory: int, hidden: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(latent, hidden, 3, padding=1, bias=False)
        self.here = nn.Linear(4 * memory, hidden)
        self.by_quality = nn.Linear(4, hidden, bias=False)
        self.out = nn.Linear(hidden, latent)
        with torch.no_grad():
            self.near.weight.mul_(3.0)
            self.out.weight.mul_(0.02)
            self.out.bias.zero_()

    def ground(self, memory: Tensor, quality: Tensor) -> Tensor:
        """What all cells know: memory [B, M, 2h, 2w] and quality [B] to [B, h, w, hidden]."""
        here = self.here(F.pixel_unshuffle(memory, 2).permute(0, 2, 3, 1))
        return here + self.by_quality(quality_features(quality))[:, None, None]

    def forward(self, ground: Tensor, y: Tensor | None = None) -> Tensor:
        """Means [B, C, h, w], in units of the picture, from the ground and, if given, y [B, C, h, w] in the same units,
        zero where not decoded yet."""
        h = ground if y is None else self.near(y).permute(0, 2, 3, 1) + ground
        return self.out(F.relu(h)).permute(0, 3, 1, 2)


class Fine(nn.Module):
    """Last layers at 1/4 resolution, where edges are seen: picture and trunk features to a correction of the picture.

    An 8x8 patch of three colours is 192 numbers and a trunk is narrower; a 4x4 patch is 48. Starts by adding nothing.
    """

    def __init__(self, features: int, width: int, depth: int) -> None:
        super().__init__()
        self.down = nn.Linear(features, 4 * (width // 2))
        self.enter = nn.Linear(3 * 16 + width // 2, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.leave = nn.Linear(width, 3 * 16)
        with torch.no_grad():
            self.leave.weight.mul_(0.02)
            self.leave.bias.zero_()

    def forward(self, picture: Tensor, features: Tensor) -> Tensor:
        """picture [B, 3, H, W] in 0..1, features [B, H/8, W/8, F] to a correction [B, 3, H, W]."""
        up = F.pixel_shuffle(self.down(features).permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        h = self.enter(torch.cat([to_patches(picture - 0.5, 4), up], -1))
        for block in self.blocks:
            h = block(h)
        return from_patches(self.leave(h), 4)


def quality_features(quality: Tensor) -> Tensor:
    """Qualities [B] in 0..63 to smooth features [B, 4]: powers of quality mapped to -1..1."""
    t = quality.to(torch.float32) / 31.5 - 1.0
    return torch.stack([torch.ones_like(t), t, t * t, t * t * t], -1)


def to_patches(picture: Tensor, size: int) -> Tensor:
    """[B, C, H, W] to [B, H/size, W/size, C*size*size]."""
    # What `pixel_unshuffle` does, but channels-last in one copy.
    batch, channels, height, width = picture.shape
    cells = picture.reshape(batch, channels, height // size, size, width // size, size)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, height // size, width // size, -1)


def from_patches(patches: Tensor, size: int) -> Tensor:
    """Inverse of `to_patches`."""
    return F.pixel_shuffle(patches.permute(0, 3, 1, 2), size)


def cells_to_patches(cells: Tensor) -> Tensor:
    """Patches of three colours and 2s x 2s pixels, [B, h, w, 12*s*s], as those of s x s, [B, 2h, 2w, 3*s*s]."""
    batch, height, width, values = cells.shape
    size = math.isqrt(values // 12)  # three colours, four patches
    parts = cells.reshape(batch, height, width, 3, 2, size, 2, size).permute(0, 1, 4, 2, 6, 3, 5, 7)
    return parts.reshape(batch, 2 * height, 2 * width, -1)
