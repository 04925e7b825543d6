"""Faster linear layers for inference on a CPU: weights laid out once for oneDNN, with what follows fused in.

`torch.nn.Linear` in single precision goes through a general matrix product that lays out its weights anew on every
call; on the small matrices of one frame that costs as much as the product itself. The operators used here are those
that torch's own compiler emits. They need no compiler, but they are not public, so where one is missing the layer
stays as it is. Pixels may change in the last digit, symbols never do.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcodec.networks.blocks import Block, Fine, Means, Trunk, quality_features, to_patches
from vidcodec.networks.scales import checkerboard


class PackedLinear(nn.Module):
    """`nn.Linear` on `[..., inputs]` features of one precision, with an optional ReLU or sum fused in."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.weight = linear.weight.detach().to(dtype)
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        # Laid out for a number of rows; a model sees only one or two of them.
        self._packed: dict[int, Any] = {}

    def forward(self, x: Tensor, relu: bool = False, add: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """`x W^T + b`, then `max(., 0)` or `+ add` (of the result's shape). `bias` takes the place of the layer's."""
        bias = self.bias if bias is None else bias.to(self.weight.dtype)
        rows = x.reshape(-1, x.shape[-1]).to(self.weight.dtype).contiguous()
        packed = self._packed.get(len(rows))
        if packed is None:
            packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, len(rows))
            self._packed[len(rows)] = packed
        if add is None:
            y = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "relu" if relu else "none", [], "")
        else:
            other = add.reshape(len(rows), -1).contiguous()
            y = torch.ops.mkldnn._linear_pointwise.binary(rows, other, packed, bias, "add")
        return y.reshape(*x.shape[:-1], -1)


class PackedBlock(nn.Module):
    """`Block`, computed with packed layers."""

    def __init__(self, block: Block, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.enter, self.leave = PackedLinear(block.enter, dtype), PackedLinear(block.leave, dtype)
        depthwise = block.depthwise
        self.weight = depthwise.weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        self.bias = depthwise.bias.detach().to(dtype) if depthwise.bias is not None else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x, relu=True).permute(0, 3, 1, 2)
        h = F.conv2d(h, self.weight, self.bias, padding=1, groups=h.shape[1]).relu_()
        return self.leave(h.permute(0, 2, 3, 1), add=x)


