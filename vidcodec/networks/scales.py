"""Which entropy table codes which symbol: a small network of integers over what both ends know exactly.

y is coded in steps: channel group by channel group, in each the even cells of a checkerboard and then the odd ones. In
each step a network of one hidden layer sees the magnitudes of all symbols already coded in the 3x3 cells around, the
side symbols z, the motion, the quality and whether the frame is an intra frame. All of its inputs and weights are
integers, so its outcome is the same on every machine. This is the training side; `vidcodec.networks.integer` evaluates
the very same network in exact arithmetic.

Units: a magnitude m enters as round(8 log2(1 + m)) / 8, weights are multiples of 1/64, and the result is the natural
logarithm of the Laplace scale over `SCALE_LOW`, read in steps of 1/8.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcodec.networks.config import LEVELS, Z_CELLS, ModelConfig

TABLES = 64
STEPS_PER_UNIT = 8  # tables for each natural-log unit of the scale
SCALE_LOW = 0.02  # Laplace scale of table 0, in quantiser steps
WEIGHT_UNIT = 64
MAGNITUDE_CAP = 255
EXTRA = 4  # inputs beside magnitudes and z: motion, change of motion, intra, quality


def table_scale(index: float) -> float:
    """Laplace scale (quantiser steps) that a table index stands for."""
    return SCALE_LOW * math.exp(index / STEPS_PER_UNIT)


def quantise(weights: Tensor) -> Tensor:
    """Weights rounded to their unit in the forward pass, passed through in the backward pass."""
    return weights + (torch.round(weights * WEIGHT_UNIT) / WEIGHT_UNIT - weights).detach()


def log_magnitude(symbols: Tensor) -> Tensor:
    """round(8 log2(1 + |s|)) / 8, for whole-numbered symbols of any shape."""
    return torch.round(8 * torch.log2(1 + symbols.abs().clamp(max=MAGNITUDE_CAP))) / 8


def checkerboard(height: int, width: int, device: torch.device) -> Tensor:
    """bool [height, width], True on the cells that are coded first."""
    y = torch.arange(height, device=device)[:, None]
    x = torch.arange(width, device=device)[None]
    return (y + x) % 2 == 0


def side_levels(symbols: Tensor, groups: tuple[int, ...]) -> Tensor:
    """z of symbols [B, C, h, w]: bit lengths of the summed magnitudes of 4x4 cells, float [B, groups, h/4, w/4]."""
    magnitudes = symbols.abs().clamp(max=MAGNITUDE_CAP)
    sums = torch.stack([g.sum(1) for g in torch.split(magnitudes, _sizes(groups), 1)], 1)
    return torch.ceil(torch.log2(1 + F.avg_pool2d(sums, Z_CELLS, divisor_override=1)))


def motion_features(vectors: Tensor) -> Tensor:
    """Vectors [B, h, w, 2] to [B, 2, h, w]: log magnitude of each vector and of its largest change to a neighbour."""
    v = vectors.permute(0, 3, 1, 2).to(torch.float32)
    p = F.pad(v, (1, 1, 1, 1), mode="replicate")
    middle = p[:, :, 1:-1, 1:-1]
    around = [p[:, :, :-2, 1:-1], p[:, :, 2:, 1:-1], p[:, :, 1:-1, :-2], p[:, :, 1:-1, 2:]]
    change = torch.stack([(a - middle).abs().sum(1) for a in around]).amax(0)
    return torch.stack([log_magnitude(v.abs().sum(1)), log_magnitude(change)], 1)


def _sizes(groups: tuple[int, ...]) -> list[int]:
    return [b - a for a, b in zip((0, *groups), groups, strict=False)]


class ScaleStep(nn.Module):
    """The network of one coding step: `seen` channels of magnitudes to the scales of channels [first, seen)."""

    def __init__(self, first: int, seen: int, sides: int, hidden: int) -> None:
        super().__init__()
        self.first, self.seen = first, seen
        self.near = nn.Conv2d(seen, hidden, 3, padding=1, bias=False)
        self.here = nn.Linear(sides + EXTRA, hidden)
        self.out = nn.Linear(hidden, seen - first)
        with torch.no_grad():
            self.near.weight.mul_(0.3)
            self.out.weight.mul_(0.3)
            self.out.bias.fill_(1.5)

    def forward(self, known: Tensor, side: Tensor) -> Tensor:
        """known [B, seen, h, w] log magnitudes, zero where not coded yet; side [B, h, w, sides + EXTRA]."""
        near = F.conv2d(known, quantise(self.near.weight).to(known.dtype), padding=1)
        here = F.linear(side, quantise(self.here.weight), quantise(self.here.bias))
        h = F.relu(near.permute(0, 2, 3, 1).float() + here)
        return F.linear(h, quantise(self.out.weight), quantise(self.out.bias)).permute(0, 3, 1, 2)


class ScaleModel(nn.Module):
    """Natural-log scales (over SCALE_LOW) of every symbol, as each coding step would see them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.groups = config.groups
        starts = (0, *config.groups[:-1])
        self.steps = nn.ModuleList(
            ScaleStep(a, b, len(config.groups), config.scale_hidden)
            for a, b in zip(starts, config.groups, strict=True)
            for _parity in (0, 1)
        )

    def forward(self, symbols: Tensor, vectors: Tensor, intra: Tensor, quality: Tensor) -> Tensor:
        """symbols [B, C, h, w] (whole numbers), vectors [B, h, w, 2], intra bool [B], quality [B] to [B, C, h, w]."""
        batch, _, h, w = symbols.shape
        magnitudes = log_magnitude(symbols)
        z = F.interpolate(side_levels(symbols, self.groups), scale_factor=Z_CELLS, mode="bilinear", align_corners=False)
        z = torch.floor(z * 8) / 8
        flat = torch.stack([intra.float(), quality.float() / LEVELS], 1)[:, :, None, None].expand(batch, 2, h, w)
        side = torch.cat([z, motion_features(vectors), flat], 1).permute(0, 2, 3, 1)
        first = checkerboard(h, w, symbols.device)
        parts: list[Tensor] = []
        for number in range(0, len(self.steps), 2):
            even, odd = self.steps[number], self.steps[number + 1]
            before, group = magnitudes[:, : even.first], magnitudes[:, even.first : even.seen]
            even_scales = even(torch.cat([before, torch.zeros_like(group)], 1), side)
            odd_scales = odd(torch.cat([before, group * first], 1), side)
            parts.append(torch.where(first, even_scales, odd_scales))
        return torch.cat(parts, 1)


