"""Running clips: a pool of endless, augmented takes that hands out a few frames of each at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np

from vidcodec.errors import UsageError
from vidcodec.train.cache import Item, item_weights

NOISE_LOW = 0.5
"""The least noise, in 8-bit steps, of a clip that has any."""


@dataclass(frozen=True)
class Augmentation:
    """How far a clip may be from its file. Probabilities in 0..1, sizes relative, noise in 8-bit steps.

    picture_share: share of clips made of one portrait that is moved about.
    jitter_px: step of the crop box from frame to frame, as a tracked face crop makes it.
    """

    picture_share: float = 0.1
    scale_low: float = 0.7
    scale_high: float = 1.25
    reverse: float = 0.5
    skip_share: float = 0.25
    jitter_share: float = 0.3
    jitter_px: float = 1.0
    light_share: float = 0.3
    noise_share: float = 0.3
    noise_high: float = 4.0
    still_share: float = 0.04

    def __post_init__(self) -> None:
        shares = (
            self.picture_share,
            self.reverse,
            self.skip_share,
            self.jitter_share,
            self.light_share,
            self.noise_share,
            self.still_share,
        )
        if not all(0 <= share <= 1 for share in shares) or not self.jitter_px >= 0:
            raise ValueError("augmentation: shares and reverse must be in 0..1, jitter_px 0 or more")
        if not 0 < self.scale_low <= self.scale_high or not self.noise_high >= NOISE_LOW:
            raise ValueError(f"augmentation: scales must be above 0 and rise, noise_high at least {NOISE_LOW}")


class Taken(NamedTuple):
    """The next frames of every clip: frames uint8 RGB [count, B, S, S, 3]; starts bool [B], where a clip begins anew;
    places float32 [count, B, 3], the part of its file's picture that a frame shows: left, top and side, as shares of
    the picture, which is seen in a mirror where the frame is.
    """

    frames: np.ndarray
    starts: np.ndarray
    places: np.ndarray


@dataclass
class _Clip:
    """One running clip: a file, a way through it, a crop box that wanders and a camera."""

    frames: np.ndarray
    position: int
    direction: int
    stride: int
    left: int  # frames until it ends
    size: float  # side of the crop box in pixels of the file
    corner: np.ndarray  # (x, y) of the box
    drift: float  # pixels a frame
    velocity: np.ndarray
    flip: bool
    gain: np.ndarray
    gain_step: np.ndarray
    noise: float
    fresh: bool = True
    rng: np.random.Generator = field(default_factory=np.random.default_rng)

    def place(self) -> tuple[float, float, float]:
        """The part of the picture in the crop box: left, top, side, as shares of the picture's shorter side."""
        height, width = self.frames.shape[1:3]
        side = min(height, width)
        left = width - self.size - self.corner[0] if self.flip else self.corner[0]
        return float(left) / side, float(self.corner[1]) / side, self.size / side


