"""Training: from videos and pictures to weights. `python -m vidcodec train --config FILE.toml`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vidcodec.settings import parse_words

EPILOG = """\
train:    vidcodec train --config vidcodec/train/schedules/s.toml --data DIR --cache DIR --run runs/s
go on:    the same command again
export:   vidcodec train --export runs/s --out weights/s
tables:   vidcodec train --refit weights/s.safetensors --config FILE --data DIR --cache DIR --out weights/s

The still-picture autoencoders have options of their own: vidcodec train --model seed --help. All about training:
docs/training.md."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vidcodec train",
        description="Train a codec from folders of videos and pictures. A run lives in one folder and goes on from\n"
        "its last checkpoint when it is started again.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", choices=("s", "seed", "gdn"), default="s", help="what to train (default: s)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the schedule, a TOML file")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder that relative sources of the config lie in (default: the current one)",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="where decoded frames are kept (default: what the config says)"
    )
    parser.add_argument("--run", type=Path, metavar="DIR", help="folder of the run (default: runs/NAME of the config)")
    parser.add_argument("--export", type=Path, metavar="DIR", help="turn the best weights of a run into a weights file")
    parser.add_argument(
        "--refit", type=Path, metavar="FILE", help="fit the entropy tables of a weights file to the schedule's videos"
    )
    parser.add_argument("--out", type=Path, metavar="STEM", help="with --export and --refit: where to, without ending")
    return parser


def _stem(out: Path) -> Path:
    """Where weights go, without ending; looked at before the hours whose fruit would be lost.

    Raises UsageError when it names no file, InputError when it cannot be written.
    """
    from vidcodec.errors import UsageError
    from vidcodec.report import check_writable

    stem = out.with_suffix("") if out.suffix == ".safetensors" else out
    if not stem.name:
        raise UsageError(f"--out {out}: names a folder; give the files' name, too, such as weights/s")
    check_writable(f"{stem}.safetensors", "--out")
    return stem


def main(argv: Sequence[str]) -> int:
    """The `train` command; returns the exit status."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--model", nargs="?")
    if first.parse_known_args(list(argv))[0].model in ("seed", "gdn"):
        from vidcodec.train import autoencoder

        return int(autoencoder.main(argv))
    from vidcodec.cli import run
    from vidcodec.errors import UsageError

    def body(words: Sequence[str] | None) -> int:
        options = parse_words(_parser(), words)
        for name in ("export", "refit"):
            if getattr(options, name) and options.out is None:
                raise UsageError(f"--{name} needs --out STEM, such as --out weights/s")
        if options.out is not None and (options.export or options.refit):
            options.out = _stem(options.out)
        if options.export:
            from vidcodec.train.export import export

            print(export(options.export, options.out))
            return 0
        if options.config is None:
            raise UsageError("say what to do: --config FILE to train, or --export DIR --out STEM; --help has examples")
        from vidcodec.train.config import load_config

        config = load_config(options.config, options.data, options.cache)
        if options.refit:
            from vidcodec.train.export import refit

            print(refit(options.refit, config, options.out))
            return 0
        from vidcodec.train.loop import Trainer

        folder = options.run or Path("runs") / options.config.stem
        trainer = Trainer(config, folder, lambda line: print(line, flush=True))
        trainer.say(f"best score {trainer.train():.4f}")
        return 0

    return run(body, argv)
