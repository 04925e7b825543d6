"""Faster layers for inference on a CPU: weights laid out once for oneDNN, with what follows fused in.

`torch.nn.Linear` in single precision goes through a general matrix product that lays out its weights anew on every
call; on the small matrices of one frame that costs as much as the product itself. The operators used here are those
that torch's own compiler emits. They need no compiler, but they are not public: `works` says whether they are here.
What a precision other than fp32 is for is the caller's choice: linear transforms and means carry a picture's large
values and stay in fp32, the trunks and the fine layers only correct it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcodec.networks.blocks import Block, Fine, Means, Trunk, quality_features
from vidcodec.networks.scales import checkerboard


class PackedLinear(nn.Module):
    """`nn.Linear` on `[..., inputs]` features of one precision, with an optional activation or sum fused in."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.weight = linear.weight.detach().to(dtype)
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        # Laid out for a number of rows; a model sees only one or two of them.
        self._packed: dict[int, Any] = {}

    def forward(self, x: Tensor, then: str = "none", add: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """`x W^T + b`, and on it `relu`, `tanh` or `sigmoid`, or else `+ add` (of the result's shape). `bias` takes the
        place of the layer's."""
        bias = self.bias if bias is None else bias.to(self.weight.dtype)
        rows = x.reshape(-1, x.shape[-1]).to(self.weight.dtype).contiguous()
        packed = self._packed.get(len(rows))
        if packed is None:
            packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, len(rows))
            self._packed[len(rows)] = packed
        if add is None:
            y = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, then, [], "")
        else:
            other = add.reshape(len(rows), -1).contiguous()
            y = torch.ops.mkldnn._linear_pointwise.binary(rows, other, packed, bias, "add")
        return y.reshape(*x.shape[:-1], -1)


class PackedDepthwise(nn.Module):
    """A depthwise 3x3 convolution and its ReLU, on features [B, H, W, C] of one precision."""

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.weight, self.groups = layer.weight.detach().to(dtype), layer.groups
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        self._packed: dict[torch.Size, Any] = {}

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        packed = self._packed.get(x.shape)
        if packed is None:
            packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, _ONE, _ONE, _ONE, self.groups, list(x.shape)
            )
            self._packed[x.shape] = packed
        y = torch.ops.mkldnn._convolution_pointwise(x, packed, self.bias, _ONE, _ONE, _ONE, self.groups, "relu", [], "")
        return y.permute(0, 2, 3, 1)


_ONE = [1, 1]  # padding, stride and dilation


