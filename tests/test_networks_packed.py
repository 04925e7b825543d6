"""Packed layers: the same numbers as the layers they stand for, to rounding, and counted by the benchmark."""

import copy

import pytest
import torch
from torch import nn

from vidcodec.bench.speed import count_gmac
from vidcodec.networks.blocks import Block, Fine, Means, Trunk
from vidcodec.networks.config import ModelConfig
from vidcodec.networks.model import Reference, VideoModel
from vidcodec.networks.packed import PackedBlock, PackedFine, PackedLinear, PackedMeans, PackedTrunk, pack
from vidcodec.networks.scales import checkerboard

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
    x, quality = torch.randn(shape), torch.linspace(20.0, 30.0, shape[0])
    before = trunk(x, quality)
    model = nn.Sequential(trunk)
    assert pack(model)
    packed = model[0]
    assert isinstance(packed, PackedTrunk) and isinstance(packed.blocks[0], PackedBlock)
    assert torch.allclose(packed(x, quality), before, atol=1e-4)
    other = torch.full((shape[0],), 3.0)
    assert torch.allclose(packed(x, other), trunk(x, other), atol=1e-4), "a bias kept for one quality is not another's"


@pytest.mark.parametrize("batch", [1, 2])
def test_means_are_the_same_on_the_cells_they_are_for(batch: int) -> None:
    means = Means(12, 6, 16).eval().requires_grad_(False)
    means.out.weight.normal_()
    packed = PackedMeans(means)
    memory, quality = torch.randn(batch, 6, 24, 24), torch.linspace(9.0, 40.0, batch)
    first = checkerboard(12, 12, torch.device("cpu"))
    y = torch.randn(batch, 12, 12, 12) * first
    ground = means.ground(memory, quality)
    assert torch.allclose(packed.ground(memory, quality), ground, atol=1e-5)
    even, odd = packed(ground), packed(ground, y)
    assert torch.allclose(even * first, means(ground) * first, atol=1e-4)
    assert torch.allclose(odd * ~first, means(ground, y) * ~first, atol=1e-4)
    assert means(ground, y).abs().max() > 0.5


@pytest.mark.parametrize("batch", [1, 2])
def test_last_layers_give_the_same_correction(batch: int) -> None:
    fine = Fine(32, 16, 2).eval().requires_grad_(False)
    fine.leave.weight.normal_()
    picture, features = torch.rand(batch, 3, 48, 32), torch.randn(batch, 6, 4, 32)
    wanted = fine(picture, features)
    assert wanted.abs().max() > 0.5
    assert torch.allclose(PackedFine(fine)(picture, features), wanted, atol=1e-4)


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


def test_half_precision_corrects_a_picture_almost_as_single_does() -> None:
    sizes = ModelConfig(width=32, latent=16, groups=(4, 8, 16), memory=8, encoder_blocks=2, decoder_blocks=2)
    plain = VideoModel(sizes).eval().requires_grad_(False)
    for layer in (plain.synthesis_head, plain.fine.leave):
        layer.weight.normal_(std=0.02)
    half = copy.deepcopy(plain)
    if not pack(half, torch.bfloat16):
        pytest.skip("torch has no such operators in bf16 here")
    assert half.synthesis_linear.weight.dtype == torch.float32, "large values stay in single precision"
    assert half.synthesis_trunk.enter.weight.dtype == torch.bfloat16
    x, quality = torch.rand(1, 3, 64, 64), torch.tensor([30.0])
    context = Reference(torch.rand(1, 3, 64, 64), torch.randn(1, 8, 8, 8).tanh())
    y = torch.round(plain.analyse(x, context, quality))
    news = torch.ones(1, 1, 4, 4)
    wanted, got = (model.synthesise(y, news, context, quality) for model in (plain, half))
    assert (wanted.picture - context.picture).abs().mean() > 0.02
    assert 0 < (wanted.picture - got.picture).square().mean() < 1e-5
    assert (wanted.memory - got.memory).abs().max() < 0.05
    assert (plain.analyse(x, context, quality) - half.analyse(x, context, quality)).abs().max() < 0.05
