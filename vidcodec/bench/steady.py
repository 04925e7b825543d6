"""`bench steady`: what must hold over time. Endless clips, still scenes, the rate, other arithmetic, and few bits.

    endless    a clip to and fro: the last frames are as good as the first
    still      a scene held still gets sharper, and a frame without news costs next to nothing
    rate       the rate asked for is held over every second
    precision  what one precision sends, another shows
    drift      a long call from another precision to fp32, with its fresh starts
    low        better than a peer where bits are few; from an rd.json, nothing is coded

Parts are kept in steady.json in --out: a part measured again replaces its rows, the others stay as long as they are of
the same weights.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vidcodec.bench.output import add_out, read_run, write_run
from vidcodec.bench.steadytables import WRITERS, Row
from vidcodec.bench.tables import table
from vidcodec.cli import add_shared, check_shared
from vidcodec.errors import UsageError
from vidcodec.settings import parse_words

PARTS = ("endless", "still", "rate", "precision", "drift", "low")
RD = Path("docs/results/rd.json")
PRECISIONS = ("fp32", "fp16", "bf16")

Result = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    options = _parse(argv)
    parts = [part for part in PARTS if part in options.only]
    coded = [part for part in parts if part != "low"]
    if coded and not options.clips:
        raise UsageError(f"--clips is needed for {', '.join(coded)}: give videos or folders of them")
    from rich.console import Console

    console = Console(stderr=True)
    kept = read_run(options.out, "steady")
    result: Result = {"model": options.model, "parts": {}}
    found = _code(options, coded, console) if coded else {}
    result["weights_sha256"] = found.pop("weights_sha256", None) or kept.get("weights_sha256")
    if all(kept.get(key) == result[key] for key in ("model", "weights_sha256")):
        result["parts"].update(_of_this_version(kept.get("parts")))
    if "precision" in found:  # each pair is a run of its own: another one does not make it void
        found["precision"] = _merged(result["parts"].get("precision", []), found["precision"])
    result["parts"].update(found)
    if "low" in parts:
        from vidcodec.bench.steadylow import low_rates, read_rd

        rows = low_rates(read_rd(options.rd), options.model)
        result["parts"]["low"] = [_plain(asdict(row)) for row in rows]
    result["parts"] = {part: result["parts"][part] for part in PARTS if part in result["parts"]}
    result["targets"] = targets(result["parts"])
    text = markdown(result)
    write_run(options.out, "steady", result, text)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="vidcodec bench steady", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", nargs="+", metavar="DIR|FILE", help="folders or files of video")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="only these parts")
    parser.add_argument("--rates", nargs="+", type=float, default=(20.0, 40.0), metavar="KBPS", help="default: 20 40")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="of part rate (default: %(default)g)")
    parser.add_argument(
        "--after-s", type=float, default=3.0, metavar="S", help="windows of part rate begin here (default: %(default)g)"
    )
    parser.add_argument(
        "--against",
        nargs="+",
        choices=PRECISIONS[1:],
        default=("bf16",),
        help="precisions that parts precision and drift hold against fp32; fp16, which a GPU uses, takes a CPU "
        "twenty times as long (default: bf16)",
    )
    parser.add_argument("--rd", type=Path, default=RD, metavar="FILE", help="for part low (default: %(default)s)")
    add_out(parser)
    names = ("model", "weights", "frames", "quality", "device", "precision", "threads", "seed")
    add_shared(parser, *names, device="cpu", quality=16, threads=1)
    options = parse_words(parser, argv)
    check_shared(options)
    for rate in options.rates:
        if not 0 < rate < float("inf"):
            raise UsageError(f"--rates {rate:g}: must be above zero")
    if not 0 <= options.after_s <= options.seconds - 1:
        raise UsageError(f"--after-s {options.after_s:g}: must leave a second of --seconds {options.seconds:g}")
    return options


def _code(options: argparse.Namespace, parts: Sequence[str], console: Any) -> dict[str, Any]:
    """Run the parts that code clips: their rows, and the hash of the weights that made them."""
    import cv2
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from vidcodec.bench import steadyruns as runs
    from vidcodec.bench.clips import find_clips, read_clip
    from vidcodec.bench.steadydrift import DRIFT_FRAMES, drift
    from vidcodec.codec import load_codec

    cv2.setNumThreads(options.threads)

    weights = Path(options.weights) if options.weights else None
    codec = load_codec(options.model, options.device, options.precision, options.threads, weights)
    if options.quality >= codec.info.qualities:
        raise UsageError(f"--quality {options.quality}: this model has 0 to {codec.info.qualities - 1}")
    pairs = _pairs(codec, options.against) if {"precision", "drift"} & set(parts) else []
    clips = [read_clip(path) for path in find_clips(options.clips)]
    lengths = {"endless": 1000, "precision": runs.PRECISION_FRAMES, "drift": DRIFT_FRAMES}
    frames = {part: options.frames or length for part, length in lengths.items()}
    found: dict[str, list[Any]] = {part: [] for part in parts}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        counts = {
            "endless": lambda clip: frames["endless"],
            "still": lambda clip: runs.STILL_FRAMES + runs.IDLE_SETTLE + runs.IDLE_FRAMES,
            "rate": lambda clip: len(options.rates) * runs.rate_frames(clip, options.seconds),
            "precision": lambda clip: len(pairs) * (frames["precision"] + runs.AFTER_REPAIR),
            "drift": lambda clip: len(pairs) // 2 * frames["drift"],
        }
        for part in parts:
            task = progress.add_task(part, total=sum(counts[part](clip) for clip in clips))

            def report(count: int, task: Any = task) -> None:
                progress.advance(task, count)

            for clip in clips:
                if part == "endless":
                    rows: list[Any] = [runs.endless(codec, clip, frames[part], options.quality, report=report)]
                elif part == "still":
                    rows = [runs.still(codec, clip, options.quality, options.seed, report=report)]
                elif part == "rate":
                    asked = (options.seconds, options.after_s)
                    rows = [runs.rate(codec, clip, kbps, *asked, report=report) for kbps in options.rates]
                else:
                    asked_too = (clip, options.quality, frames[part])
                    if part == "precision":
                        rows = [runs.precision(one, other, *asked_too, report=report) for one, other in pairs]
                    else:  # one way says as much as both
                        rows = [drift(one, other, *asked_too, report=report) for one, other in pairs[1::2]]
                found[part] += [_plain(asdict(row)) for row in rows]
    return {"weights_sha256": codec.info.weights_sha256, **found}


def _pairs(codec: Any, against: Sequence[str]) -> list[tuple[Any, Any]]:
    """The codec in single and in each other precision, one sending and the other receiving, and the other way round.

    None for a codec without a state that differences could add up in.
    """
    import torch

    from vidcodec.learned import LearnedCodec

    if not isinstance(codec, LearnedCodec):
        return []
    single = codec.in_precision(torch.float32)
    others = [codec.in_precision({"fp16": torch.float16, "bf16": torch.bfloat16}[name]) for name in against]
    return [pair for other in others for pair in ((single, other), (other, single))]


def _merged(kept: Sequence[Row], found: Sequence[Row]) -> list[Row]:
    """Rows of an earlier run, those of the same clip and precisions replaced."""

    def key(row: Row) -> tuple[str, ...]:
        return (row["clip"], *sorted((row["encoder"], row["decoder"]), reverse=True), row["encoder"])

    rows = {key(row): row for row in (*kept, *found)}
    return [rows[at] for at in sorted(rows)]


def _of_this_version(parts: Any) -> dict[str, list[Row]]:
    """The parts of an earlier run whose rows say what a page needs; others have to be measured again."""
    found = {}
    for part, rows in parts.items() if isinstance(parts, dict) else ():
        try:
            markdown({"model": "", "parts": {part: rows}, "targets": targets({part: rows})})
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            continue
        found[part] = rows
    return found


def _plain(value: Any) -> Any:
    """Floats rounded to six digits, for JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def targets(parts: dict[str, list[Row]]) -> list[Row]:
    """What was asked for and what was found, for every part that was measured."""
    found: list[Row] = []

    def judge(part: str, what: str, wanted: str, rows: Sequence[Row], good: Callable[[Row], bool]) -> None:
        passed = sum(good(row) for row in rows)
        row = {"part": part, "what": what, "wanted": wanted, "passed": passed, "of": len(rows)}
        found.append({**row, "met": passed == len(rows)})

    if rows := parts.get("endless", []):
        judge("endless", "late minus early frames", ">= -0.3 dB", rows, lambda row: row["change_db"] >= -0.3)
    if rows := parts.get("still", []):
        judge("still", "gain from frame 10 to 100", ">= 1.5 dB", rows, lambda row: row["gain_db"] >= 1.5)
        judge("still", "a frame without news", "<= 15 bytes", rows, lambda row: row["idle_most_bytes"] <= 15)
    if rows := parts.get("rate", []):
        for kbps in dict.fromkeys(row["target_kbps"] for row in rows):
            own = [row for row in rows if row["target_kbps"] == kbps]
            what = f"every second at {kbps:g} kbit/s"
            judge("rate", what, "within 10 %", own, lambda row: abs(row["worst"]) <= 0.1)
            judge("rate", f"mean at {kbps:g} kbit/s", "within 2 %", own, _mean_holds)
    if rows := parts.get("precision", []):
        for other in [name for name in PRECISIONS[1:] if any(name in (row["encoder"], row["decoder"]) for row in rows)]:
            own = [row for row in rows if other in (row["encoder"], row["decoder"])]
            judge("precision", f"{other}, mean lack", "<= 0.1 dB", own, lambda row: abs(row["mean_db"]) <= 0.1)
            judge("precision", f"{other}, lack at the end", "<= 0.3 dB", own, lambda row: abs(row["end_db"]) <= 0.3)
        judge("precision", "symbols", "equal in every packet", rows, lambda row: _all_equal(row))
        judge("precision", "a blank state", "repairs everything", rows, lambda row: bool(row["repaired"]))
    if rows := parts.get("drift", []):
        judge("drift", "worst second of a long call", "<= 1 dB", rows, lambda row: row["worst_db"] <= 1.0)
    if rows := parts.get("low", []):
        for what, key, share in (("below 20 kbit/s", "better", 0.8), ("rate at MSE 3.1e-4", "earlier", 0.6)):
            passed = sum(row[key] for row in rows)
            row = {"part": "low", "what": f"{what} better than x264", "wanted": f">= {10 * share:g} of 10"}
            found.append({**row, "passed": passed, "of": len(rows), "met": passed >= share * len(rows)})
    return found


def _mean_holds(row: Row) -> bool:
    return abs(row["settled_kbps"] / row["target_kbps"] - 1) <= 0.02


def _all_equal(row: Row) -> bool:
    from vidcodec.bench.steadyruns import AFTER_REPAIR

    return bool(row["symbols_equal"] == row["frames"] + AFTER_REPAIR)


def markdown(result: Result) -> str:
    """The figures as a page."""
    parts = result["parts"]
    rows = [
        [row["part"], row["what"], row["wanted"], f"{row['passed']} of {row['of']}", "yes" if row["met"] else "no"]
        for row in result["targets"]
    ]
    text = f"Model `{result['model']}`; every frame a real packet.\n\n"
    text += table(["part", "what", "wanted", "clips", "met"], rows)
    for part, write in WRITERS.items():
        if parts.get(part):
            text += "\n" + write(parts[part])
    return text
