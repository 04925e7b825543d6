"""Packed layers: the same numbers as the layers they stand for, to rounding, and counted by the benchmark."""

import pytest
import torch
from torch import nn

from vidcodec.bench.speed import count_gmac
from vidcodec.networks.blocks import Block, Trunk
from vidcodec.networks.packed import PackedBlock, PackedLinear, pack

if not pack(nn.Sequential(nn.Linear(2, 2))):
    pytest.skip("torch has no oneDNN operators here", allow_module_level=True)


@pytest.fixture(autouse=True)
def _inference() -> object:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("shape", [(1, 24, 24, 40), (2, 5, 7, 40)])
def test_trunk_gives_the_same_features(shape: tuple[int, ...]) -> None:
    trunk = Trunk(40, 32, 3).eval().requires_grad_(False)
    x, quality = torch.randn(shape), torch.full((shape[0],), 20.0)
    before = trunk(x, quality)
    assert pack(trunk)
    assert isinstance(trunk.blocks[0], PackedBlock) and isinstance(trunk.enter, PackedLinear)
    assert torch.allclose(trunk(x, quality), before, atol=1e-4)


def test_rows_may_change_from_call_to_call() -> None:
    linear = nn.Linear(16, 8, bias=False).requires_grad_(False)
    packed = PackedLinear(linear)
    for rows in (1, 144, 7, 144):
        x = torch.randn(rows, 16)
        assert torch.allclose(packed(x), linear(x), atol=1e-5)


def test_work_is_counted_as_that_of_the_plain_layers() -> None:
    block = Block(16).eval().requires_grad_(False)
    x = torch.randn(1, 4, 4, 16)
    assert count_gmac(lambda: PackedBlock(block)(x)) == count_gmac(lambda: block(x)) > 0
