"""A learned codec small enough for tests: random weights, the real code."""

from dataclasses import replace

import numpy as np
import torch

from vidcodec.learned import LearnedCodec
from vidcodec.networks.config import ModelConfig
from vidcodec.networks.model import VideoModel
from vidcodec.networks.tables import empty_counts, fit_all
from vidcodec.train.export import model_arrays

TINY = ModelConfig(
    width=16,
    latent=32,
    memory=8,
    encoder_blocks=1,
    decoder_blocks=1,
    groups=(8, 32),
    scale_hidden=8,
    mean_hidden=0,
    fine_width=0,
    pattern=(8.0, -6.0, -3.0, -6.0),
    intra_boost=12.0,
    bit_price=0.2,
)
RICH = replace(TINY, mean_hidden=8, fine_width=16, fine_blocks=1)


def tiny_arrays(seed: int = 5, sizes: ModelConfig = TINY) -> dict[str, np.ndarray]:
    """Arrays of a weights file: a DCT start with random trunks and a random integer scale network."""
    torch.manual_seed(seed)
    model = VideoModel(sizes)
    from vidcodec.networks.basis import transform_basis

    model.start_from_basis(torch.from_numpy(transform_basis(TINY.latent)))
    arrays = model_arrays(model.state_dict(), TINY.groups)
    # The scale network from numpy's generator, whose streams never change: golden bytes hang on it.
    rng = np.random.default_rng(seed)
    for name in sorted(arrays):
        if name.startswith("scales."):
            arrays[name] = rng.integers(-20, 21, arrays[name].shape).astype(np.int16)
        if name.endswith("out_bias"):
            arrays[name] = rng.integers(100, 220, arrays[name].shape).astype(np.int16)
    return {**arrays, **fit_all(empty_counts())}


def tiny_codec(precision: torch.dtype = torch.float32, sizes: ModelConfig = TINY) -> LearnedCodec:
    return LearnedCodec(
        tiny_arrays(sizes=sizes),
        sizes,
        model_id="tiny",
        sha256="0" * 64,
        device=torch.device("cpu"),
        precision=precision,
    )


def moving_face(count: int, seed: int = 1) -> np.ndarray:
    """uint8 RGB [count, 192, 192, 3]: a shaded disc with two eyes that wanders over a textured wall."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:192, 0:192].astype(np.float32)
    wall = 90 + 20 * np.sin(x / 9) + 15 * np.cos(y / 7)
    frames = np.empty((count, 192, 192, 3), np.uint8)
    for k in range(count):
        cx, cy = 96 + 14 * np.sin(k / 5), 100 + 6 * np.cos(k / 7)
        face = np.hypot(x - cx, (y - cy) * 0.8) < 52
        eyes = (np.hypot(x - cx + 18, y - cy + 12) < 6) | (np.hypot(x - cx - 18, y - cy + 12) < 6)
        picture = np.where(face, 190 - 0.5 * np.abs(x - cx), wall)
        picture = np.where(eyes, 40, picture)[..., None] * np.array([1.0, 0.9, 0.8])
        frames[k] = np.clip(picture + rng.normal(0, 1.0, picture.shape), 0, 255)
    return frames
