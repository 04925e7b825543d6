"""Benchmarks: every figure of the README from one command, peers in the same run.

    python -m vidcodec bench rd|looks|speed|steady|latency|link|page|watch|ablate|paper|results

Each writes JSON, which `bench results` turns into docs/results.md and the README's table.
"""

from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "rd": "rate and distortion of every codec on clips, with BD-rate, tables and plots",
    "speed": "GMAC, milliseconds, GMAC/s and memory of every stage and peer",
    "looks": "codecs beside the original at one bitrate, as a picture",
    "steady": "what holds over time: endless clips, still scenes, the rate, precisions, few bits",
    "latency": "the loopback call, stage by stage",
    "link": "calls under delay, losses and narrow rates, beside VP8 and SVT-AV1",
    "page": "what a page and its viewers cost a call",
    "watch": "what decoding costs a browser",
    "ablate": "what each part of the learned codec is worth",
    "paper": "the source paper's table, and what it leaves out",
    "results": "docs/results.md and the README's table, written from what the others measured",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark; `argv` is what follows `bench`."""
    import sys
    from concurrent.futures import BrokenExecutor

    from vidcodec.cli import run
    from vidcodec.errors import VidcodecError

    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: vidcodec bench COMMAND [-h] ...\n\nTake the figures of the docs (docs/benchmarks.md).\n")
        print("commands (each explains itself: vidcodec bench COMMAND --help):")
        print("\n".join(f"  {name:8} {text}" for name, text in COMMANDS.items()))
        return 0 if arguments else 2
    name = arguments[0]
    if name not in COMMANDS:
        print(f"error: bench {name}: no such benchmark; choose from {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module = import_module(f"vidcodec.bench.{name}")

    def body(words: Sequence[str] | None) -> int:
        try:
            return int(module.main(words))
        except BrokenExecutor as error:
            raise VidcodecError(
                f"bench {name}: a process that measured was killed, perhaps for want of memory; run it again"
            ) from error

    return run(body, arguments[1:])
