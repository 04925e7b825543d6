"""The network: a working codec before any training, exact copies where nothing is sent, bounded for ever."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.tiny import TINY
from vidcodec.networks.basis import transform_basis
from vidcodec.networks.config import SMALL, ModelConfig
from vidcodec.networks.model import Reference, VideoModel, news_of
from vidcodec.networks.motion import dense_flow, warp
from vidcodec.networks.scales import decide, laplace_bits


@pytest.fixture()
def model() -> VideoModel:
    torch.manual_seed(2)
    made = VideoModel(TINY).eval()
    made.start_from_basis(torch.from_numpy(transform_basis(TINY.latent)))
    return made


def silent(batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    symbols = torch.zeros(batch, TINY.latent, 4, 4)
    vectors = torch.zeros(batch, 4, 4, 2, dtype=torch.int64)
    return symbols, vectors


def test_starting_basis_is_orthonormal_and_begins_with_the_mean() -> None:
    basis = transform_basis(128).astype(np.float64)
    assert np.allclose(basis @ basis.T, np.eye(128), atol=1e-6)
    assert np.allclose(basis[0], basis[0, 0])


def test_region_without_news_is_the_previous_picture_bit_for_bit(model) -> None:
    reference = Reference(torch.rand(1, 3, 64, 64), torch.rand(1, TINY.memory, 8, 8) - 0.5)
    symbols, vectors = silent()
    context = model.warped(reference, vectors)
    symbols[0, 3, 0, 0] = 4.0
    news = news_of(symbols, vectors, torch.tensor([False]))
    with torch.no_grad():
        after = model.synthesise(symbols, news, context, torch.tensor([30.0]))
    assert torch.equal(after.picture[..., 48:, 48:], reference.picture[..., 48:, 48:])
    assert torch.equal(after.memory[..., 6:, 6:], reference.memory[..., 6:, 6:])
    assert not torch.equal(after.picture[..., :16, :16], reference.picture[..., :16, :16])


def test_change_below_a_level_is_left_out_and_a_larger_one_made_in_full(model) -> None:
    reference = Reference(torch.rand(1, 3, 64, 64) * 0.8 + 0.1, torch.rand(1, TINY.memory, 8, 8) - 0.5)
    symbols, vectors = silent()
    symbols[0, :8, 1, 1] = 3.0
    told = symbols.requires_grad_(True)
    news, quality = news_of(symbols, vectors, torch.tensor([False])), torch.tensor([30.0])
    level = TINY.least_change / 255
    assert level > 0
    made = model.synthesise(told, news, reference, quality).picture
    model.config = replace(TINY, least_change=0.0)
    whole = model.synthesise(told, news, reference, quality).picture
    small = (whole - reference.picture).abs() < level
    assert 0.1 < float(small.float().mean()) < 0.9
    assert torch.equal(made, torch.where(small, reference.picture, whole))
    weights = torch.rand_like(made)
    gradients = [torch.autograd.grad((picture * weights).sum(), told)[0] for picture in (made, whole)]
    assert torch.equal(*gradients), "what was left out still learns"


def test_state_stays_bounded_over_a_thousand_frames_of_random_symbols(model) -> None:
    generator = torch.Generator().manual_seed(1)
    state = model.blank(1, 64, 64, torch.device("cpu"))
    intra = torch.tensor([False])
    with torch.no_grad():
        for _ in range(1000):
            symbols = torch.randint(-3, 4, (1, TINY.latent, 4, 4), generator=generator).float()
            vectors = torch.randint(-8, 9, (1, 4, 4, 2), generator=generator)
            context = model.warped(state, vectors)
            state = model.synthesise(symbols, news_of(symbols, vectors, intra), context, torch.tensor([20.0]))
    assert float(state.picture.min()) >= 0 and float(state.picture.max()) <= 1
    assert float(state.memory.abs().max()) <= 1


def test_silent_region_still_has_a_gradient_towards_speaking(model) -> None:
    symbols, vectors = silent()
    y = torch.zeros_like(symbols, requires_grad=True)
    context = model.warped(Reference(torch.full((1, 3, 64, 64), 0.4), torch.zeros(1, TINY.memory, 8, 8)), vectors)
    after = model.synthesise(y, news_of(symbols, vectors, torch.tensor([False])), context, torch.tensor([30.0]))
    (after.picture - 0.6).square().mean().backward()
    assert torch.equal(after.picture, context.picture)
    assert float(y.grad[0, 0].abs().max()) > 0


def test_whole_pixel_motion_is_exact_inside_and_zero_motion_everywhere() -> None:
    picture = torch.rand(1, 3, 64, 64)
    vectors = torch.zeros(1, 4, 4, 2, dtype=torch.int64)
    assert torch.equal(warp(picture, dense_flow(vectors, 64, 64)), picture)
    vectors[..., 0], vectors[..., 1] = 6, -4  # half pixels: three to the right, two up
    moved = warp(picture, dense_flow(vectors, 64, 64))
    assert torch.allclose(moved[..., 8:56, 8:56], picture[..., 6:54, 11:59], atol=1e-4)


def test_sharper_reading_keeps_what_stands_still_and_whole_pixels() -> None:
    picture = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 66, 66), 3, 1)
    vectors = torch.zeros(1, 4, 4, 2, dtype=torch.int64)
    whole = torch.ones(1, 1, 64, 64)
    assert torch.equal(warp(picture, dense_flow(vectors, 64, 64), whole), picture)
    vectors[..., 0] = 6
    moved = warp(picture, dense_flow(vectors, 64, 64), whole)
    assert torch.allclose(moved[..., 8:56, 8:56], picture[..., 8:56, 11:59], atol=1e-4)
    vectors[..., 0] = 7  # a half pixel: bilinear blurs, bicubic less
    soft, sharp = (warp(picture, dense_flow(vectors, 64, 64), whole * k)[..., 8:56, 8:56] for k in (0, 1))
    assert float(sharp.var()) > 1.05 * float(soft.var())
    between = warp(picture, dense_flow(vectors, 64, 64), whole * 0.25)[..., 8:56, 8:56]
    assert torch.allclose(between, 0.75 * soft + 0.25 * sharp, atol=1e-6)


def test_memory_learns_how_sharply_to_read(model) -> None:
    reference = Reference(torch.rand(1, 3, 64, 64), torch.rand(1, TINY.memory, 8, 8) - 0.5)
    vectors = torch.full((1, 4, 4, 2), 3)
    model.warped(reference, vectors).picture.square().mean().backward()
    assert float(model.sharpness.weight.grad.abs().max()) > 0
    model.zero_grad()


def test_laplace_bits_are_a_distribution() -> None:
    for log_scale in (0.5, 2.0, 4.0, 6.5):
        values = torch.arange(-2000.0, 2001.0)
        total = torch.exp2(-laplace_bits(values, torch.full_like(values, log_scale)))
        likely = total[total > 2**-13.9]
        assert 0.98 < float(likely.sum()) <= 1.0 + 1e-4


def test_surprising_symbols_are_silenced_and_expected_ones_kept() -> None:
    y = torch.tensor([0.8, -0.8, 3.1, -0.3])
    assert decide(y, torch.full((4,), 0.5), 0.2).tolist() == [0, 0, 3, 0]
    assert decide(y, torch.full((4,), 4.5), 0.01).tolist() == [1, -1, 3, 0]


def test_sizes_check_themselves_and_survive_a_round_trip() -> None:
    assert ModelConfig.from_dict(SMALL.to_dict()) == SMALL
    with pytest.raises(ValueError, match="groups"):
        ModelConfig(latent=64)
    with pytest.raises(ValueError, match="unknown"):
        ModelConfig.from_dict({"depth": 3})
