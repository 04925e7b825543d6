"""RGB to YUV and back."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vidcodec.colour import (
    BT601,
    BT601_FULL,
    BT709,
    ColourSpace,
    rgb_to_yuv420,
    rgb_to_yuv444,
    yuv420_to_rgb,
    yuv444_to_rgb,
)
from vidcodec.errors import UsageError
from vidcodec.metrics import mse, psnr_db

SPACES = (BT601, BT601_FULL, BT709)


def _flat(r: int, g: int, b: int) -> NDArray[np.uint8]:
    return np.broadcast_to(np.array([r, g, b], np.uint8), (16, 16, 3)).copy()


@pytest.mark.parametrize(
    ("rgb", "yuv"),
    [
        ((0, 0, 0), (16, 128, 128)),
        ((255, 255, 255), (235, 128, 128)),
        ((255, 0, 0), (81, 90, 240)),
        ((0, 255, 0), (145, 54, 34)),
        ((0, 0, 255), (41, 240, 110)),
    ],
)
def test_bt601_limited_has_its_published_primaries(rgb: tuple[int, int, int], yuv: tuple[int, int, int]) -> None:
    planes = rgb_to_yuv444(_flat(*rgb), BT601)
    assert tuple(int(v) for v in planes[:, 0, 0]) == yuv


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_444_round_trip_of_every_colour_is_within_two_levels(space: ColourSpace) -> None:
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(52, -1, 3)
    back = yuv444_to_rgb(rgb_to_yuv444(cube, space), space)
    assert int(np.abs(back.astype(int) - cube).max()) <= 2
    assert psnr_db(mse(cube, back)) > 50


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_420_round_trip_keeps_grey_exactly_enough(space: ColourSpace) -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(4, axis=0)
    back = yuv420_to_rgb(rgb_to_yuv420(ramp, space), space)
    assert int(np.abs(back.astype(int) - ramp).max()) <= 1


def test_420_loses_only_chroma_detail() -> None:
    y, x = np.mgrid[0:64, 0:64]
    smooth = np.stack([128 + 90 * np.sin(x / 20), 128 + 90 * np.cos(y / 20), 128 + 60 * np.sin((x + y) / 30)], 2)
    frame = smooth.astype(np.uint8)
    back = yuv420_to_rgb(rgb_to_yuv420(frame))
    assert psnr_db(mse(frame, back)) > 46


def test_layout_is_the_one_libav_reads() -> None:
    planes = rgb_to_yuv420(np.zeros((32, 48, 3), np.uint8))
    assert planes.shape == (48, 48)
    assert np.all(planes[:32] == 16)
    assert np.all(planes[32:] == 128)


def test_chroma_sits_between_luma_samples() -> None:
    """Mirroring a picture mirrors its coded version: no half-pixel shift of chroma."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    back = yuv420_to_rgb(rgb_to_yuv420(frame))
    mirrored = yuv420_to_rgb(rgb_to_yuv420(np.ascontiguousarray(frame[:, ::-1])))[:, ::-1]
    assert int(np.abs(back.astype(int) - mirrored).max()) <= 1


def test_odd_sides_and_other_types_are_refused() -> None:
    with pytest.raises(UsageError, match="even"):
        rgb_to_yuv420(np.zeros((31, 32, 3), np.uint8))
    with pytest.raises(UsageError, match="uint8 RGB"):
        rgb_to_yuv444(np.zeros((32, 32), np.uint8))
