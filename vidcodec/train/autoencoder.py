"""Training of the still-picture autoencoders, `seed` and `gdn`, on portraits.

    python -m vidcodec train --model seed --data 'stills/train_*.mp4' --out weights/seed.safetensors

`seed` learns from MSE alone, as the source paper did, on its latents as they are and on the same latents with uniform
noise of a random step, which stands for quantisation. `gdn` adds the rate, weighted by the square of the step, so that
one network serves every quality (high-resolution theory: distortion falls as step^2 / 12 and 6 dB a bit).
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vidcodec.cli import run
from vidcodec.errors import InputError, UsageError
from vidcodec.report import check_writable
from vidcodec.settings import parse_words
from vidcodec.stills import LOWEST_SYMBOL, STILL_MODELS
from vidcodec.train.cache import Item, open_cache
from vidcodec.weights import load_weights, save_weights

TABLE_TOTAL = 1 << 16
CALIBRATION_PICTURES = 512


@dataclass(frozen=True)
class Recipe:
    """What is fixed for one model.

    Attributes:
        steps: step size of each quality, coarse to fine.
        rate_weight: weight of bits a pixel against MSE / step^2; 0 where the model knows no rate.
    """

    steps: tuple[float, ...]
    rate_weight: float


RECIPES = {
    "seed": Recipe((2.4, 1.7, 1.2, 0.85, 0.6, 0.42, 0.3, 0.21), 0.0),
    "gdn": Recipe((4.0, 2.8, 2.0, 1.4, 1.0, 0.7, 0.5, 0.35), 1.0e-3),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `train --model seed|gdn`."""
    parser.add_argument("--model", choices=STILL_MODELS, required=True, help="what to train")
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="DIR|FILE",
        help="videos or folders of portraits, one person a frame",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="safetensors file to write; the card goes beside it"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("runs/cache"),
        metavar="DIR",
        help="folder for decoded frames (default: %(default)s)",
    )
    parser.add_argument("--minutes", type=float, default=20.0, metavar="N", help="time to train (default: %(default)g)")
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="pictures a step (default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=1.5e-3, metavar="R", help="peak learning rate (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of everything random (default: %(default)s)"
    )
    parser.add_argument("--start", type=Path, metavar="FILE", help="weights to go on from, instead of from nothing")
    parser.add_argument("--terms", default="", help="terms of the data, for the model card")


class Portraits:
    """Random crops of portraits, `[B, 3, size, size]` float32 in [0, 1]."""

    def __init__(self, items: Sequence[Item], seed: int) -> None:
        self._pictures = [(item.frames, index) for item in items for index in range(len(item.frames))]
        if not self._pictures:
            raise InputError("no portraits in the training data")
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self._pictures)

    def batch(self, count: int, size: int) -> Tensor:
        """Crops from pictures scaled by 0.6 to 1, half of them mirrored."""
        crops = np.empty((count, size, size, 3), np.float32)
        for slot in range(count):
            frames, index = self._pictures[self._random.integers(len(self._pictures))]
            picture = frames[index]
            side = min(picture.shape[:2])  # a small picture is enlarged
            window = int(self._random.uniform(min(size, side), side + 1))
            top = self._random.integers(picture.shape[0] - window + 1)
            left = self._random.integers(picture.shape[1] - window + 1)
            crop = resize(picture[top : top + window, left : left + window], size)
            crops[slot] = crop[:, ::-1] if self._random.random() < 0.5 else crop
        return torch.from_numpy(crops).permute(0, 3, 1, 2).div_(255)

    def whole(self, count: int, size: int) -> Tensor:
        """`count` whole pictures, evenly spread over the data."""
        chosen = np.linspace(0, len(self._pictures) - 1, min(count, len(self._pictures))).astype(int)
        pictures = np.stack([resize(self._pictures[i][0][self._pictures[i][1]], size) for i in chosen])
        return torch.from_numpy(pictures.astype(np.float32)).permute(0, 3, 1, 2).div_(255)


def resize(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """A square picture brought to `size` pixels a side, by area when it shrinks."""
    import cv2

    if picture.shape[:2] == (size, size):
        return picture
    how = cv2.INTER_AREA if picture.shape[0] > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (size, size), interpolation=how), np.uint8)


