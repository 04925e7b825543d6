"""`bench link`: whole calls over bad networks, between two processes, beside what a browser would do.

Each row is a call of the program's own sender with its own receiver over real UDP, through a relay that delays, drops
and narrows. Beside it the same frames go as VP8 through aiortc's own video track, and as SVT-AV1 over our own channel
with an intra frame after each loss. `--link-only` sends packets without pictures instead.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidcodec.bench import linkpackets
from vidcodec.bench.callfigures import VALUES_PER_FRAME, Course, ShownFrame, back_after_s, figures, step_figures
from vidcodec.bench.networks import GOOD, OPEN_KBPS, Network, choose
from vidcodec.bench.output import add_out, load_average, read_run, save, write_run
from vidcodec.bench.tables import mse_text, number, table
from vidcodec.cli import add_shared, check_shared
from vidcodec.errors import PeerError, UsageError
from vidcodec.settings import parse_words
from vidcodec.wire import DATA_CHANNEL, TRANSPORTS

TRACK = "vp8-track"
CODECS = ("s", TRACK, "svtav1")
NAMES = {TRACK: "VP8, aiortc's track", "svtav1": "SVT-AV1, our channel"}
REFERENCE_SHARES = (0.55, 0.75, 1.4)
"""Rates beside the one asked for at which the lossless call's error is taken."""

REPAIRS = ("auto", "resend", "repeat", "none")
CONNECT_S = 8.0
"""Starting the other process, loading the model there, connecting and the goodbye."""

VP8_HEADER_BYTES = TRANSPORTS["rtp-vp8"].header_bytes
OUR_HEADER_BYTES = DATA_CHANNEL.header_bytes


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="vidcodec bench link", description=__doc__)
    parser.add_argument("--clips", nargs="+", metavar="FILE", help="videos or folders (default: the bundled sample)")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="of each call (default: %(default)g)")
    parser.add_argument("--only", nargs="+", default=(), metavar="ROW", help="only these networks, such as loss10")
    parser.add_argument("--codecs", nargs="+", default=CODECS, choices=CODECS, help="default: all")
    parser.add_argument("--repair", default="auto", choices=REPAIRS, help="what is done about losses (default: auto)")
    parser.add_argument("--link-only", action="store_true", help="packets without pictures: the link alone")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="one call at 5 %% loss: memory, threads, drift")
    alone = parser.add_argument_group("options of --link-only")
    alone.add_argument(
        "--impair",
        nargs="+",
        default=linkpackets.CONDITIONS,
        metavar="K=V,...",
        help="bad networks to try, such as delay=20,loss=2 (default: eight of them)",
    )
    alone.add_argument(
        "--packet-bytes",
        type=int,
        default=linkpackets.PACKET_BYTES,
        metavar="N",
        help="largest packet (default: %(default)s)",
    )
    alone.add_argument(
        "--fps", type=float, default=linkpackets.FPS, metavar="F", help="packets a second (default: %(default)g)"
    )
    add_out(parser)
    add_shared(parser, "bitrate", "device", "precision", "threads", "seed", bitrate=40.0)
    options = parse_words(parser, argv)
    check_shared(options)
    if options.seconds <= 0 or (options.soak is not None and options.soak <= 0):
        raise UsageError("--seconds and --soak must be above zero")
    from rich.console import Console

    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, highlight=False)

    if options.soak is not None:
        from vidcodec.bench import soak

        name, result, text = "soak", *soak.run(options, say)
    elif options.link_only:
        result = linkpackets.run(options, say)
        name, text = "link", linkpackets.markdown(result)
    else:
        result = run(
            options,
            say,
            lambda so_far: save(options.out, {"calls.json": json.dumps(so_far, indent=1) + "\n"}),
            read_run(options.out, "calls"),
        )
        name, text = "calls", markdown(result)
    write_run(options.out, name, result, text)
    return 0


