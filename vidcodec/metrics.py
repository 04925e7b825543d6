"""How far pictures are from their originals: MSE, PSNR and MS-SSIM on 8-bit RGB, and MSE of luma alone.

Every function takes two uint8 RGB pictures `[H, W, 3]` of one size. MSE is on values in [0, 1], which is the source
paper's metric; PSNR is `-10 log10(MSE)`, so both say the same. LPIPS is in `vidcodec.perceptual`, an optional extra.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vidcodec.colour import BT601_FULL
from vidcodec.errors import UsageError

Frame = NDArray[np.uint8]
Planes = NDArray[Any]  # float pictures, as OpenCV's stubs type them

PSNR_CEILING_DB = 100.0
"""What an exact copy is said to have, so that a report stays valid JSON."""

_LUMA = BT601_FULL.matrix()[:1, :3].astype(np.float32)
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_TAPS = 11
_SIGMA = 1.5
_C1 = 0.01**2
_C2 = 0.03**2


def _check(a: Frame, b: Frame) -> None:
    if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 3 or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise UsageError(
            f"pictures are {a.dtype} {a.shape} and {b.dtype} {b.shape}: give two uint8 RGB pictures of one size"
        )


def mse(a: Frame, b: Frame) -> float:
    """Mean squared error of values in [0, 1], over all pixels and channels.

    Raises:
        UsageError: not two uint8 RGB pictures of one size.
    """
    _check(a, b)
    return float(cv2.norm(a, b, cv2.NORM_L2SQR)) / (a.size * 255.0**2)


def luma_mse(a: Frame, b: Frame) -> float:
    """Mean squared error of BT.601 luma in [0, 1]: what is left of an RGB error when colour is not looked at.

    Raises:
        UsageError: not two uint8 RGB pictures of one size.
    """
    _check(a, b)
    difference = cv2.transform(cv2.subtract(a, b, dtype=cv2.CV_32F), _LUMA)
    return float(cv2.norm(difference, cv2.NORM_L2SQR)) / (difference.size * 255.0**2)


def psnr_db(mse_value: float) -> float:
    """Peak signal-to-noise ratio of an MSE on [0, 1]; at most `PSNR_CEILING_DB`."""
    if mse_value <= 10 ** (-PSNR_CEILING_DB / 10):
        return PSNR_CEILING_DB
    return -10 * math.log10(mse_value)


def ms_ssim(a: Frame, b: Frame) -> float:
    """Multi-scale structural similarity (Wang, Simoncelli, Bovik 2003), mean over R, G and B.

    Gaussian window of 11 taps, sigma 1.5, only where it lies wholly inside; 2x2 means between scales; the published
    weights; negative contrast terms count as zero. Five scales need a shorter side of at least 176 pixels (192 leaves
    12 pixels at the last). Smaller pictures use the scales that fit, weights divided by their sum; at least 11 pixels.

    Raises:
        UsageError: not two uint8 RGB pictures of one size, or too small.
    """
    _check(a, b)
    scales = sum(min(a.shape[:2]) >> scale >= _TAPS for scale in range(len(_WEIGHTS)))
    if scales == 0:
        raise UsageError(f"picture is {a.shape[1]}x{a.shape[0]}: MS-SSIM needs at least {_TAPS} pixels a side")
    weights = np.array(_WEIGHTS[:scales]) / sum(_WEIGHTS[:scales])
    x = a.astype(np.float32) / 255
    y = b.astype(np.float32) / 255
    product = np.ones(3)
    for scale in range(scales):
        if scale:
            x, y = _halve(x), _halve(y)
        similarity, contrast = _ssim_terms(x, y)
        term = similarity if scale == scales - 1 else contrast
        product *= np.maximum(term, 0) ** weights[scale]
    return float(product.mean())


def _halve(x: Planes) -> Planes:
    """2x2 means `[H, W, 3]` -> `[H // 2, W // 2, 3]`; an odd last row or column is left out."""
    height, width = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
    return np.asarray(cv2.resize(x[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA))


def _blur(x: Planes) -> Planes:
    """Gaussian window, valid part only: `[H, W, 3]` -> `[H - 10, W - 10, 3]`."""
    margin = _TAPS // 2
    return np.asarray(cv2.GaussianBlur(x, (_TAPS, _TAPS), _SIGMA))[margin:-margin, margin:-margin]


def _ssim_terms(x: Planes, y: Planes) -> tuple[Planes, Planes]:
    """Spatial means, one for each channel, of SSIM and of its contrast-structure part."""
    mean_x, mean_y = _blur(x), _blur(y)
    mean_xy, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance = _blur(x * y) - mean_xy
    variances = _blur(x * x + y * y) - squares
    contrast = (2 * covariance + _C2) / (variances + _C2)
    similarity = contrast * (2 * mean_xy + _C1) / (squares + _C1)
    return similarity.mean(axis=(0, 1), dtype=np.float64), contrast.mean(axis=(0, 1), dtype=np.float64)


@dataclass
class MeanQuality:
    """Running means over frames. PSNR is that of the mean MSE, so that `mse` and `psnr_db` of a clip agree.

    Attributes:
        ms_ssim_every: MS-SSIM costs 4 ms a frame; measure it on every n-th frame only (0: never).
    """

    ms_ssim_every: int = 1
    frames: int = 0
    ms_ssim_frames: int = 0
    mse_sum: float = 0.0
    luma_mse_sum: float = 0.0
    ms_ssim_sum: float = 0.0

    def add(self, original: Frame, shown: Frame) -> float:
        """Count one frame; returns its MSE."""
        value = mse(original, shown)
        if self.ms_ssim_every and self.frames % self.ms_ssim_every == 0:
            self.ms_ssim_sum += ms_ssim(original, shown)
            self.ms_ssim_frames += 1
        self.frames += 1
        self.mse_sum += value
        self.luma_mse_sum += luma_mse(original, shown)
        return value

    @property
    def mse(self) -> float | None:
        """Mean MSE; None before the first frame."""
        return self.mse_sum / self.frames if self.frames else None

    @property
    def psnr_db(self) -> float | None:
        """PSNR of the mean MSE."""
        return psnr_db(self.mse_sum / self.frames) if self.frames else None

    @property
    def luma_psnr_db(self) -> float | None:
        """PSNR of the mean MSE of luma."""
        return psnr_db(self.luma_mse_sum / self.frames) if self.frames else None

    @property
    def ms_ssim(self) -> float | None:
        """Mean MS-SSIM over the frames it was measured on."""
        return self.ms_ssim_sum / self.ms_ssim_frames if self.ms_ssim_frames else None
