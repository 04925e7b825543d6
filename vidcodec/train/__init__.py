"""Training: from videos and pictures to weights. `python -m vidcodec train --config FILE.toml`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vidcodec train",
        description="Train a codec from folders of videos and pictures. A run lives in one folder and goes on from its "
        "last checkpoint when it is started again.",
    )
    parser.add_argument("--model", choices=("s", "seed", "gdn"), default="s", help="what to train (default: s)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the schedule, a TOML file")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder that relative sources of the config lie in")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where decoded frames are kept")
    parser.add_argument("--run", type=Path, metavar="DIR", help="folder of the run (default: runs/NAME of the config)")
    parser.add_argument("--export", type=Path, metavar="DIR", help="turn the best weights of a run into a weights file")
    parser.add_argument("--out", type=Path, metavar="STEM", help="with --export: where to, without the ending")
    return parser


def main(argv: Sequence[str]) -> int:
    """The `train` command; returns the exit status."""
    options, others = _parser().parse_known_args(list(argv))
    if options.model != "s":
        from vidcodec.train import autoencoder

        return int(autoencoder.main(argv))
    from vidcodec.cli import run
    from vidcodec.errors import UsageError

    def body(_argv: Sequence[str] | None) -> int:
        if others:
            raise UsageError(f"unknown option {others[0]}; see vidcodec train --help")
        if options.export:
            from vidcodec.train.export import export

            if options.out is None:
                raise UsageError("--export needs --out STEM, such as --out weights/s")
            print(export(options.export, options.out))
            return 0
        if options.config is None:
            raise UsageError("give --config FILE, or --export DIR --out STEM")
        from vidcodec.train.config import load_config
        from vidcodec.train.loop import Trainer

        folder = options.run or Path("runs") / options.config.stem
        config = load_config(options.config, options.data, options.cache)
        trainer = Trainer(config, folder, lambda line: print(line, flush=True))
        print(f"best score {trainer.train():.4f}")
        return 0

    return run(body, argv)
