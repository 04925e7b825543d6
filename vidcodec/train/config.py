"""A training run as data: one TOML file of stages, read into frozen records."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from vidcodec.errors import InputError, UsageError, reason_of
from vidcodec.networks.config import LEVELS, ModelConfig
from vidcodec.train.data import Augmentation
from vidcodec.train.perceptual import PerceptualConfig

T = TypeVar("T")


@dataclass(frozen=True)
class DataConfig:
    """Where the frames are: folders, files or patterns; `cache` is where they are kept decoded."""

    videos: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    dev: tuple[str, ...] = ()
    cache: str = "cache"


@dataclass(frozen=True)
class Stage:
    """A stretch of the schedule.

    steps: optimiser steps. crop: pixels, a multiple of 64. batch: running clips (each rank has its own).
    window: frames back-propagated through at a time; the state runs on from step to step.
    lengths: shortest and longest run from a blank state, in frames.
    short_share: share of the running clips that end with their first window, so that frames without a reference, which
    a call begins and recovers with, are met often enough to be learned.
    lr, lr_end: learning rate at the start and end of the stage, cosine between them. warmup: steps of linear rise.
    quality_low, quality_high: range that a clip's quality is drawn from.
    quality_skew: exponent of that draw: 1 for even, 2 puts half of the clips into the lowest quarter of the range.
    quality_wander: standard deviation of its change from window to window.
    context_weight: weight of the error of a prediction beside that of the picture, from a window's second frame on.
    soft_rate: weight of the rate that y is charged for itself, which the choice of symbols charges it for once more.
    rate_from: weight of the rate at the start of the stage, rising to 1 over `rate_ramp` steps.
    lost_share: probability that a frame is predicted from the state before the last one, as after a loss.
    """

    steps: int
    name: str = ""
    crop: int = 128
    batch: int = 8
    window: int = 3
    lengths: tuple[int, int] = (6, 400)
    short_share: float = 0.25
    lr: float = 8e-4
    lr_end: float = 8e-4
    warmup: int = 0
    quality_low: float = 0.0
    quality_high: float = LEVELS - 1.0
    quality_skew: float = 1.0
    quality_wander: float = 2.0
    context_weight: float = 1.0
    soft_rate: float = 1.0
    rate_from: float = 1.0
    rate_ramp: int = 1
    lost_share: float = 0.03

    def __post_init__(self) -> None:
        if self.crop % 64 or self.crop < 64 or self.steps < 1 or self.batch < 1 or self.window < 1:
            raise ValueError(f"stage {self.name!r}: crop must be a multiple of 64, steps, batch and window at least 1")
        if len(self.lengths) != 2 or not 1 <= self.lengths[0] <= self.lengths[1]:
            raise ValueError(f"stage {self.name!r}: lengths must be two, at least 1, the longer one last")
        if not (0 < self.lr <= 1 and 0 <= self.lr_end <= 1 and self.warmup >= 0):
            raise ValueError(f"stage {self.name!r}: lr and lr_end must be in 0..1, warmup 0 or more")
        if not 0 <= self.quality_low <= self.quality_high < LEVELS or not self.quality_skew > 0:
            raise ValueError(
                f"stage {self.name!r}: quality_low and quality_high must rise within 0..{LEVELS - 1}, "
                "quality_skew be above 0"
            )
        if not (0 <= self.short_share <= 1 and 0 <= self.lost_share <= 1 and self.quality_wander >= 0):
            raise ValueError(f"stage {self.name!r}: shares must be in 0..1, quality_wander 0 or more")


@dataclass(frozen=True)
class ScoreConfig:
    """Scoring on development clips: how often (steps), how many frames of each, at which qualities."""

    every: int = 1500
    frames: int = 24
    qualities: tuple[int, ...] = (12, 28, 44, 60)


@dataclass(frozen=True)
class RunConfig:
    """Everything that a run depends on."""

    stages: tuple[Stage, ...]
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    seed: int = 0
    threads: int = 1
    device: str = "auto"
    autocast: str = "bf16"
    compile: bool = False
    ema: float = 0.999
    clip_norm: float = 1.0
    linear_lr: float = 0.3
    start: str = ""
    checkpoint_every_s: float = 120.0

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[int, Stage, int]:
        """Number of the stage, the stage, and the step within it; the last stage once all are done."""
        for number, stage in enumerate(self.stages):
            if step < stage.steps:
                return number, stage, step
            step -= stage.steps
        return len(self.stages) - 1, self.stages[-1], self.stages[-1].steps


def load_config(path: Path, data: Path | None = None, cache: Path | None = None) -> RunConfig:
    """Read a run from a TOML file: top-level settings, [data], [model], [augmentation], [score],
    [perceptual] and [[stage]]s.

    Relative sources are looked up in `data` if it is given; `cache` replaces the cache folder of the file.
    Raises InputError when it cannot be read or is no TOML, UsageError when it holds a name that no record has.
    """
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = reason_of(error, "not text")
        raise InputError(f"--config {path}: {why}; give a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"--config {path}: not TOML: {error}") from error
    try:
        config = config_from_dict(raw)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error
    sources = {
        name: tuple(str(data / s) if data else s for s in getattr(config.data, name))
        for name in ("videos", "pictures", "dev")
    }
    return replace(config, data=DataConfig(**sources, cache=str(cache or config.data.cache)))


def config_from_dict(raw: Mapping[str, Any]) -> RunConfig:
    """Inverse of the TOML layout; raises ValueError or TypeError on unknown names and wrong values."""
    values = dict(raw)
    stages = tuple(_record(Stage, stage) for stage in values.pop("stage", []))
    if not stages:
        raise ValueError("a run needs at least one [[stage]]")
    parts: dict[str, Any] = {
        "data": _record(DataConfig, values.pop("data", {})),
        "model": ModelConfig.from_dict(_typed(ModelConfig, values.pop("model", {}))),
        "augmentation": _record(Augmentation, values.pop("augmentation", {})),
        "score": _record(ScoreConfig, values.pop("score", {})),
        "perceptual": _record(PerceptualConfig, values.pop("perceptual", {})),
    }
    config = _record(RunConfig, {**values, **parts, "stages": stages})
    if config.autocast not in ("bf16", "fp32") or config.device not in ("auto", "cpu", "cuda") or config.threads < 1:
        raise ValueError("autocast must be bf16 or fp32, device auto, cpu or cuda, threads at least 1")
    if config.seed < 0 or not 0 <= config.ema < 1 or not config.clip_norm > 0 or not 0 <= config.linear_lr <= 1:
        raise ValueError("seed must be 0 or more, ema 0 or more and less than 1, clip_norm above 0, linear_lr in 0..1")
    if config.score.every < 1 or config.score.frames < 1 or not config.score.qualities:
        raise ValueError("score: every and frames must be at least 1, and qualities name one")
    if not all(0 <= quality < LEVELS for quality in config.score.qualities):
        raise ValueError(f"score: qualities must be 0 to {LEVELS - 1}")
    return config


def _record(kind: type[T], values: Mapping[str, Any]) -> T:
    unknown = set(values) - {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"unknown settings {sorted(unknown)} for {kind.__name__}")
    return kind(**_typed(kind, values))


def _typed(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with lists as tuples; raises ValueError where one is of another kind than the record's default."""
    typed = {k: tuple(v) if isinstance(v, list) else v for k, v in dict(values).items()}
    for entry in fields(kind):
        if entry.default is not MISSING and not _alike(typed.get(entry.name, entry.default), entry.default):
            raise ValueError(f"{entry.name} = {values[entry.name]!r}: must be like {entry.default!r}")
    return typed


def _alike(value: Any, example: Any) -> bool:
    if isinstance(example, tuple):
        each = example[0] if example else ""
        return isinstance(value, tuple) and all(_alike(one, each) for one in value)
    if type(example) is float:
        return type(value) in (int, float)
    return type(value) is type(example)
