"""The model in rows of blocks: the numbers of the model as it is written, to rounding; vectors and masks to the bit."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from vidcodec.networks.config import ModelConfig
from vidcodec.networks.half import in_precision
from vidcodec.networks.model import Reference, VideoModel
from vidcodec.networks.motion import dense_flow
from vidcodec.networks.packed import PackedFine, works
from vidcodec.networks.rows import RowModel
from vidcodec.networks.tiles import fill, slopes

if not works():
    pytest.skip("torch has no oneDNN operators here", allow_module_level=True)

SIZES = ModelConfig(width=32, latent=16, groups=(4, 8, 16), memory=8, encoder_blocks=2, decoder_blocks=2)
QUALITY = torch.tensor([30.0])


@pytest.fixture(autouse=True)
def _inference() -> object:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def made(sizes: ModelConfig = SIZES) -> VideoModel:
    """A model whose every part matters."""
    model = VideoModel(sizes).eval().requires_grad_(False)
    for layer in (model.analysis_head, model.synthesis_head, model.fine and model.fine.leave):
        if layer is not None:
            layer.weight.normal_(std=0.05)
            layer.bias.normal_(std=0.05)
    if model.means is not None:
        model.means.out.weight.normal_()
    if model.sharpness is not None:
        model.sharpness.weight.normal_()
    return model


def references() -> tuple[Reference, Reference]:
    """The same, as planes and in rows."""
    picture, memory = torch.rand(1, 3, 64, 64), torch.randn(1, SIZES.memory, 8, 8).tanh()
    return Reference(picture, memory), Reference(picture, in_rows(memory))


def in_rows(memory: torch.Tensor) -> torch.Tensor:
    return memory[0].flatten(1).T.contiguous()


def blocks_of(picture: torch.Tensor) -> torch.Tensor:
    return picture.reshape(3, 8, 8, 8, 8).permute(1, 3, 0, 2, 4).reshape(64, -1)


def vectors() -> torch.Tensor:
    """Half of the picture moves, beyond its rim too."""
    moving = torch.randint(-40, 41, (1, 4, 4, 2))
    moving[:, :, 2:] = 0
    return moving


@pytest.mark.parametrize(("blocks", "size"), [(8, 8), (16, 4)])
def test_blocks_are_filled_as_planes_are_interpolated_to_the_bit(blocks: int, size: int) -> None:
    moving = vectors()
    flow = dense_flow(moving, 64, 64)[0].permute(2, 0, 1)
    four = slopes(moving[0].permute(2, 0, 1).float() * 0.5, blocks, size)
    tiles = flow.reshape(2, blocks, size, blocks, size).permute(1, 3, 0, 2, 4).reshape(blocks * blocks, 2, -1)
    assert torch.equal(fill(four, 4, blocks, size), tiles)
    news = (torch.rand(1, 4, 4) > 0.5).float()
    mask = F.interpolate(news[None], scale_factor=16, mode="bilinear", align_corners=False)[0]
    tiles = mask.reshape(1, blocks, size, blocks, size).permute(1, 3, 0, 2, 4).reshape(blocks * blocks, 1, -1)
    assert torch.equal(fill(slopes(news, blocks, size), 4, blocks, size), tiles)


@pytest.mark.parametrize("sharp_motion", [False, True])
def test_what_moves_is_read_as_by_the_whole_picture_and_the_rest_is_kept_to_the_bit(sharp_motion: bool) -> None:
    model = made(replace(SIZES, sharp_motion=sharp_motion))
    planes, rows = references()
    moving = vectors()
    wanted, got = model.warped(planes, moving), RowModel(model).warped(rows, moving)
    assert (wanted.picture - planes.picture).abs().max() > 0.5
    assert torch.allclose(got.picture, blocks_of(wanted.picture), atol=1e-4)
    assert torch.allclose(got.memory, in_rows(wanted.memory), atol=1e-5)
    still = blocks_of((dense_flow(moving, 64, 64) == 0).all(-1)[:, None].expand(1, 3, 64, 64)[0])
    assert 0.2 < still.float().mean() < 0.8
    assert torch.equal(got.picture[still], blocks_of(planes.picture)[still])


@pytest.mark.parametrize("without", ["nothing", "mean_hidden", "fine_width"])
def test_a_frame_is_coded_as_by_the_model_as_it_is_written(without: str) -> None:
    model = made(SIZES if without == "nothing" else replace(SIZES, **{without: 0}))
    other = RowModel(model)
    planes, rows = references()
    moving = vectors()
    contexts = model.warped(planes, moving), other.warped(rows, moving)
    frame = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
    pair = (model, contexts[0]), (other, contexts[1])
    y, same = (m.analyse_frame(frame, context, QUALITY) for m, context in pair)
    assert y.abs().max() > 1 and torch.allclose(same, y, atol=1e-3)
    symbols = torch.round(y)
    y_hat, same = (m.latent(symbols, context, QUALITY) for m, context in pair)
    assert torch.allclose(same, y_hat, atol=1e-3)
    assert (without == "mean_hidden") == torch.equal(y_hat, symbols)
    means, same = (m.predicted(y_hat, context, QUALITY) for m, context in pair)
    assert (means is None and same is None) or torch.allclose(same, means, atol=1e-3)
    news = (torch.rand(1, 1, 4, 4) > 0.7).float()
    after, same = (m.synthesise(y_hat, news, context, QUALITY) for m, context in pair)
    assert (after.picture - planes.picture).abs().mean() > 0.02
    assert torch.allclose(same.picture, after.picture, atol=1e-4)
    assert torch.allclose(same.memory, in_rows(after.memory), atol=1e-4)


def test_half_precision_for_the_sender_alone_changes_no_picture() -> None:
    if not works(torch.bfloat16):
        pytest.skip("torch has no such operators in bf16 here")
    model = made()
    single, mixed = RowModel(model), RowModel(model, analysis=torch.bfloat16)
    _, rows = references()
    context, frame = single.still(rows), torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
    y, other = (m.analyse_frame(frame, context, QUALITY) for m in (single, mixed))
    assert 0 < (y - other).abs().max() < 0.05 * y.abs().max()
    wanted, got = (m.synthesise(torch.round(y), torch.ones(1, 1, 4, 4), context, QUALITY) for m in (single, mixed))
    assert torch.equal(got.picture, wanted.picture) and torch.equal(got.memory, wanted.memory)


def test_half_precision_corrects_a_picture_almost_as_single_does() -> None:
    if not works(torch.bfloat16):
        pytest.skip("torch has no such operators in bf16 here")
    model = made()
    single, half = RowModel(model), RowModel(model, torch.bfloat16)
    _, rows = references()
    context, frame = single.still(rows), torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
    y, other = (m.analyse_frame(frame, context, QUALITY) for m in (single, half))
    assert 0 < (y - other).abs().max() < 0.05 * y.abs().max()
    news = torch.ones(1, 1, 4, 4)
    wanted, got = (m.synthesise(torch.round(y), news, context, QUALITY) for m in (single, half))
    assert (wanted.picture - rows.picture).abs().mean() > 0.02
    assert 0 < (wanted.picture - got.picture).square().mean() < 1e-4
    assert (wanted.memory - got.memory).abs().max() < 0.1


@pytest.mark.parametrize("packed", [True, False])
def test_last_layers_in_half_precision_see_a_picture_finer_than_half_precision_holds_it(packed: bool) -> None:
    if packed and not works(torch.bfloat16):
        pytest.skip("torch has no such operators in bf16 here")
    config = replace(SIZES, fine_width=32, fine_blocks=1)
    fine = (made(config) if packed else in_precision(made(config), torch.bfloat16)).fine
    assert fine is not None
    layers = PackedFine(fine, torch.bfloat16) if packed else fine
    shape, features = ((256, 48) if packed else (1, 3, 64, 64)), torch.zeros(1, 8, 8, SIZES.width)
    features = features if packed else features.bfloat16()
    # Between 0.5 and 1 the numbers that bf16 holds are a whole level of 255 apart.
    picture = 0.75 + torch.rand(shape) / 2048
    assert torch.equal(picture.bfloat16(), torch.full(shape, 0.75).bfloat16())
    assert not torch.equal(layers(picture, features), layers(torch.full(shape, 0.75), features))