def run(
    options: argparse.Namespace,
    say: Callable[[str], object],
    keep: Callable[[dict[str, Any]], object] = lambda so_far: None,
    earlier: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Every network and codec that was asked for.

    Args:
        options: of the command.
        say: is told which call comes next.
        keep: takes the result so far after each call, so that an interrupted run leaves what it has.
        earlier: an earlier result; what it has of other codecs, clips and networks is kept if all else was the same, so
            that they can be measured one after the other.

    Raises:
        UsageError: a network is none.
        InputError: a clip cannot be read, or a model has no weights.
        PeerError: two processes did not connect.
    """
    from vidcodec.bench.clips import find_clips

    networks = choose(options.seconds, options.only)
    clips = ["sample"] if not options.clips else [str(path) for path in find_clips(options.clips)]
    rows: list[dict[str, Any]] = []
    facts = {
        "bitrate_kbps": options.bitrate,
        "open_kbps": OPEN_KBPS,
        "seconds": options.seconds,
        "seed": options.seed,
        "repair": options.repair,
        "cores": os.cpu_count(),
    }

    plan = [(network, codec, clip) for network in networks for codec in options.codecs for clip in clips]
    asked = {(network.name, codec, Path(clip).stem) for network, codec, clip in plan}
    same = earlier is not None and all(earlier.get(key) == value for key, value in facts.items())
    kept = [row for row in earlier["rows"] if _place(row) not in asked] if earlier and same else []
    order = [network.name for network in choose(options.seconds, ())]

    def so_far(complete: bool) -> dict[str, Any]:
        ordered = sorted([*kept, *rows], key=lambda row: (order.index(row["network"]), CODECS.index(row["codec"])))
        return {**facts, "complete": complete, "rows": ordered}

    calls = Calls(options, say, minutes(plan, options.seconds, clips))
    for network, codec, clip in plan:
        row = {"network": network.name, "path": network.words, "codec": codec, "clip": Path(clip).stem}
        rows.append(row | calls.call(network, codec, clip) | {"load": load_average()})
        keep(so_far(False))
    for clip in clips:
        mine = [row for row in rows if row["codec"] == "s" and row["clip"] == Path(clip).stem and row.get("mse")]
        lossy = [row for row in mine if row["network"].startswith(("loss", "burst"))]
        if not lossy:
            continue
        curve = calls.reference(clip, options.seconds, next((row for row in mine if row["network"] == "20ms"), None))
        for row in lossy:
            row["mse_ratio"] = round(row["mse"] / at_rate(curve, row["wire_kbps"]), 2) if curve else None
            row["reference"] = [[round(kbps, 1), mse] for kbps, mse in curve]
    result = so_far(True)
    keep(result)
    return result


def _place(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["network"], row["codec"], row["clip"]


def minutes(plan: Sequence[tuple[Network, str, str]], seconds: float, clips: Sequence[str]) -> float:
    """How long it will take, calls of lossless reference and connecting included."""
    total_s = sum(network.seconds + CONNECT_S for network, _, _ in plan)
    for clip in clips:
        mine = {network.name for network, codec, at in plan if codec == "s" and at == clip}
        if any(name.startswith(("loss", "burst")) for name in mine):
            total_s += (len(REFERENCE_SHARES) + ("20ms" not in mine)) * (seconds + CONNECT_S)
    return total_s / 60


class Calls:
    """Makes calls; the codec of this end is loaded once."""

    def __init__(self, options: argparse.Namespace, say: Callable[[str], object], about_minutes: float) -> None:
        self._options = options
        began_s = time.monotonic()

        def with_time(line: str) -> None:
            say(f"[{(time.monotonic() - began_s) / 60:.1f} of about {about_minutes:.0f} min] {line}")

        self._say = with_time
        self._codecs: dict[str, Any] = {}

    def call(self, network: Network, codec: str, clip: str) -> dict[str, Any]:
        """One call; what a codec cannot do on a network is said in `note`."""
        self._say(f"{network.name}, {codec}, {Path(clip).stem}: {network.seconds:g} s")
        if codec == TRACK and network.kill_s is not None:
            return {"note": "a track does not connect again"}
        kbps = OPEN_KBPS if network.fills else self._options.bitrate
        try:
            course = self.track(network, clip, kbps) if codec == TRACK else self.ours(network, codec, clip, kbps)
        except PeerError as error:
            self._say(f"{network.name}, {codec}: {error}")
            return {"note": str(error)}
        return figures(course) | _events(network, course)

    def ours(self, network: Network, codec: str, clip: str, kbps: float) -> Course:
        """Our sender and receiver."""
        from vidcodec.bench.farend import CodecSpec, load
        from vidcodec.bench.realcall import CallPlan, hold, open_clip

        options = self._options
        spec = CodecSpec(codec, options.device, options.precision, options.threads)
        if codec not in self._codecs or codec != "s":
            with open_clip(clip) as source:
                self._codecs[codec] = load(spec, source.fps)
        return hold(spec, self._codecs[codec], network, CallPlan(clip, kbps, options.seed, repair=options.repair))

    def track(self, network: Network, clip: str, kbps: float) -> Course:
        """aiortc's video track with the same frames, and as many bits on the wire."""
        from sender.capture import SAMPLE
        from vidcodec.bench.clips import find_clips, read_clip
        from vidcodec.bench.videotrack import BLOCK, TrackPlan, send_track

        video = read_clip(find_clips([SAMPLE if clip == "sample" else clip])[0])
        payload = kbps + (OUR_HEADER_BYTES - VP8_HEADER_BYTES) * 8 / 1000 * video.fps
        plan = TrackPlan(video.fps, network.path, self._options.seed, payload)
        run = send_track(video.frames, round(network.seconds * video.fps), plan)
        values = VALUES_PER_FRAME - BLOCK * 192 * 3
        shown = tuple(
            ShownFrame(run.sent_ms[frame.number], frame.shown_ms, squared_error=frame.squared_error, values=values)
            for frame in run.frames
        )
        began = run.sent_ms[0] if run.sent_ms else 0.0
        return Course(began, network.seconds, len(run.sent_ms), None, shown, tuple(run.wire))

    def reference(self, clip: str, seconds: float, known: dict[str, Any] | None) -> list[tuple[float, float]]:
        """(wire kbit/s, MSE) of calls without loss at several rates, fewest bits first; `known`: at the rate itself."""
        points = [(known["wire_kbps"], known["mse"])] if known else []
        for share in REFERENCE_SHARES if known else (*REFERENCE_SHARES, 1.0):
            kbps = self._options.bitrate * share
            self._say(f"without loss at {kbps:g} kbit/s, s, {Path(clip).stem}: {seconds:g} s")
            try:
                row = figures(self.ours(Network("20ms", GOOD, seconds), "s", clip, kbps))
            except PeerError as error:
                self._say(f"without loss at {kbps:g} kbit/s: {error}")
                continue
            if row["mse"] and row["wire_kbps"]:
                points.append((row["wire_kbps"], row["mse"]))
        return sorted(points)


def at_rate(curve: Sequence[tuple[float, float]], kbps: float) -> float:
    """MSE at a rate, between two points of a curve, or beyond its ends as from end to end, on logarithmic scales."""
    import math

    points = [(math.log(rate), math.log(mse)) for rate, mse in curve]
    x = math.log(kbps)
    place = next((i for i in range(1, len(points)) if points[i - 1][0] <= x <= points[i][0]), None)
    (x0, y0), (x1, y1) = (points[0], points[-1]) if place is None else (points[place - 1], points[place])
    if place is None and x > x1:
        return math.exp(y1 + (y1 - y0) * (x - x1) / (x1 - x0))
    return math.exp(y0 + (y1 - y0) * (x - x0) / (x1 - x0)) if x1 > x0 else math.exp(y0)


def _events(network: Network, course: Course) -> dict[str, Any]:
    """Figures of rows in which something happens."""
    if network.name == "steps":
        return step_figures(course, network.steps_s, [step.rate_kbps for _, step in network.path.trace])
    if network.name == "blackout":
        return {"back_s": back_after_s(course, course.began_ms + 1000 * network.steps_s[1])}
    if network.kill_s is not None and "killed" in course.events:
        events = course.events
        noticed = events["noticed"] - events["killed"] if "noticed" in events else None
        return {
            "noticed_s": None if noticed is None else round(noticed / 1000, 2),
            "back_s": back_after_s(course, events["listening"]) if "listening" in events else None,
        }
    return {}


def markdown(result: dict[str, Any]) -> str:
    """The run as a page."""
    header = ["network", "codec", "fps shown", "shown", "freezes", "longest gap ms", "total ms p50 / p95 / p99"]
    header += ["one-way ms p95", "growth ms", "wire kbit/s", "MSE", "against lossless"]
    several = len({row["clip"] for row in result["rows"]}) > 1
    rows = []
    for row in result["rows"]:
        name = NAMES.get(row["codec"], row["codec"]) + (f" ({row['clip']})" if several else "")
        if "note" in row:
            rows.append([f"`{row['path']}`", name, *["-"] * 9, row["note"]])
            continue
        rows.append(
            [
                f"`{row['path']}`",
                name,
                number(row["fps"]),
                number(row["shown_percent"], 1, " %"),
                str(row["freezes"]),
                number(row["longest_gap_ms"], 0),
                " / ".join(number(row["total_ms"][share], 0) for share in ("p50", "p95", "p99")),
                number(row["network_ms"]["p95"], 0),
                number(row["growth_ms"], 0),
                number(row["wire_kbps"]),
                mse_text(row["mse"]),
                f"x {row['mse_ratio']:.2f}" if row.get("mse_ratio") else "-",
            ]
        )
    text = (
        f"Calls between two processes; `s` and SVT-AV1 may take {result['bitrate_kbps']:g} kbit/s of payload and VP8 "
        f"as much on the wire, {result['open_kbps']:g} where the path itself is narrow. Total is from the source's "
        "picture to the picture ready to be shown, one-way from coded to received; wire rates hold all datagrams with "
        f"all headers. Repair of losses: {result['repair']}. Seed {result['seed']}, {result['cores']} cores, load when "
        f"measured {_loads(result['rows'])}.\n\n"
        f"{table(header, rows)}"
    )
    return text + "".join(f"\n* {line}\n" for line in _event_lines(result["rows"]))


def _loads(rows: Sequence[Mapping[str, Any]]) -> str:
    """The lowest and the highest load of the calls."""
    loads = [row["load"] for row in rows if row.get("load") is not None]
    return f"{min(loads):g} to {max(loads):g}" if loads else "not known"


def _event_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        name = f"`{row['path']}`, {NAMES.get(row['codec'], row['codec'])}"
        if "settles_down_s" in row:
            use = ", ".join(f"{share} %" for share in row["use_percent"])
            lines.append(
                f"{name}: settles after {number(row['settles_down_s'])} s down and {number(row['settles_up_s'])} s up, "
                f"uses {use} of the three rates."
            )
        elif "noticed_s" in row:
            lines.append(
                f"{name}: noticed after {number(row['noticed_s'])} s, the next frame {number(row['back_s'])} s after "
                "the receiver listens again."
            )
        elif "back_s" in row:
            lines.append(f"{name}: the next frame {number(row['back_s'])} s after the path is back.")
    return lines
