"""`bench results`: docs/results.md and the README's table, from the JSON that the benchmarks wrote. Nothing by hand.

python -m vidcodec bench rd --clips DIR --out bench-out          (and paper, speed, steady, latency, link)
python -m vidcodec bench results --take bench-out
"""

import argparse
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vidcodec.bench import latency, link, linkpackets, paper, rd, soak, speed, steady
from vidcodec.bench.summary import against
from vidcodec.bench.tables import bits_words, mse_text, number, short_table, spread
from vidcodec.errors import InputError, UsageError, reason_of
from vidcodec.settings import parse_words

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
TAKEN = (
    "rd.json",
    "speed.json",
    "steady.json",
    "paper.json",
    "latency.json",
    "calls.json",
    "soak.json",
    "link.json",
    "rd_main.png",
    "latency.png",
)
README_CODECS = ("s", "seed", "svtav1", "x265-medium", "vp9", "x264-veryfast", "vp8", "vp8@2")
OPPONENT = "svtav1"
FPS = 30

Result = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="vidcodec bench results", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--docs", type=Path, default=Path("docs"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--readme", type=Path, default=Path("README.md"), metavar="FILE", help="default: %(default)s")
    parser.add_argument("--take", type=Path, metavar="DIR", help="first copy what the benchmarks wrote there")
    parser.add_argument("--check", action="store_true", help="write nothing; end with 3 if a file is out of date")
    options = parse_words(parser, argv)
    folder = options.docs / "results"
    if options.check and options.take:
        raise UsageError("--check and --take exclude each other: give one")
    if options.take:
        take(options.take, folder)
    results = read_results(folder)
    pages = {
        options.docs / "results.md": page(results),
        options.readme: fill(_read(options.readme), readme_block(results)),
    }
    stale = [path for path, text in pages.items() if not path.exists() or _read(path) != text]
    if options.check:
        if stale:
            raise InputError(f"{', '.join(map(str, stale))}: not what the JSON says; run 'make results'")
        print("up to date")
        return 0
    for path in stale:
        with _writing(path):
            path.write_text(pages[path], "utf-8")
        print(f"written: {path}")
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason_of(error)})") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({reason_of(error)})") from error


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Raises InputError where a result does not hold what a page is made of."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{name}.json: not of this version ({error}); run 'bench {name}' again") from error


def take(source: Path, folder: Path) -> None:
    """Copy results and the two plots that the pages show.

    Raises:
        InputError: nothing to take.
    """
    found = [source / name for name in TAKEN if (source / name).exists()]
    if not found:
        raise InputError(f"--take {source}: none of {', '.join(TAKEN)} in there")
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path in found:
            shutil.copyfile(path, folder / path.name)


def read_results(folder: Path) -> dict[str, Result]:
    """Every JSON of `TAKEN` that is there, by its name without ending.

    Raises:
        InputError: one is no JSON.
    """
    results: dict[str, Result] = {}
    for name in TAKEN:
        path = folder / name
        if path.suffix == ".json" and path.exists():
            try:
                results[path.stem] = json.loads(_read(path))
            except ValueError as error:
                raise InputError(f"{path}: not JSON ({error})") from error
    return results


