"""Packed layers: the same numbers as the layers they stand for, to rounding, and counted by the benchmark."""

import pytest
import torch
from torch import nn

from vidcodec.bench.speed import count_gmac
from vidcodec.networks.blocks import Block, Fine, Means, Trunk, from_patches, to_patches
from vidcodec.networks.packed import (
    PackedBlock,
    PackedDepthwise,
    PackedFine,
    PackedLinear,
    PackedMeans,
    PackedTrunk,
    works,
)
from vidcodec.networks.scales import checkerboard

if not works():
    pytest.skip("torch has no oneDNN operators here", allow_module_level=True)


@pytest.fixture(autouse=True)
def _inference() -> object:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("shape", [(1, 24, 24, 40), (2, 5, 7, 40)])
def test_trunk_gives_the_same_features(shape: tuple[int, ...]) -> None:
    trunk = Trunk(40, 32, 3).eval().requires_grad_(False)
    x, quality = torch.randn(shape), torch.linspace(20.0, 30.0, shape[0])
    packed = PackedTrunk(trunk)
    assert isinstance(packed.blocks[0], PackedBlock)
    assert torch.allclose(packed(x, quality), trunk(x, quality), atol=1e-4)
    other = torch.full((shape[0],), 3.0)
    assert torch.allclose(packed(x, other), trunk(x, other), atol=1e-4), "a bias kept for one quality is not another's"


def test_depthwise_convolution_follows_the_size_of_its_picture() -> None:
    layer = nn.Conv2d(24, 24, 3, padding=1, groups=24).requires_grad_(False)
    packed = PackedDepthwise(layer)
    for height, width in ((12, 12), (5, 9), (12, 12)):
        x = torch.randn(1, height, width, 24)
        wanted = layer(x.permute(0, 3, 1, 2)).relu().permute(0, 2, 3, 1)
        assert torch.allclose(packed(x), wanted, atol=1e-5)


def test_means_are_the_same_on_the_cells_they_are_for() -> None:
    means = Means(12, 6, 16).eval().requires_grad_(False)
    means.out.weight.normal_()
    packed = PackedMeans(means)
    memory, quality = torch.randn(1, 6, 24, 24), torch.tensor([9.0])
    first = checkerboard(12, 12, torch.device("cpu"))
    y = torch.randn(1, 12, 12, 12)
    wanted = torch.where(first, means(means.ground(memory, quality)), means(means.ground(memory, quality), y * first))
    cells = memory[0].reshape(6, 12, 2, 12, 2).permute(1, 3, 2, 4, 0).reshape(144, 24)
    ground = packed.ground(cells, quality)
    got = packed.joined(packed.even(ground), packed.odd(ground, y[0].flatten(1).T))
    assert torch.allclose(got.T.reshape(1, 12, 12, 12), wanted, atol=1e-4)
    assert wanted.abs().max() > 0.5


def test_last_layers_give_the_same_correction() -> None:
    fine = Fine(32, 16, 2).eval().requires_grad_(False)
    fine.leave.weight.normal_()
    picture, features = torch.rand(1, 3, 48, 32), torch.randn(1, 6, 4, 32)
    wanted = fine(picture, features)
    assert wanted.abs().max() > 0.5
    got = PackedFine(fine)(to_patches(picture, 4).reshape(-1, 48), features)
    assert torch.allclose(from_patches(got, 4), wanted, atol=1e-4)


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
