"""Faster linear layers for inference on a CPU: weights laid out once for oneDNN, with what follows fused in.

`torch.nn.Linear` in single precision goes through a general matrix product that lays out its weights anew on every
call; on the small matrices of one frame that costs as much as the product itself. The operators used here are those
that torch's own compiler emits. They need no compiler, but they are not public, so where one is missing the layer
stays as it is. Pixels may change in the last digit, symbols never do.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcodec.networks.blocks import Block


class PackedLinear(nn.Module):
    """`nn.Linear` on `[..., inputs]` single-precision features, with an optional ReLU or sum fused in."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight.detach(), None if linear.bias is None else linear.bias.detach()
        # Laid out for a number of rows; a model sees only one or two of them.
        self._packed: dict[int, Any] = {}

    def forward(self, x: Tensor, relu: bool = False, add: Tensor | None = None) -> Tensor:
        """`x W^T + b`, then `max(., 0)` or `+ add` (of the result's shape)."""
        rows = x.reshape(-1, x.shape[-1]).contiguous()
        packed = self._packed.get(len(rows))
        if packed is None:
            packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, len(rows))
            self._packed[len(rows)] = packed
        if add is None:
            y = torch.ops.mkldnn._linear_pointwise(rows, packed, self.bias, "relu" if relu else "none", [], "")
        else:
            other = add.reshape(len(rows), -1).contiguous()
            y = torch.ops.mkldnn._linear_pointwise.binary(rows, other, packed, self.bias, "add")
        return y.reshape(*x.shape[:-1], -1)


class PackedBlock(nn.Module):
    """`Block`, computed with packed layers."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.enter, self.leave = PackedLinear(block.enter), PackedLinear(block.leave)
        depthwise = block.depthwise
        self.weight = depthwise.weight.detach().contiguous(memory_format=torch.channels_last)
        self.bias = depthwise.bias.detach() if depthwise.bias is not None else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x, relu=True).permute(0, 3, 1, 2)
        h = F.conv2d(h, self.weight, self.bias, padding=1, groups=h.shape[1]).relu_()
        return self.leave(h.permute(0, 2, 3, 1), add=x)


def pack(model: nn.Module) -> bool:
    """Replace the linear layers and blocks of a model that will only be used for inference in fp32 on a CPU.

    Returns whether it was done: not where torch was built without oneDNN, or has other operators.
    """
    if not torch.backends.mkldnn.is_available() or not _works():
        return False
    for name, child in list(model.named_children()):
        if isinstance(child, Block):
            setattr(model, name, PackedBlock(child))
        elif isinstance(child, nn.Linear):
            setattr(model, name, PackedLinear(child))
        else:
            pack(child)
    return True


def _works() -> bool:
    """Whether the operators exist and compute what `nn.Linear` does, on a small example."""
    linear = nn.Linear(4, 6).requires_grad_(False)
    x, add = torch.linspace(-1, 1, 32).reshape(8, 4), torch.ones(8, 6)
    try:
        layer = PackedLinear(linear)
        return torch.allclose(layer(x, relu=True), linear(x).relu(), atol=1e-5) and torch.allclose(
            layer(x, add=add), linear(x) + add, atol=1e-5
        )
    except (AttributeError, RuntimeError, TypeError):
        return False