def laplace_bits(values: Tensor, log_scale: Tensor) -> Tensor:
    """Bits of integer intervals around `values` under a Laplace density of scale SCALE_LOW * exp(log_scale)."""
    inverse = torch.exp(-log_scale.clamp(0, (TABLES - 1) / STEPS_PER_UNIT)) / SCALE_LOW
    a = values.abs()
    # Inside the central step the interval straddles the peak; outside both ends lie on one exponential slope.
    inner = 1 - 0.5 * (torch.exp(-(0.5 + a) * inverse) + torch.exp(-(0.5 - a).clamp(min=0) * inverse))
    tail = -torch.log(0.5 * (1 - torch.exp(-inverse)).clamp(min=1e-9)) + (a - 0.5).clamp(min=0) * inverse
    nats = torch.where(a < 0.5, -torch.log(inner.clamp(min=1e-9)), tail)
    # A table never gives less than about 2^-14 to a symbol: its escape floor.
    return nats.clamp(max=14 * math.log(2)) / math.log(2)


def decide(y: Tensor, log_scale: Tensor, bit_price: float) -> Tensor:
    """Whole-numbered symbols for y: the nearest, or the one below it where the bits saved are worth the error.

    bit_price: squared error, in quantiser steps, that one bit is worth. A uniform quantiser at high rate asks for
    about 0.12; where a symbol is a surprise (an idle region, a noisy camera) this silences it.
    """
    a = y.abs()
    near = torch.round(a)
    below = (near - 1).clamp(min=0)
    saved = laplace_bits(near, log_scale) - laplace_bits(below, log_scale)
    return torch.sign(y) * torch.where((a - below) ** 2 - (a - near) ** 2 > bit_price * saved, near, below)