class PackedTrunk(nn.Module):
    """`Trunk`, with what the quality adds folded into the bias of its entry."""

    def __init__(self, trunk: Trunk, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.enter = PackedLinear(trunk.enter, dtype)
        self.blocks = nn.ModuleList(PackedBlock(cast(Block, b), dtype) for b in trunk.blocks)
        self.bias = _QualityBias(trunk.by_quality, trunk.enter.bias)

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        bias, x = self.bias(quality).to(self.enter.weight.dtype), x.to(self.enter.weight.dtype)
        h = self.enter(x, bias=bias[0]) if len(bias) == 1 else self.enter(x) + (bias - self.enter.bias)[:, None, None]
        for block in self.blocks:
            h = block(h)
        return h


class PackedMeans(nn.Module):
    """`Means` of one picture, each colour of the checkerboard on its own cells only: the others are left zero.

    An odd cell's neighbours of the other colour are the four beside it; the rest of its 3x3 window is zero by contract,
    so the convolution is a matrix product over those four. Batches take the layer this stands for.
    """

    def __init__(self, means: Means) -> None:
        super().__init__()
        self.plain = means
        self.here, self.out = PackedLinear(means.here), PackedLinear(means.out)
        self.bias = _QualityBias(means.by_quality, means.here.bias)
        kernel = means.near.weight.detach()
        taps = [kernel[:, :, dy, dx] for dy, dx in _BESIDE]
        near = nn.Linear(4 * kernel.shape[1], kernel.shape[0], bias=False)
        with torch.no_grad():
            near.weight.copy_(torch.cat(taps, 1))
        self.near = PackedLinear(near)
        self._cells: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor]] = {}

    def ground(self, memory: Tensor, quality: Tensor) -> Tensor:
        """As `Means.ground`."""
        if len(quality) > 1:
            return self.plain.ground(memory, quality)
        return self.here(to_patches(memory, 2), bias=self.bias(quality)[0])

    def forward(self, ground: Tensor, y: Tensor | None = None) -> Tensor:
        """As `Means.forward`, but right only for the even cells without y, and for the odd ones with it."""
        batch, height, width, hidden = ground.shape
        if batch > 1:
            return self.plain(ground, y)
        even, odd, beside = self._board(height, width)
        rows = ground.reshape(-1, hidden)
        if y is None:
            cells, h = even, rows[even]
        else:
            flat = torch.zeros(height * width + 1, y.shape[1])
            flat[:-1] = y[0].reshape(y.shape[1], -1).T
            cells, h = odd, self.near(flat[beside].reshape(len(odd), -1), add=rows[odd])
        means = self.out(F.relu(h))
        result = torch.zeros(height * width, means.shape[1])
        result[cells] = means
        return result.T.reshape(1, -1, height, width)

    def _board(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Even cells, odd cells and the four cells beside each odd one, as flat numbers; height * width for none."""
        if (height, width) not in self._cells:
            first = checkerboard(height, width, torch.device("cpu"))
            numbers = torch.full((height + 2, width + 2), height * width)
            numbers[1:-1, 1:-1] = torch.arange(height * width).reshape(height, width)
            row, column = torch.nonzero(~first, as_tuple=True)
            beside = torch.stack([numbers[row + dy, column + dx] for dy, dx in _BESIDE], 1)
            flat = first.flatten()
            self._cells[height, width] = torch.nonzero(flat)[:, 0], torch.nonzero(~flat)[:, 0], beside
        return self._cells[height, width]


class PackedFine(nn.Module):
    """`Fine`, its features laid out so that nothing is moved twice and the mid grey taken off by the bias."""

    def __init__(self, fine: Fine, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        half = fine.enter.in_features - 3 * 16
        rows = torch.arange(4 * half).reshape(half, 4).T.flatten()  # sub-cell first, then channel
        down = nn.Linear(fine.down.in_features, 4 * half)
        enter = nn.Linear(fine.enter.in_features, fine.enter.out_features)
        with torch.no_grad():
            down.weight.copy_(fine.down.weight[rows])
            down.bias.copy_(fine.down.bias[rows])
            enter.weight.copy_(fine.enter.weight)
            enter.bias.copy_(fine.enter.bias - 0.5 * fine.enter.weight[:, : 3 * 16].sum(1))
        self.down, self.enter, self.leave = (PackedLinear(layer, dtype) for layer in (down, enter, fine.leave))
        self.blocks = nn.ModuleList(PackedBlock(cast(Block, b), dtype) for b in fine.blocks)

    def forward(self, picture: Tensor, features: Tensor) -> Tensor:
        batch, _, height, width = picture.shape
        up = self.down(features).reshape(batch, height // 8, width // 8, 2, 2, -1).permute(0, 1, 3, 2, 4, 5)
        patches = to_patches(picture.to(up.dtype), 4)
        h = self.enter(torch.cat([patches, up.reshape(batch, height // 4, width // 4, -1)], -1))
        for block in self.blocks:
            h = block(h)
        return F.pixel_shuffle(self.leave(h).permute(0, 3, 1, 2), 4)


# The four cells beside a cell, as places in a 3x3 window.
_BESIDE = ((0, 1), (1, 0), (1, 2), (2, 1))


class _QualityBias(nn.Module):
    """What a layer adds for a quality, its own bias included: [B, width]. Kept for qualities met alone."""

    def __init__(self, by_quality: nn.Linear, bias: Tensor) -> None:
        super().__init__()
        self.by_quality, self.own = by_quality, bias.detach()
        self._kept: dict[float, Tensor] = {}

    def forward(self, quality: Tensor) -> Tensor:
        if len(quality) > 1:
            return self._of(quality)
        level = float(quality)
        if level not in self._kept:
            self._kept[level] = self._of(quality)
        return self._kept[level]

    def _of(self, quality: Tensor) -> Tensor:
        return F.linear(quality_features(quality), self.by_quality.weight, self.own)


_IN_FP32 = {Means: PackedMeans, nn.Linear: PackedLinear}
_IN_ANY = {Block: PackedBlock, Trunk: PackedTrunk, Fine: PackedFine}


def pack(model: nn.Module, dtype: torch.dtype = torch.float32) -> bool:
    """Replace the layers of a model that will only be used for inference on a CPU; trunks, blocks and the like as a
    whole, in `dtype` (fp32 or bf16). What stands outside of them stays in fp32: the linear transforms and the means
    carry a picture's large values, the trunks and the fine layers only correct it.

    Returns whether it was done: not where torch was built without oneDNN, or has other operators.
    """
    if not torch.backends.mkldnn.is_available() or not _works(dtype):
        return False
    _replace(model, dtype)
    return True


def _replace(model: nn.Module, dtype: torch.dtype) -> None:
    for name, child in list(model.named_children()):
        if type(child) in _IN_ANY:
            setattr(model, name, _IN_ANY[type(child)](child, dtype))
        elif type(child) in _IN_FP32:
            setattr(model, name, _IN_FP32[type(child)](child))
        else:
            _replace(child, dtype)


def _works(dtype: torch.dtype) -> bool:
    """Whether the operators exist and compute what `nn.Linear` does, on a small example."""
    linear = nn.Linear(4, 6).requires_grad_(False)
    x, add = torch.linspace(-1, 1, 32).reshape(8, 4), torch.ones(8, 6)
    near = 1e-5 if dtype == torch.float32 else 0.05
    try:
        layer = PackedLinear(linear, dtype)
        wide, sums = layer(x.to(dtype), relu=True).float(), layer(x.to(dtype), add=add.to(dtype)).float()
        return torch.allclose(wide, linear(x).relu(), atol=near) and torch.allclose(sums, linear(x) + add, atol=near)
    except (AttributeError, RuntimeError, TypeError):
        return False
