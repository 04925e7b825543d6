"""`bench link --soak MINUTES`: one long call at 5 % loss. Memory must stay flat, the picture as good, nothing be left.

Resident memory of both processes is read twice a minute or more; its slope is that of a straight line through the
samples after the first tenth. The picture's error is averaged over the first and the last quarter of the call.
"""

import argparse
import gc
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vidcodec.bench.networks import GOOD, Network
from vidcodec.bench.tables import number, table
from vidcodec.errors import PeerError

LOSS_PERCENT = 5.0
SAMPLES = 200
SAID_EVERY = 10


def resident_mb(pid: int) -> float | None:
    """Resident memory of a process in MB (10^6 bytes); None where /proc is not Linux's."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Least-squares slope of y over x; None for fewer than three points or all at one x."""
    count = len(points)
    if count < 3:
        return None
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else None


def run(options: argparse.Namespace, say: Callable[[str], object]) -> tuple[dict[str, Any], str]:
    """The call; its figures, and they as a page.

    Raises:
        PeerError: the call broke.
        InputError: the clip cannot be read.
    """
    from vidcodec.bench.clips import find_clips
    from vidcodec.bench.farend import CodecSpec, load
    from vidcodec.bench.realcall import CallPlan, hold, open_clip

    clip = "sample" if not options.clips else str(find_clips(options.clips)[0])
    seconds = options.soak * 60.0
    network = Network("soak", replace(GOOD, loss_percent=LOSS_PERCENT), seconds)
    spec = CodecSpec("s", options.device, options.precision, options.threads)
    with open_clip(clip) as source:
        codec = load(spec, source.fps)
    samples: list[tuple[float, float | None, float | None, float | None, float]] = []
    every_s = max(1.0, seconds / SAMPLES)
    began_s = time.monotonic()
    before = {thread.name for thread in threading.enumerate()}

    def watch(call: Any, remote: Any) -> None:
        at_s = time.monotonic() - began_s
        if not samples or at_s - samples[-1][0] >= every_s:
            sender_mb, receiver_mb = resident_mb(os.getpid()), resident_mb(remote.process.pid)
            live = call.log.live()
            samples.append((at_s, sender_mb, receiver_mb, live.psnr_db, live.fps))
            if len(samples) % SAID_EVERY == 0:
                memory = f"{number(sender_mb, 0)} and {number(receiver_mb, 0)} MB"
                say(f"{at_s / 60:.1f} min: {memory}, {live.fps:.0f} fps, {number(live.psnr_db, 2)} dB")

    say(f"one call of {options.soak:g} min at {LOSS_PERCENT:g} % loss")
    course = hold(spec, codec, network, CallPlan(clip, options.bitrate, options.seed, keep=False), watch)
    gc.collect()
    left = sorted({thread.name for thread in threading.enumerate()} - before)
    if len(samples) < 4:
        raise PeerError("link: the call was too short to say anything; give more minutes")
    late = [sample for sample in samples if sample[0] >= 0.1 * seconds]
    quarter = max(1, len(late) // 4)
    psnr = [sample[3] for sample in late if sample[3] is not None]
    fps = [sample[4] for sample in late]
    result = {
        "minutes": round(course.seconds / 60, 2),
        "captured": course.captured,
        "sent": course.sent,
        "sender_mb_per_minute": _per_minute([(at, mb) for at, mb, *_ in late if mb is not None]),
        "receiver_mb_per_minute": _per_minute([(at, mb) for at, _, mb, *_ in late if mb is not None]),
        "sender_mb": samples[-1][1],
        "receiver_mb": samples[-1][2],
        "psnr_first_db": round(sum(psnr[:quarter]) / quarter, 2) if psnr else None,
        "psnr_last_db": round(sum(psnr[-quarter:]) / quarter, 2) if psnr else None,
        "fps_first": round(sum(fps[:quarter]) / quarter, 1),
        "fps_last": round(sum(fps[-quarter:]) / quarter, 1),
        "threads_left": [*left, *course.threads_left],
        "samples": [[None if value is None else round(value, 2) for value in sample] for sample in samples],
    }
    return result, markdown(result)


def _per_minute(points: Sequence[tuple[float, float]]) -> float | None:
    found = slope(points)
    return None if found is None else round(60.0 * found, 2)


def markdown(result: dict[str, Any]) -> str:
    """The figures as a page."""
    header = ["", "memory at the end, MB", "slope, MB a minute"]
    rows = [
        [end, number(result[f"{end}_mb"], 0), number(result[f"{end}_mb_per_minute"], 2)]
        for end in ("sender", "receiver")
    ]
    left = ", ".join(result["threads_left"]) or "none"
    first, last = (
        f"{number(result[f'psnr_{part}_db'], 2)} dB at {number(result[f'fps_{part}'])} frames a second"
        for part in ("first", "last")
    )
    return (
        f"One call of {result['minutes']:g} min at {LOSS_PERCENT:g} % loss, {result['sent']} frames. Over the first "
        f"quarter {first}, over the last {last}: on a machine that is too slow for the call both fall. Threads left at "
        f"the end: {left}.\n\n{table(header, rows)}"
    )