def fill(text: str, block: str) -> str:
    """The page with `block` between its markers.

    Raises:
        InputError: the markers are not there, once each and in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"README: needs the lines {BEGIN} and {END}, once each")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{block}{END}{rest.split(END)[1]}"


def readme_block(results: dict[str, Result]) -> str:
    """What the README says about quality, rate, time and delay."""
    parts = []
    for name, write in (("rd", _rd_words), ("paper", _paper_words), ("latency", _latency_words)):
        if name in results:
            with _reading(name):
                parts.append(write(results[name]))
    parts.append("Every figure, setting and clip: [docs/results.md](docs/results.md).\n")
    return "\n".join(parts)


def _rd_words(result: Result) -> str:
    rows = {row["codec"]: row for row in result["summary"]}
    shown = [rows[name] for name in README_CODECS if name in rows]
    marks = result["rate_marks_kbps"]
    ours = next((name for name in ("s", "seed") if name in rows), None)
    words = (
        f"{len(result['clips'])} talking faces of people never trained on, 192x192, every codec at zero delay on one "
        "thread, real packets with their headers. Bits are against x264 veryfast (BD-rate on RGB PSNR, clip by clip, "
        "then averaged); fewer is better, and `@2` is coded at half size and scaled up.\n\n"
        f"{short_table(shown, marks, result['mse_marks'][0])}\n"
    )
    if ours is not None:
        verdict = "does not meet SVT-AV1's curve on any clip"
        row = against(rd.read_points(result), ours, OPPONENT) if OPPONENT in rows else None
        if row is not None and row.bd_rate_percent is not None:
            verdict = (
                f"{bits_words(row.bd_rate_percent)} real-time SVT-AV1, the strongest of them, for the same PSNR "
                f"({spread(row.bd_rate_least, row.bd_rate_most)} on the {row.clips} clips where both curves overlap)"
            )
        own = rows[ours]["bd_rate_percent"]
        first = (
            f"`{ours}` does not meet x264 veryfast's curve at any bitrate measured"
            if own is None
            else f"`{ours}` needs {bits_words(own)} x264 veryfast"
        )
        words += f"{first}, and {verdict}.\n"
    return words


def _paper_words(result: Result) -> str:
    rows = {row["name"]: row for row in result["rows"]}
    before = rows.get("seed, before quantisation")
    sent = [row for name, row in rows.items() if name.startswith("seed, sent")]
    if before is None or not sent:
        return ""
    best = min(sent, key=lambda row: row["mse"]["unseen"])
    quality = best["name"].rsplit(" ", 1)[1]
    jpeg = rows[f"jpeg in the bytes of seed {quality}"]
    bits = best["bits_per_pixel"]["unseen"]
    kbps = bits * paper.PIXELS * FPS / 1000
    return (
        "The source paper's autoencoder, `seed`, leaves MSE "
        f"{mse_text(before['mse']['unseen'])} on unseen portraits before quantisation (bicubic 2x: "
        f"{mse_text(rows['bicubic 2x']['mse']['unseen'])}). What the paper does not count is its bits: really sent, at "
        f"MSE {mse_text(best['mse']['unseen'])}, it takes {bits:.2f} bits a pixel, {kbps:.0f} kbit/s at {FPS} frames a "
        f"second, and JPEG reaches MSE {mse_text(jpeg['mse']['unseen'])} in the same bytes.\n"
    )


def _latency_words(result: Result) -> str:
    words = []
    for row in result["rows"]:
        total = row["latency_ms"]["total"]
        words.append(f"{row['name']} {number(total['p50'], 0)} ms (p95 {number(total['p95'], 0)})")
    return (
        f"From the source's picture to the screen, both ends on one machine of {result['cores']} cores: "
        + "; ".join(words)
        + ".\n"
    )


def page(results: dict[str, Result]) -> str:
    """docs/results.md."""
    writers: dict[str, tuple[str, Callable[[Result], str]]] = {
        "rd": ("", rd.markdown),
        "paper": ("# The source paper's table, and what it leaves out\n\n", paper.markdown),
        "speed": ("# Speed\n\n", speed.markdown),
        "steady": ("# What holds over time\n\n", steady.markdown),
        "latency": ("# Latency of a whole call\n\n", latency.markdown),
        "calls": ("# Calls over bad networks\n\n", link.markdown),
        "soak": ("# A long call\n\n", soak.markdown),
        "link": ("# The link on a bad network\n\n", linkpackets.markdown),
    }
    plots = {"rd": "\n![rate and PSNR](results/rd_main.png)\n", "latency": "\n![stages](results/latency.png)\n"}
    head = (
        "<!-- Written by `make results` from docs/results/*.json. Changes made here are lost. -->\n\n"
        "# Results\n\n"
        "Everything that the benchmarks measured. `s` is the learned codec of this project, `seed` the source paper's "
        "autoencoder and `gdn` one after Balle 2016 with a rate term; `@2` and `@4` are coded at half and quarter size "
        "and scaled up. [benchmarks.md](benchmarks.md) says how each figure is taken.\n\n"
    )
    taken = (
        "PSNR is that of the mean squared error on 8-bit RGB over all frames of a clip. "
        "Every codec's packets are decoded by a process that sees nothing else. Rates count what an encoder emits, "
        "nothing taken away: x264's first packet holds its 600-byte version string, which costs x264 2 to 14 % (6 % on "
        "average) on clips of 3 to 6 s and nothing in a long call. Peers get RGB through an exact BT.601 conversion "
        "with interpolated chroma (50 dB), not through swscale's default (43 dB), which would hold them down at high "
        "rates.\n\n"
    )
    text = ""
    for name, (title, write) in writers.items():
        if name in results:
            with _reading(name):
                text += f"{title}{write(results[name]).rstrip()}\n{plots.get(name, '')}\n"
    return f"{head}{_contents(text)}\n{taken}{text.rstrip()}\n"


def _contents(text: str) -> str:
    """A list of links to the sections of a page, by the anchors that GitHub gives them."""
    titles = re.findall(r"^# (.+)$", text, re.MULTILINE)
    anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    return "".join(f"* [{title}](#{anchor})\n" for title, anchor in zip(titles, anchors, strict=True))
