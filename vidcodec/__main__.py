"""`python -m vidcodec COMMAND`: hands on to a command, whose module is imported only then."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from vidcodec.cli import run
from vidcodec.errors import UsageError

COMMANDS = {
    "encode": ("vidcodec.files", "encode_main", "video in, .vdc stream out"),
    "decode": ("vidcodec.files", "decode_main", ".vdc stream in, video or pictures out"),
    "info": ("vidcodec.files", "info_main", "frames, bits and quality of a .vdc stream; checks every packet"),
    "bench": (
        "vidcodec.bench",
        "main",
        "every figure of the docs: rd, paper, looks, speed, steady, latency, link, page, watch, ablate, results",
    ),
    "export-web": ("vidcodec.watch.export", "main", "what `python -m sender --watch` serves to browsers"),
    "train": ("vidcodec.train", "main", "train a model from videos and portraits"),
}


def _usage() -> str:
    lines = "\n".join(f"  {name:12}{what}" for name, (_, _, what) in COMMANDS.items())
    return (
        "usage: vidcodec COMMAND [-h] ...\n\nReal-time neural video for calls.\n\n"
        f"commands (each explains itself: vidcodec COMMAND --help):\n{lines}\n\n"
        "Calls are made by `python -m sender` and `python -m receiver`.\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    return run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_usage(), end="")
        return 0 if words else 2
    if words[0] == "--version":
        from vidcodec import __version__

        print(__version__)
        return 0
    if words[0] not in COMMANDS:
        raise UsageError(f"no command {words[0]!r}; choose {', '.join(COMMANDS)}")
    module, function, _ = COMMANDS[words[0]]
    body: Callable[[Sequence[str] | None], int] = getattr(import_module(module), function)
    return body(words[1:])


if __name__ == "__main__":
    raise SystemExit(main())