class ClipPool:
    """`batch` running clips. Deterministic by seed; each clip ends after a length drawn log-uniformly."""

    def __init__(
        self,
        videos: Sequence[Item],
        pictures: Sequence[Item],
        *,
        batch: int,
        crop: int,
        lengths: tuple[int, int],
        augmentation: Augmentation,
        seed: int,
        short: int = 0,
    ) -> None:
        """`short`: how many of the clips, the first ones, end after one frame, so with the window they begin in.

        Raises UsageError without any video or picture.
        """
        self.videos, self.pictures = list(videos), list(pictures)
        if not self.videos and not self.pictures:
            raise UsageError("no videos and no pictures to train on: name some under [data] in the schedule")
        self.weights = item_weights(self.videos) if self.videos else np.zeros(0)
        counts = np.array([len(p.frames) for p in self.pictures], np.float64)
        self.picture_weights = counts / counts.sum() if counts.size else counts
        self.crop, self.lengths, self.augmentation = crop, lengths, augmentation
        self.short = short
        self.rng = np.random.default_rng(seed)
        self.clips = [self._draw(index) for index in range(batch)]
        for clip in self.clips:  # so that they do not all end together
            clip.left = int(self.rng.integers(1, clip.left + 1))

    def _draw(self, index: int) -> _Clip:
        rng, a = self.rng, self.augmentation
        still = rng.random() < a.still_share
        from_pictures = not self.videos or (bool(self.pictures) and rng.random() < a.picture_share)
        if from_pictures:
            item = self.pictures[rng.choice(len(self.pictures), p=self.picture_weights)]
        else:
            item = self.videos[rng.choice(len(self.videos), p=self.weights)]
        start = int(rng.integers(len(item.frames)))
        frames = item.frames[start : start + 1] if from_pictures or still else item.frames
        height, width = frames.shape[1:3]
        # A crop of self.crop pixels shows the part of the picture that 192 pixels would show of the whole face box.
        size = min(height, width) * self.crop / 192 * np.exp(rng.uniform(np.log(a.scale_low), np.log(a.scale_high)))
        size = float(np.clip(size, 0.3 * min(height, width), min(height, width)))
        moving = (from_pictures and not still) or rng.random() < a.jitter_share
        light = rng.random() < a.light_share
        low, high = (1, 1) if index < self.short else self.lengths
        return _Clip(
            frames=frames,
            position=0 if len(frames) == 1 else start,
            direction=-1 if rng.random() < a.reverse else 1,
            stride=int(rng.integers(2, 4)) if rng.random() < a.skip_share else 1,
            left=int(np.exp(rng.uniform(np.log(low), np.log(high + 1)))),
            size=size,
            corner=np.array([rng.uniform(0, width - size), rng.uniform(0, height - size)]),
            drift=float(rng.exponential(a.jitter_px)) if moving and not still else 0.0,
            velocity=np.zeros(2),
            flip=bool(rng.random() < 0.5),
            gain=np.exp(rng.normal(0, 0.12, 1) + rng.normal(0, 0.04, 3)) if light else np.ones(3),
            gain_step=np.exp(rng.normal(0, 0.002, 3) + rng.normal(0, 0.003)) if light else np.ones(3),
            noise=float(rng.uniform(NOISE_LOW, a.noise_high)) if rng.random() < a.noise_share else 0.0,
            rng=np.random.default_rng(rng.integers(2**63)),
        )

    def restart(self, index: int) -> None:
        """End a clip now; a new one takes its place with the next frames."""
        self.clips[index].left = 0

    def take(self, count: int) -> Taken:
        """The next `count` frames of every clip."""
        for index, clip in enumerate(self.clips):
            if clip.left <= 0:
                self.clips[index] = self._draw(index)
        starts = np.array([clip.fresh for clip in self.clips])
        out = np.empty((count, len(self.clips), self.crop, self.crop, 3), np.uint8)
        places = np.empty((count, len(self.clips), 3), np.float32)
        for index, clip in enumerate(self.clips):
            for k in range(count):
                out[k, index] = self._next(clip)
                places[k, index] = clip.place()
            clip.fresh = False
        return Taken(out, starts, places)

    def _next(self, clip: _Clip) -> np.ndarray:
        frame = clip.frames[clip.position]
        count = len(clip.frames)
        if count > 1:
            step = clip.position + clip.direction * clip.stride
            if not 0 <= step < count:  # played back and forth
                clip.direction = -clip.direction
                step = min(max(clip.position + clip.direction * clip.stride, 0), count - 1)
            clip.position = step
        clip.left -= 1
        if clip.drift:
            clip.velocity = 0.8 * clip.velocity + clip.rng.normal(0, 0.6 * clip.drift, 2)
            limit = np.array([frame.shape[1], frame.shape[0]]) - clip.size
            clip.corner = np.clip(clip.corner + clip.velocity, 0, limit)
        scale = clip.size / self.crop
        x, y = clip.corner
        matrix = np.array([[scale, 0, x + 0.5 * scale - 0.5], [0, scale, y + 0.5 * scale - 0.5]])
        if clip.flip:
            matrix = np.array([[-scale, 0, x + clip.size - 0.5 * scale - 0.5], matrix[1]])
        picture = cv2.warpAffine(
            np.ascontiguousarray(frame),
            matrix,
            (self.crop, self.crop),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if clip.noise == 0 and (clip.gain == 1).all():
            return picture
        values: np.ndarray = picture.astype(np.float32)
        if (clip.gain != 1).any():
            values *= clip.gain.astype(np.float32)
            clip.gain = np.clip(clip.gain * clip.gain_step, 0.6, 1.6)
        if clip.noise:
            # Shot noise grows with the square root of the light, read noise does not; sensors are noisier in blue
            # and red, and their denoising leaves it correlated over about a pixel.
            grain: np.ndarray = clip.rng.standard_normal(values.shape, dtype=np.float32)
            grain = 0.7 * grain + 0.7 * cv2.GaussianBlur(grain, (3, 3), 0.7)
            values += grain * (clip.noise * (0.4 + 0.6 * np.sqrt(values.clip(0, 255) / 255)))
        return np.clip(values + 0.5, 0, 255).astype(np.uint8)