def count_tables(latents: NDArray[np.float32], steps: Sequence[float]) -> NDArray[np.int32]:
    """Integer tables `[len(steps) * C, symbols]` counted on latents `[N, C, h, w]`.

    Each channel and step codes the symbols seen in training and two more on each side; what lies beyond is clipped.
    Rare symbols keep at least one count, and a wide kernel fills the gaps that a finite sample leaves.
    """
    columns = 1 - 2 * LOWEST_SYMBOL
    tables = np.zeros((len(steps) * latents.shape[1], columns), np.int32)
    kernel = np.array([0.01, 0.03, 0.92, 0.03, 0.01])
    for row, (step, channel) in enumerate((s, c) for s in steps for c in range(latents.shape[1])):
        symbols = np.clip(np.rint(latents[:, channel] / step), LOWEST_SYMBOL, -LOWEST_SYMBOL).astype(int).ravel()
        counts = np.bincount(symbols - LOWEST_SYMBOL, minlength=columns)
        used = np.flatnonzero(counts)
        low, high = max(used[0] - 2, 0), min(used[-1] + 2, columns - 1)
        share = np.convolve(counts / counts.sum(), kernel, "same")[low : high + 1]
        tables[row, low : high + 1] = np.maximum(1, np.round(share * TABLE_TOTAL))
    return tables


def train(options: argparse.Namespace) -> None:
    """Train for `options.minutes`, count the tables and write weights and card.

    The learning rate follows the clock (a short rise, then a cosine to zero), so that any budget ends well.
    """
    recipe = RECIPES[options.model]
    torch.manual_seed(options.seed)
    portraits = Portraits(open_cache(options.data, options.cache, ordered=False), options.seed)
    net = import_module(f"vidcodec.networks.{options.model}").build()
    before = 0
    if options.start:
        weights = load_weights(options.model, options.start)
        net.load_state_dict({k[4:]: torch.from_numpy(v.copy()) for k, v in weights.arrays.items() if k[:4] == "net."})
        before = int(weights.card.get("training", {}).get("steps", 0))
    optimiser = torch.optim.Adam(net.parameters(), lr=options.rate)
    steps = torch.tensor(recipe.steps)
    start, count, told, mean_loss = time.monotonic(), 0, 0.0, 0.0
    while (done := (time.monotonic() - start) / (60 * options.minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = options.rate * min(1, count / 100) * 0.5 * (1 + np.cos(np.pi * done)) + 1e-6
        x = portraits.batch(options.batch, 128).contiguous(memory_format=torch.channels_last)
        y = net.analysis(x)
        step = steps[torch.randint(len(steps), (len(x), 1, 1, 1))]
        noisy = y + (torch.rand_like(y) - 0.5) * step
        if recipe.rate_weight:
            error = (net.synthesis(noisy) - x).square().mean((1, 2, 3), keepdim=True)
            # Dividing by the step's own distortion lets fine and coarse steps pull equally.
            loss = (error / step.square()).mean() + recipe.rate_weight * net.rate(noisy, step) / x[0, 0].numel()
        else:
            loss = F.mse_loss(net.synthesis(y), x) + 0.1 * F.mse_loss(net.synthesis(noisy), x)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        count += 1
        mean_loss = float(loss.detach()) if count == 1 else 0.98 * mean_loss + 0.02 * float(loss.detach())
        if done - told > 0.02:
            told = done
            print(f"{100 * done:3.0f} %  step {count}  loss {mean_loss:.3e}", flush=True)
    net.eval()
    with torch.inference_mode():
        whole = portraits.whole(CALIBRATION_PICTURES, 192)
        latents = torch.cat([net.analysis(x) for x in whole.split(16)])
        error = torch.cat([(net.synthesis(net.analysis(x)).clamp(0, 1) - x).square() for x in whole.split(16)])
    arrays = {f"net.{k}": v.numpy() for k, v in net.state_dict().items()}
    arrays["steps"] = np.array(recipe.steps, np.float32)
    arrays["tables"] = count_tables(latents.numpy(), recipe.steps)
    card = {
        "model_id": options.model,
        "what": (import_module(f"vidcodec.networks.{options.model}").__doc__ or "").splitlines()[0],
        "data": f"{len(portraits)} portraits",
        "terms": options.terms,
        "training": {
            "steps": before + count,
            "batch": options.batch,
            "crop": 128,
            "rate": options.rate,
            "seed": options.seed,
        },
        "mse_training_before_quantisation": round(float(error.mean()), 7),
    }
    save_weights(options.out, arrays, card)
    print(f"wrote {options.out}: MSE {float(error.mean()):.2e} on training portraits before quantisation")


def main(argv: Sequence[str]) -> int:
    """`vidcodec train --model seed|gdn`; returns the exit status."""
    parser = argparse.ArgumentParser(prog="vidcodec train", description="Train a still-picture autoencoder.")
    add_options(parser)

    def body(words: Sequence[str] | None) -> int:
        options = parse_words(parser, words)
        for name in ("minutes", "batch"):
            if not 0 < getattr(options, name) < float("inf"):
                raise UsageError(f"--{name} {getattr(options, name):g}: must be above zero")
        check_writable(str(options.out), "--out")
        train(options)
        return 0

    return run(body, argv)
