"""MSE, PSNR and MS-SSIM."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from vidcodec.errors import UsageError
from vidcodec.metrics import PSNR_CEILING_DB, MeanQuality, luma_mse, ms_ssim, mse, psnr_db


def _picture(seed: int, size: int = 192) -> NDArray[np.uint8]:
    """A smooth random picture with some texture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    smooth = np.stack([np.sin(6 * x * (c + 1) + seed) * np.cos(5 * y) for c in range(3)], axis=2)
    return np.clip(128 + 80 * smooth + rng.normal(0, 6, (size, size, 3)), 0, 255).astype(np.uint8)


def _ms_ssim_by_definition(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Float64, plain loops over taps, separate variances: written independently of the implementation."""
    x, y = a / 255.0, b / 255.0
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def window(z: NDArray[np.float64]) -> NDArray[np.float64]:
        n = z.shape[0] - 10
        rows = sum(t * z[i : i + n] for i, t in enumerate(taps))
        return np.asarray(sum(t * rows[:, i : i + n] for i, t in enumerate(taps)))

    result = np.ones(3)
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if scale:
            x, y = ((z[::2, ::2] + z[1::2, ::2] + z[::2, 1::2] + z[1::2, 1::2]) / 4 for z in (x, y))
        mx, my = window(x), window(y)
        vx, vy, cov = window(x * x) - mx**2, window(y * y) - my**2, window(x * y) - mx * my
        cs = (2 * cov + 0.0009) / (vx + vy + 0.0009)
        term = cs * (2 * mx * my + 0.0001) / (mx**2 + my**2 + 0.0001) if scale == 4 else cs
        result *= np.maximum(term.mean(axis=(0, 1)), 0) ** weight
    return float(result.mean())


def test_mse_is_on_values_from_0_to_1() -> None:
    black, white = np.zeros((192, 192, 3), np.uint8), np.full((192, 192, 3), 255, np.uint8)
    assert mse(black, white) == pytest.approx(1.0, rel=1e-12)
    assert mse(black, black) == 0.0
    grey = np.full((192, 192, 3), 51, np.uint8)
    assert mse(black, grey) == pytest.approx(0.04)


def test_mse_equals_numpy_in_float64() -> None:
    a, b = _picture(1), _picture(2)
    assert mse(a, b) == pytest.approx(float(np.mean((a / 255.0 - b / 255.0) ** 2)), rel=1e-12)


def test_mse_of_views_and_odd_sizes() -> None:
    a, b = _picture(1)[3:100:2, 5:50], _picture(2)[3:100:2, 5:50]
    assert mse(a, b) == pytest.approx(float(np.mean((a / 255.0 - b / 255.0) ** 2)), rel=1e-12)


def test_psnr_of_known_values() -> None:
    assert psnr_db(1e-3) == pytest.approx(30.0)
    assert psnr_db(0.0) == PSNR_CEILING_DB
    assert math.isfinite(psnr_db(1e-300))


def test_error_of_luma_looks_at_no_colour() -> None:
    grey = np.full((192, 192, 3), 100, np.uint8)
    assert luma_mse(grey, grey + np.uint8(3)) == pytest.approx(mse(grey, grey + np.uint8(3)))
    colour = grey + np.array([0, 0, 100], np.uint8)
    assert luma_mse(colour, grey) == luma_mse(grey, colour) == pytest.approx((0.114 * 100 / 255) ** 2, rel=1e-5)
    a, b = _picture(1), _picture(2)
    luma = (a.astype(float) - b) @ [0.299, 0.587, 0.114]
    assert luma_mse(a, b) == pytest.approx(float((luma**2).mean()) / 255**2, rel=1e-5)


def test_ms_ssim_of_a_copy_is_one() -> None:
    a = _picture(3)
    assert ms_ssim(a, a) == pytest.approx(1.0, abs=1e-6)


def test_ms_ssim_agrees_with_its_definition_at_192() -> None:
    a = _picture(4)
    rng = np.random.default_rng(0)
    for noise in (2, 10, 40):
        b = np.clip(a + rng.normal(0, noise, a.shape), 0, 255).astype(np.uint8)
        assert ms_ssim(a, b) == pytest.approx(_ms_ssim_by_definition(a, b), abs=2e-4)


def test_ms_ssim_falls_with_noise_and_survives_inversion() -> None:
    a = _picture(5)
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, a.shape)
    values = [ms_ssim(a, np.clip(a + k * noise, 0, 255).astype(np.uint8)) for k in (1, 5, 20, 60)]
    assert values == sorted(values, reverse=True)
    assert 0.0 <= ms_ssim(a, 255 - a) < 0.5


def test_small_pictures_use_fewer_scales() -> None:
    a, b = _picture(6, 40), _picture(7, 40)
    assert ms_ssim(a, a) == pytest.approx(1.0, abs=1e-6)
    assert 0 <= ms_ssim(a, b) < 1
    with pytest.raises(UsageError, match="at least 11"):
        ms_ssim(a[:10], b[:10])


def test_pictures_of_other_size_or_type_are_refused() -> None:
    a = _picture(8)
    with pytest.raises(UsageError, match="one size"):
        mse(a, a[:100])
    with pytest.raises(UsageError, match="uint8"):
        ms_ssim(a, a.astype(np.float32))
    with pytest.raises(UsageError, match="one size"):
        luma_mse(a, a[:100])


def test_mean_quality_agrees_with_frame_by_frame_values() -> None:
    quality = MeanQuality(ms_ssim_every=2)
    assert quality.mse is None and quality.psnr_db is None and quality.ms_ssim is None
    pairs = [(_picture(i), _picture(i + 10)) for i in range(3)]
    values = [quality.add(a, b) for a, b in pairs]
    assert quality.frames == 3
    assert quality.mse == pytest.approx(np.mean([mse(a, b) for a, b in pairs])) == pytest.approx(np.mean(values))
    assert quality.psnr_db == pytest.approx(psnr_db(float(np.mean(values))))
    assert quality.luma_psnr_db == pytest.approx(psnr_db(float(np.mean([luma_mse(a, b) for a, b in pairs]))))
    assert quality.ms_ssim == pytest.approx((ms_ssim(*pairs[0]) + ms_ssim(*pairs[2])) / 2)
