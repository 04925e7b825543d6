"""`bench link --link-only`: the link itself between two processes, over real UDP through a bad network that it makes.

Packets have the size that the link says fits (at most what a frame of the model takes) and a random body, so that this
measures the link and nothing else. Delay is from the moment a packet is handed to the link to the moment the other
process holds it, by the clock that both share on one machine. A freeze is W3C's (webrtc-stats): a gap between frames
of at least the greater of three mean gaps and the mean gap plus 150 ms.
"""

import argparse
import multiprocessing
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any

from vidcodec.bench.callfigures import freezes
from vidcodec.bench.output import load_average
from vidcodec.bench.processes import end_with_parent
from vidcodec.bench.tables import number, table
from vidcodec.errors import PeerError, UsageError
from vidcodec.packet import HEADER_BYTES, MAX_DISTANCE, NUMBERS, Header, Packet
from vidcodec.report import Percentiles

CONDITIONS = (
    "",
    "delay=20",
    "delay=20,loss=2",
    "delay=20,loss=10",
    "delay=20,loss=5,burst=3",
    "delay=20,rate=100",
    "delay=20,rate=60",
    "delay=20,rate=40",
)
FPS = 30.0
PACKET_BYTES = 150
HELLO = ("seed", "0" * 64)


def run(options: argparse.Namespace, say: Callable[[str], object]) -> dict[str, Any]:
    """Every network of `options.impair`, one after another.

    Raises:
        UsageError: an option is out of range, or an impairment is none.
        PeerError: see `measure`.
    """
    if not HEADER_BYTES < options.packet_bytes <= 60_000 or not 0 < options.fps <= 240:
        raise UsageError("--packet-bytes must be 6 to 60000 and --fps above 0 and at most 240")
    from vidcodec.link import parse_impairment

    networks = [(text, parse_impairment(text)) for text in options.impair]
    rows = []
    for text, network in networks:
        say(f"{text or 'no impairment'}: {options.seconds:g} s")
        rows.append(measure(text, network, options))
    load = load_average()
    return {
        "fps": options.fps,
        "packet_bytes": options.packet_bytes,
        "seed": options.seed,
        "load": load,
        "rows": rows,
    }


def measure(text: str, network: Any, options: argparse.Namespace) -> dict[str, Any]:
    """One network.

    Raises:
        PeerError: the two did not connect, or the other process died.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_receive, args=(theirs,), daemon=True, name="link-receiver")
    process.start()
    theirs.close()
    try:
        if not ours.poll(60):
            raise PeerError("link: the receiving process does not start")
        sent, refused, stats = _send(ours.recv(), network, options)
        ours.send("end")
        if not ours.poll(10):
            raise PeerError("link: the receiving process gave no answer")
        arrived: list[tuple[int, float]] = ours.recv()
    except (EOFError, OSError) as error:
        raise PeerError(f"link: the receiving process is gone ({type(error).__name__})") from error
    finally:
        ours.close()
        process.join(5)
    return figures(text, sent, refused, arrived, float(stats.get("wireBytesSent", 0)))


def _send(url: str, network: Any, options: argparse.Namespace) -> tuple[dict[int, float], int, dict[str, Any]]:
    """Send at the frame rate; returns when each frame went, how many the link refused, and the link's counters."""
    from vidcodec.link import Hello, LinkOptions, SenderHandlers, connect

    sent: dict[int, float] = {}
    refused = 0
    source = random.Random(options.seed)
    hello = Hello(1, *HELLO)
    impair = network if network != type(network)() else None
    link = connect(url, hello, LinkOptions(impair=impair, seed=options.seed), SenderHandlers())
    try:
        begin = time.monotonic()
        for frame in range(round(options.seconds * options.fps)):
            time.sleep(max(0.0, begin + frame / options.fps - time.monotonic()))
            place = len(sent)
            size = max(HEADER_BYTES + 1, min(options.packet_bytes, link.budget_bytes(options.fps)))
            header = Header(place % NUMBERS, min(place, 1, MAX_DISTANCE), 0)
            packet = Packet(header, source.randbytes(size - HEADER_BYTES)).to_bytes()
            now_ms = time.monotonic() * 1000
            if link.can_send and link.send_frame(place, packet):
                sent[place] = now_ms
            else:
                refused += 1
        time.sleep(1.0)  # what is under way still counts
        stats = dict(link.stats)
    finally:
        link.close({})
    return sent, refused, stats


def _receive(pipe: Connection) -> None:
    """The other process: notes when each frame arrived."""
    end_with_parent()
    from vidcodec.link import Frame, FrameStatus, Hello, ReceiverHandlers, ReceiverLink, ReceiverServer

    arrived: list[tuple[int, float]] = []
    lock = threading.Lock()

    def on_frame(link: ReceiverLink, frame: Frame) -> None:
        with lock:
            arrived.append((frame.number, frame.received_ms))
        link.report(frame.number, FrameStatus.OK)

    server = ReceiverServer("127.0.0.1:0", Hello(1, *HELLO), ReceiverHandlers(on_frame=on_frame))
    try:
        pipe.send(server.url)
        pipe.recv()
        with lock:
            pipe.send(list(arrived))
    except EOFError:
        return
    finally:
        server.close()


def figures(
    text: str, sent: dict[int, float], refused: int, arrived: Sequence[tuple[int, float]], wire_bytes: float
) -> dict[str, Any]:
    """What became of the frames: one row."""
    delays = [at - sent[frame] for frame, at in arrived if frame in sent]
    times = sorted(at for _, at in arrived)
    gaps = [b - a for a, b in pairwise(times)]
    duration_s = (max(sent.values()) - min(sent.values())) / 1000 if len(sent) > 1 else 0.0
    tenth = max(1, len(delays) // 10)
    return {
        "network": text or "none",
        "frames": len(sent) + refused,
        "sent": len(sent),
        "refused": refused,
        "arrived": len({frame for frame, _ in arrived}),
        "wire_kbps": round(wire_bytes * 8 / 1000 / duration_s, 1) if duration_s else None,
        "delay_ms": asdict(Percentiles.of(delays)),
        "delay_growth_ms": round(sum(delays[-tenth:]) / tenth - sum(delays[:tenth]) / tenth, 1) if delays else None,
        "longest_gap_ms": round(max(gaps), 1) if gaps else None,
        "freezes": freezes(gaps),
    }


def markdown(result: dict[str, Any]) -> str:
    """The run as a page."""
    header = ["network", "offered", "refused by the link", "arrived of sent", "wire kbit/s", "delay ms p50 / p95 / p99"]
    header += ["growth ms", "longest gap ms", "freezes"]
    rows = [
        [
            f"`{row['network']}`",
            str(row["frames"]),
            str(row["refused"]),
            f"{100 * row['arrived'] / row['sent']:.1f} %" if row["sent"] else "-",
            number(row["wire_kbps"]),
            " / ".join(number(row["delay_ms"][share], 0) for share in ("p50", "p95", "p99")),
            number(row["delay_growth_ms"], 0),
            number(row["longest_gap_ms"], 0),
            str(row["freezes"]),
        ]
        for row in result["rows"]
    ]
    return (
        f"{result['fps']:g} packets a second of at most {result['packet_bytes']} bytes, two processes, real UDP; seed "
        f"{result['seed']}; load when measured: {result['load']}. Rates are those of the sending side's datagrams "
        f"with all headers. Growth is the mean delay of the last tenth less that of the first.\n\n{table(header, rows)}"
    )