class PackedBlock(nn.Module):
    """`Block`, computed with packed layers."""

    def __init__(self, block: Block, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.enter, self.leave = PackedLinear(block.enter, dtype), PackedLinear(block.leave, dtype)
        self.depthwise = PackedDepthwise(block.depthwise, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.depthwise(self.enter(x, "relu")), add=x)


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
    """`Means` of one picture in rows of cells, each colour of a checkerboard on its own cells only.

    An odd cell's neighbours of the other colour are the four beside it; the rest of its 3x3 window is zero by contract,
    so the convolution is a matrix product over those four.
    """

    def __init__(self, means: Means) -> None:
        super().__init__()
        memory = means.here.in_features // 4
        # Four blocks of memory to a cell, one after the other.
        columns = torch.arange(4 * memory).reshape(memory, 4).T.flatten()
        here = nn.Linear(4 * memory, means.here.out_features).requires_grad_(False)
        here.weight.copy_(means.here.weight[:, columns])
        self.here, self.out = PackedLinear(here), PackedLinear(means.out)
        self.bias = _QualityBias(means.by_quality, means.here.bias)
        kernel = means.near.weight.detach()
        near = nn.Linear(4 * kernel.shape[1], kernel.shape[0], bias=False).requires_grad_(False)
        near.weight.copy_(torch.cat([kernel[:, :, dy, dx] for dy, dx in _BESIDE], 1))
        self.near = PackedLinear(near)

    def ground(self, memory: Tensor, quality: Tensor) -> Tensor:
        """What all cells know: their memory [cells, 4 * M] and quality [1] to [cells, hidden]."""
        return self.here(memory, bias=self.bias(quality)[0])

    def even(self, ground: Tensor) -> Tensor:
        """Means [cells / 2, C] of the even cells."""
        return self.out(F.relu(ground[_board(len(ground))[0]]))

    def odd(self, ground: Tensor, y: Tensor) -> Tensor:
        """Means [cells / 2, C] of the odd cells, from y [cells, C] of which the even ones are looked at."""
        _, odd, beside, _ = _board(len(ground))
        near = F.pad(y, (0, 0, 0, 1))[beside].reshape(len(odd), -1)
        return self.out(self.near(near, add=ground[odd]).relu_())

    def joined(self, even: Tensor, odd: Tensor) -> Tensor:
        """Rows of all cells from those of both colours."""
        return torch.cat([even, odd])[_board(2 * len(even))[3]]


@lru_cache(maxsize=4)
def _board(cells: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For a square of cells: the even ones [n], the odd ones [n], the four beside each odd one [n, 4], `cells` for
    none, and for every cell its place among the even ones followed by the odd ones."""
    side = int(cells**0.5)
    first = checkerboard(side, side, torch.device("cpu"))
    numbers = torch.full((side + 2, side + 2), cells)
    numbers[1:-1, 1:-1] = torch.arange(cells).reshape(side, side)
    row, column = torch.nonzero(~first, as_tuple=True)
    beside = torch.stack([numbers[row + dy, column + dx] for dy, dx in _BESIDE], 1)
    even, odd = (torch.nonzero(part.flatten())[:, 0] for part in (first, ~first))
    return even, odd, beside, torch.argsort(torch.cat([even, odd]))


class PackedFine(nn.Module):
    """`Fine` of one picture in rows of 4x4 blocks; the mid grey is taken off by the bias.

    The picture enters in fp32 whatever `dtype`: rounded to eight binary digits it is off by half a level, and what the
    next frames copy would drift.
    """

    def __init__(self, fine: Fine, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        half = fine.enter.in_features - 3 * 16
        rows = torch.arange(4 * half).reshape(half, 4).T.flatten()  # sub-cell first, then channel
        down = nn.Linear(fine.down.in_features, 4 * half).requires_grad_(False)
        enter = nn.Linear(fine.enter.in_features, fine.enter.out_features).requires_grad_(False)
        down.weight.copy_(fine.down.weight[rows])
        down.bias.copy_(fine.down.bias[rows])
        enter.weight.copy_(fine.enter.weight)
        enter.bias.copy_(fine.enter.bias - 0.5 * fine.enter.weight[:, : 3 * 16].sum(1))
        self.down, self.enter, self.leave = (
            PackedLinear(down, dtype),
            PackedLinear(enter),
            PackedLinear(fine.leave, dtype),
        )
        self.blocks = nn.ModuleList(PackedBlock(cast(Block, b), dtype) for b in fine.blocks)

    def forward(self, picture: Tensor, features: Tensor) -> Tensor:
        """picture [4 * h * w, 48] in 0..1, row by row, features [1, h, w, F] to a correction [1, 2h, 2w, 48]."""
        _, height, width, _ = features.shape
        up = self.down(features).view(height, width, 2, 2, -1).permute(0, 2, 1, 3, 4)
        quarters = picture.view(height, 2, width, 2, -1)
        h = self.enter(torch.cat([quarters, up], -1).view(1, 2 * height, 2 * width, -1)).to(up.dtype)
        for block in self.blocks:
            h = block(h)
        return self.leave(h).float()


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


def multiplies_half() -> bool:
    """Whether this CPU multiplies bf16 as it is, at twice the rate of fp32, rather than widening it first."""
    abilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(abilities.get(name) for name in ("avx512_bf16", "amx_bf16")) and works(torch.bfloat16)


def works(dtype: torch.dtype = torch.float32) -> bool:
    """Whether torch has oneDNN, and its operators compute what `nn.Linear` does, on a small example."""
    if not torch.backends.mkldnn.is_available():
        return False
    linear = nn.Linear(4, 6).requires_grad_(False)
    x, add = torch.linspace(-1, 1, 32).reshape(8, 4), torch.ones(8, 6)
    near = 1e-5 if dtype == torch.float32 else 0.05
    try:
        layer = PackedLinear(linear, dtype)
        plain, given = linear(x), x.to(dtype)
        pairs = [(layer(given, add=add.to(dtype)), plain + add)]
        pairs += [(layer(given, name), getattr(torch, name)(plain)) for name in ("relu", "tanh", "sigmoid")]
        return all(torch.allclose(got.float(), wanted, atol=near) for got, wanted in pairs)
    except (AttributeError, RuntimeError, TypeError):
        return False
