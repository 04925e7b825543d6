"""Sizes of the learned codec, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

PATCH = 8  # pixels a feature position stands for, in each direction
CELL = 16  # pixels a latent position stands for
Z_CELLS = 4  # latent positions a side position stands for
LEVELS = 64  # qualities
SPARING = 32  # qualities below 0: the networks work as at 0, and a bit is as dear as it would be at such a level
_EIGHT = (14.0, -10.0, -4.0, -10.0, 9.0, -10.0, -4.0, -10.0)  # offsets of level; their mean is near zero


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the shapes of a model.

    width: channels of the trunks at 1/8 resolution. latent: channels of y at 1/16 resolution.
    memory: channels of the features carried from frame to frame. encoder_blocks, decoder_blocks: depth of the trunks.
    groups: ends of the channel groups of y, coded one after the other; the last is `latent`.
    scale_hidden: width of the integer network that chooses the entropy tables.
    mean_hidden: width of the network that predicts y from the memory and from the cells coded before; 0: no prediction.
    fine_width, fine_blocks: channels and depth of the last layers, at 1/4 resolution; 0: none.
    sharp_motion: whether what moved is read between bilinear and bicubic, as the memory says, or bilinear.
    least_change: in levels of 255. What a frame would change by less is left as it was: nobody sees it, but small
    errors made again in every frame add up to a mosaic. 0: nothing is left out.
    lambda_low, lambda_high: weight of the distortion (MSE on [0,1]) against bits per pixel at level 0 and 63.
    pattern: offsets from a packet's quality to the level that its frame is coded at, by frame number: what a good frame
    shows is copied by the next ones, so it is worth more bits than they are. One frame in 64 is better still: without
    it, a long call wears down to what choice by rate and distortion lets pass.
    intra_boost: the same for a frame without a reference.
    bit_price: squared error, in quantiser steps, that the sender trades for one bit when it chooses symbols.
    """

    width: int = 128
    latent: int = 128
    memory: int = 48
    encoder_blocks: int = 4
    decoder_blocks: int = 10
    groups: tuple[int, ...] = (16, 48, 128)
    scale_hidden: int = 32
    mean_hidden: int = 64
    fine_width: int = 64
    fine_blocks: int = 3
    sharp_motion: bool = True
    least_change: float = 1.0
    lambda_low: float = 12.0
    lambda_high: float = 4000.0
    pattern: tuple[float, ...] = (24.0, *(_EIGHT * 8)[1:])
    intra_boost: float = 23.0
    bit_price: float = 0.3

    def __post_init__(self) -> None:
        if tuple(sorted(self.groups)) != self.groups or self.groups[-1:] != (self.latent,):
            raise ValueError(f"groups {self.groups} must rise and end at latent = {self.latent}")
        if min(self.width, self.memory, self.scale_hidden, *self.groups) < 1 or not self.pattern:
            raise ValueError("width, memory, scale_hidden and groups must be at least 1, pattern not empty")

    def level(self, quality: float, number: int, intra: bool) -> float:
        """Level 0..63 at which frame `number` of nominal `quality` is coded."""
        offset = self.intra_boost if intra else self.pattern[number % len(self.pattern)]
        return min(LEVELS - 1.0, max(0.0, quality + offset))

    def weight(self, quality: float) -> float:
        """Weight of the distortion at a level, log-spaced over the levels."""
        return float(self.lambda_low * (self.lambda_high / self.lambda_low) ** (quality / (LEVELS - 1)))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Inverse of `to_dict`; raises ValueError on unknown names."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"unknown model settings {sorted(unknown)}")
        fixed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fixed)


SMALL = ModelConfig()
MEDIUM = ModelConfig(width=192, encoder_blocks=8, decoder_blocks=9, memory=64, fine_width=96)
LARGE = ModelConfig(width=256, encoder_blocks=14, decoder_blocks=14, memory=96, fine_width=128, fine_blocks=4)
