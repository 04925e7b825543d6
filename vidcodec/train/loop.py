"""The training loop: running clips, checkpoints, scores. One process or one of several under torchrun."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from vidcodec.errors import InputError, UsageError, VidcodecError
from vidcodec.networks.basis import transform_basis
from vidcodec.networks.model import Reference, VideoModel
from vidcodec.train.cache import open_cache
from vidcodec.train.checkpoint import Average, load_checkpoint, load_matching, save_checkpoint
from vidcodec.train.config import RunConfig, Stage
from vidcodec.train.data import ClipPool
from vidcodec.train.export import trained_weights
from vidcodec.train.log import RunLog, progress_line, writing
from vidcodec.train.optimise import Optimisers
from vidcodec.train.perceptual import Looks
from vidcodec.train.score import Point, score_of, score_points
from vidcodec.train.step import code_frame, find_motion, loss_of

RESTART_ERROR = 0.02  # a running clip whose MSE exceeds this has left the sane range


class Trainer:
    """One run in one folder. `train()` goes from the last checkpoint, if any, to the end of the schedule."""

    def __init__(self, config: RunConfig, folder: Path, say: Callable[[str], None]) -> None:
        self.config, self.folder = config, folder
        self.rank, self.world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.say = say if self.rank == 0 else lambda _line: None  # of several, the first one scores and speaks
        cuda = torch.cuda.is_available() and config.device != "cpu"
        if config.device == "cuda" and not cuda:
            raise UsageError('device = "cuda": no CUDA device here; write "auto" or "cpu"')
        if self.world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if cuda else "gloo")
        torch.set_num_threads(config.threads)
        cv2.setNumThreads(1)
        local = int(os.environ.get("LOCAL_RANK", "0"))
        self.device = torch.device(f"cuda:{local}" if cuda else "cpu")
        self.autocast = {"bf16": torch.bfloat16, "fp32": None}[config.autocast]
        torch.manual_seed(config.seed)
        self.model = VideoModel(config.model).to(self.device)
        self.model.start_from_basis(torch.from_numpy(transform_basis(config.model.latent)).to(self.device))
        if config.start:
            left = load_matching(self.model, _start_weights(Path(config.start)))
            self.say(f"started from {config.start}; {len(left)} tensors as initialised")
        self.optimiser = Optimisers(self.model, config.linear_lr)
        self.average = Average(self.model, config.ema)
        self.step, self.best, self.seconds = 0, math.inf, 0.0
        self.saved_s = time.monotonic()
        self.log = RunLog(folder)
        self.looks = Looks(config.perceptual)
        self.last = folder / "last.pt"
        if self.last.is_file():
            self._resume()
        if config.compile:
            self.model.analyse = torch.compile(self.model.analyse)  # type: ignore[method-assign]
            self.model.synthesise = torch.compile(self.model.synthesise)  # type: ignore[method-assign]
            self.model.scales.forward = torch.compile(self.model.scales.forward)  # type: ignore[method-assign]
        cache = config.data.cache
        self.videos = open_cache(config.data.videos, cache) if config.data.videos else []
        self.pictures = open_cache(config.data.pictures, cache, ordered=False) if config.data.pictures else []
        self.dev = open_cache(config.data.dev, cache) if config.data.dev else []

    def _resume(self) -> None:
        kept = load_checkpoint(self.last, self.device)
        try:
            self.model.load_state_dict(kept["model"])
            self.optimiser.load_state_dict(kept["optimiser"])
            self.average.weights = kept["average"]
            self.step, self.best, self.seconds = kept["step"], kept["best"], kept["seconds"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{self.last}: of a model of other sizes, or no run's; give another --run, or name it as `start`"
            ) from error
        self.say(f"resumed at step {self.step}")

    def save(self) -> None:
        """Write `last.pt`: everything that `train` needs to go on from here.

        Raises:
            VidcodecError: the weights are no numbers any more; `last.pt` stays as it was.
        """
        self.saved_s = time.monotonic()
        if not all(bool(torch.isfinite(weights).all()) for weights in self.model.parameters()):
            raise VidcodecError(
                f"the weights are no numbers any more at step {self.step}: lower the learning rate; what {self.last} "
                "held stays"
            )
        if self.rank == 0:
            save_checkpoint(
                self.last,
                {
                    "model": self.model.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                    "average": self.average.weights,
                    "step": self.step,
                    "best": self.best,
                    "seconds": self.seconds,
                    "sizes": json.dumps(self.config.model.to_dict()),
                },
            )

    def train(self) -> float:
        """Run to the end of the schedule; returns the best score."""
        if self.rank == 0:
            with writing(self.folder):
                (self.folder / "config.json").write_text(json.dumps(asdict(self.config), indent=1))
        while self.step < self.config.steps:
            number, stage, within = self.config.stage_at(self.step)
            self._run_stage(number, stage, within)
        self.save()
        return self.best

    def _run_stage(self, number: int, stage: Stage, within: int) -> None:
        """Run one stage from `within` to its end."""
        # The data of a run depend on the seed, the rank and where the run was taken up, nothing else.
        seeds = np.random.SeedSequence([self.config.seed, self.rank, self.step])
        pool_seed, own_seed = (int(s.generate_state(1)[0]) for s in seeds.spawn(2))
        rng = np.random.default_rng(own_seed)
        generator = torch.Generator(self.device).manual_seed(own_seed)
        pool = ClipPool(
            self.videos,
            self.pictures,
            batch=stage.batch,
            crop=stage.crop,
            lengths=stage.lengths,
            augmentation=self.config.augmentation,
            seed=pool_seed,
            short=round(stage.batch * stage.short_share),
        )
        state = self.model.blank(stage.batch, stage.crop, stage.crop, self.device)
        older = state
        quality = _draw_quality(stage, rng)
        phase = rng.integers(0, 64, stage.batch)
        recent: list[tuple[float, float, float]] = []
        said = time.monotonic()
        frames_since, seconds_since = 0, self.seconds
        for index in range(within, stage.steps):
            began = time.monotonic()
            frames, starts, places = pool.take(stage.window)
            drawn = _draw_quality(stage, rng)
            moved = np.clip(quality + rng.normal(0, stage.quality_wander, stage.batch), 0, stage.quality_high)
            quality = np.where(starts | (rng.random(stage.batch) < 0.02), drawn, moved)
            self._set_rate(stage, index)
            ramp = min(1.0, index / max(1, stage.rate_ramp))
            rate_weight = (stage.rate_from + (1 - stage.rate_from) * ramp) / self.config.perceptual.scale
            intra = torch.from_numpy(starts)
            state = self._blank_where(state, intra.to(self.device))
            lost = rng.random(stage.batch) < stage.lost_share
            state, older = self._swap(state, older, torch.from_numpy(lost & ~starts).to(self.device)), state
            seen = self.looks.chosen(stage.window, rng)
            total, bits, error = torch.zeros((), device=self.device), 0.0, 0.0
            for k in range(stage.window):
                first = starts if k == 0 else np.zeros_like(starts)
                sizes = self.config.model
                now = np.array([sizes.level(*v) for v in zip(quality, phase, first, strict=True)])
                phase = phase + 1
                weights = np.array([sizes.weight(level) for level in now])
                vectors = find_motion(frames[k], state.picture, first, weights).to(self.device)
                x = torch.from_numpy(frames[k]).to(self.device).permute(0, 3, 1, 2).float() / 255
                shape = (stage.batch, self.config.model.latent, stage.crop // 16, stage.crop // 16)
                noise = torch.rand(shape, generator=generator, device=self.device) - 0.5
                emphasis = self.looks.emphasis(places[k], stage.crop)
                if emphasis is not None:
                    emphasis = emphasis.to(self.device)
                result = code_frame(
                    self.model,
                    x,
                    state,
                    vectors,
                    torch.from_numpy(first).to(self.device),
                    quality=torch.from_numpy(now).to(self.device, torch.float32),
                    noise=noise,
                    autocast=self.autocast,
                    emphasis=emphasis,
                )
                state = result.state
                weight = torch.from_numpy(weights).to(self.device, torch.float32)
                context_weight = stage.context_weight if k else 0.0
                looks = None
                if k in seen:
                    looks = self.looks.loss(state.picture, x, seen[k], emphasis=emphasis, autocast=self.autocast)
                loss = loss_of(
                    result,
                    weight,
                    rate_weight=rate_weight,
                    soft_rate=stage.soft_rate,
                    context_weight=context_weight,
                    looks=looks,
                )
                total = total + loss / stage.window
                bits += float(result.bits.mean().detach()) / stage.crop**2 / stage.window
                error += float(result.error.log10().mean().detach()) / stage.window
            self._descend(total)
            state = Reference(*(t.detach() for t in state))
            for slot in astray(result.error):
                pool.restart(slot)
            self.step += 1
            self.seconds += time.monotonic() - began
            frames_since += stage.window * stage.batch * self.world
            recent.append((float(total.detach()), bits, -10 * error))
            if time.monotonic() - said > 15 or index + 1 == stage.steps:
                speed = frames_since / max(1e-9, self.seconds - seconds_since)
                self._report(stage, np.mean(recent, 0), speed)
                recent, frames_since, seconds_since, said = [], 0, self.seconds, time.monotonic()
            if self.step % self.config.score.every == 0 or self.step == self.config.steps:
                self.score()
            if time.monotonic() - self.saved_s > self.config.checkpoint_every_s:
                self.save()
        self.say(f"stage {number} ({stage.name or 'unnamed'}) done at step {self.step}")

    def _blank_where(self, state: Reference, blank: Tensor) -> Reference:
        height, width = state.picture.shape[2:]
        empty = self.model.blank(len(blank), height, width, self.device)
        return self._swap(state, empty, blank)

    @staticmethod
    def _swap(state: Reference, other: Reference, where: Tensor) -> Reference:
        mask = where[:, None, None, None]
        return Reference(*(torch.where(mask, b, a) for a, b in zip(state, other, strict=True)))

    def _set_rate(self, stage: Stage, index: int) -> None:
        t = index / max(1, stage.steps)
        rate = stage.lr_end + (stage.lr - stage.lr_end) * 0.5 * (1 + math.cos(math.pi * t))
        rate *= min(1.0, (index + 1) / max(1, stage.warmup))
        self.optimiser.set_rate(rate)

    def _descend(self, loss: Tensor) -> None:
        """Back-propagate and take a step; a loss that is not finite is skipped."""
        self.optimiser.zero_grad()
        loss.backward()
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        if self.world > 1:
            for gradient in (p.grad for p in parameters if p.grad is not None):
                dist.all_reduce(gradient)
                gradient.div_(self.world)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.clip_norm)
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
            self.average.update(self.model, self.step)

    def _report(self, stage: Stage, means: np.ndarray, speed: float) -> None:
        loss, bpp, psnr = (float(v) for v in means)
        left_s = (self.config.steps - self.step) * stage.window * stage.batch * self.world / max(speed, 1e-9)
        if self.rank == 0:
            self.log.add(
                "step",
                step=self.step,
                loss=loss,
                bpp=bpp,
                psnr_db=psnr,
                frames_per_s=speed,
                seconds=self.seconds,
                lr=self.optimiser.rate,
            )
            self.say(progress_line(self.step, self.config.steps, speed, left_s, loss=loss, bpp=bpp, psnr_db=psnr))

    def _lpips(self, points: list[Point], quality: int) -> float:
        """Mean LPIPS of the points at a quality."""
        return float(np.mean([p.looks for p in points if p.quality == quality])) / self.config.perceptual.weight

    def score(self) -> None:
        """Score the averaged weights on the development clips; keep them as `best.pt` if they are the best so far."""
        if self.rank != 0 or not self.dev:
            return
        judged = VideoModel(self.config.model).to(self.device)
        judged.load_state_dict(self.average.weights)
        judged.eval()
        looks = self.looks if self.config.perceptual.weight else None
        points = score_points(
            judged,
            self.dev,
            self.config.score.qualities,
            self.config.score.frames,
            autocast=self.autocast,
            looks=looks,
        )
        score = score_of(points)
        by_quality = {
            str(q): [
                float(np.mean([p.bits for p in points if p.quality == q])),
                float(np.mean([-10 * math.log10(p.error) for p in points if p.quality == q])),
                *([self._lpips(points, q)] if looks else []),
            ]
            for q in self.config.score.qualities
        }
        self.log.add("score", step=self.step, score=score, seconds=self.seconds, by_quality=by_quality)
        shown = "  ".join(
            f"q{q} {b:.0f}b {d:.2f}dB" + "".join(f" LPIPS {v:.4f}" for v in rest)
            for q, (b, d, *rest) in by_quality.items()
        )
        self.say(f"score {score:.4f} at step {self.step} after {self.seconds:.0f} s: {shown}")
        if score < self.best:
            self.best = score
            save_checkpoint(
                self.folder / "best.pt",
                {
                    "average": self.average.weights,
                    "step": self.step,
                    "score": score,
                    "seconds": self.seconds,
                    "sizes": json.dumps(self.config.model.to_dict()),
                },
            )
            # A run taken up from before this score would not know it, and would put something worse in its place.
            self.save()
        self.log.draw()


def astray(error: Tensor) -> list[int]:
    """Running clips to begin anew, by their MSE [batch]; one that is no number would spoil every step till its end."""
    return torch.nonzero(~(error.detach() <= RESTART_ERROR)).flatten().tolist()


def _draw_quality(stage: Stage, rng: np.random.Generator) -> np.ndarray:
    """A quality for each clip, float64 [batch]."""
    drawn = rng.random(stage.batch) ** stage.quality_skew
    values: np.ndarray = stage.quality_low + (stage.quality_high - stage.quality_low) * drawn
    return values


def _start_weights(path: Path) -> dict[str, Tensor]:
    """Weights to begin from: of another run's checkpoint, or of a weights file."""
    if path.suffix == ".safetensors":
        return trained_weights(path)
    weights: dict[str, Tensor] = load_checkpoint(path)["average"]
    return weights
