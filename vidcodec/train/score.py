"""Scoring on development clips: rate and distortion of the running codec, and one number to compare runs by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from vidcodec.networks.model import VideoModel
from vidcodec.train.cache import Item
from vidcodec.train.perceptual import Looks
from vidcodec.train.step import code_frame, find_motion

HEADER_BITS = 48  # five bytes of header, and the rounding of the body to bytes
LOOKS_EVERY = 6


@dataclass(frozen=True)
class Point:
    """Mean of one clip at one quality: bits per frame and MSE of pixels in [0,1], over the frames scored; what their
    looks add to that error, over every `LOOKS_EVERY`th of them."""

    clip: str
    quality: int
    bits: float
    error: float
    looks: float = 0.0


def to_size(frame: np.ndarray, size: int = 192) -> np.ndarray:
    """The whole frame as the codec sees it: uint8 RGB [size, size, 3]."""
    return cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA)


def score_points(
    model: VideoModel,
    clips: Sequence[Item],
    qualities: Sequence[int],
    frames: int,
    *,
    autocast: torch.dtype | None,
    looks: Looks | None = None,
) -> list[Point]:
    """Run every clip from a blank state at each quality, all qualities as one batch; rates are estimates."""
    device = next(model.parameters()).device
    points: list[Point] = []
    with torch.no_grad():
        for clip in clips:
            count = min(frames, len(clip.frames))
            state = model.blank(len(qualities), 192, 192, device)
            bits, error, seen = (torch.zeros(len(qualities)) for _ in range(3))
            changes: list[list[np.ndarray]] = [[] for _ in qualities]
            for k in range(count):
                picture = np.repeat(to_size(np.asarray(clip.frames[k]))[None], len(qualities), 0)
                intra = np.full(len(qualities), k == 0)
                levels = [model.config.level(q, k, k == 0) for q in qualities]
                weights = np.array([model.config.weight(level) for level in levels])
                quality = torch.tensor(levels, dtype=torch.float32, device=device)
                vectors = find_motion(picture, state.picture, intra, weights).to(device)
                x = torch.from_numpy(picture).to(device).permute(0, 3, 1, 2).float() / 255
                result = code_frame(
                    model,
                    x,
                    state,
                    vectors,
                    torch.from_numpy(intra).to(device),
                    quality=quality,
                    noise=None,
                    autocast=autocast,
                )
                state = result.state
                bits += result.bits.cpu() + HEADER_BITS
                error += result.error.cpu()
                if looks is not None and k % LOOKS_EVERY == 0:
                    seen += looks.distance(state.picture, x, autocast).cpu() / -(-count // LOOKS_EVERY)
                for kept, v in zip(changes, vectors.cpu().numpy(), strict=True):
                    kept.append(np.diff(v, axis=1, prepend=0).ravel())
            for i, q in enumerate(qualities):
                motion_bits = _entropy_bits(np.concatenate(changes[i])) / count
                mean_bits, mean_error = float(bits[i]) / count + motion_bits, float(error[i]) / count
                points.append(Point(clip.name, q, mean_bits, mean_error, float(seen[i])))
    return points


def slope_at(quality: float) -> float:
    """Of log rate against log error, as the development clips have it: steeper the better the picture.

    So a model that moves along its own curve, with more bits and less error at every quality, keeps its score, and a
    difference of 0.01 reads as about 1 % of bits at equal error. With one slope for all such a move read as up to 3 %.
    """
    return 0.7 + quality / 64


def score_of(points: Sequence[Point]) -> float:
    """Mean over clips and qualities of ln(bits) + slope ln(error and looks): lower is better."""
    return float(
        np.mean([math.log(p.bits) + slope_at(p.quality) * math.log(max(p.error + p.looks, 1e-9)) for p in points])
    )


def _entropy_bits(values: np.ndarray) -> float:
    _, counts = np.unique(values, return_counts=True)
    return float(-(counts * np.log2(counts / counts.sum())).sum())
