"""The far end of a benchmark's call: the program's own receiver in a process that can be watched, and killed."""

import logging
import multiprocessing
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from vidcodec.bench.processes import WATCHER, end_with_parent
from vidcodec.calllog import CallLog
from vidcodec.codec import BITSTREAM_VERSION, Codec
from vidcodec.errors import PeerError
from vidcodec.records import SentFrame
from vidcodec.records import ShownFrame as ShownRecord
from vidcodec.report import CodecFigures

START_S = 60.0


@dataclass(frozen=True, slots=True)
class CodecSpec:
    """Which codec both processes load."""

    model: str
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None


def load(spec: CodecSpec, fps: float) -> Codec:
    """The codec of one end, ready for its first frame.

    Raises:
        UsageError, InputError: there is none of that name, or it has no weights.
    """
    from vidcodec.bench.channelpeer import NAMES, ChannelPeer

    if spec.model in NAMES:
        return ChannelPeer(spec.model, fps)
    from vidcodec.codec import load_codec
    from vidcodec.realtime import call_threads, prepare

    codec = load_codec(spec.model, spec.device, spec.precision, call_threads(spec.threads))
    prepare(codec)
    return codec


class NotingLog(CallLog):
    """A call's log that also keeps, or hands on, every record of its own end."""

    def __init__(
        self, codec: CodecFigures, on_shown: Callable[[list[ShownRecord]], object] | None = None, keep: bool = True
    ) -> None:
        super().__init__(codec)
        self.sent: list[SentFrame] = []
        self._on_shown = on_shown
        self._keep = keep and on_shown is None

    def add_sent(self, frames: Iterable[SentFrame]) -> None:
        frames = list(frames)
        if self._keep:
            self.sent += frames
        super().add_sent(frames)

    def add_shown(self, frames: Iterable[ShownRecord]) -> None:
        frames = list(frames)
        if self._on_shown is not None:
            self._on_shown(frames)
        super().add_shown(frames)


@dataclass
class Remote:
    """The receiver in a process of its own."""

    spec: CodecSpec
    fps: float
    token: str
    port: int
    keep: bool = True
    shown: list[ShownRecord] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    listening_ms: float = 0.0

    def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            PeerError: it does not.
        """
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._pipe = ours
        self.process = context.Process(
            target=_serve, args=(theirs, self.spec, self.fps, self.token, self.port), daemon=True, name="link-receiver"
        )
        self.process.start()
        theirs.close()
        ready = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(ours, ready), name="shown", daemon=True)
        self._reader.start()
        if not ready.wait(START_S) or "url" not in self.facts:
            raise PeerError(
                f"link: the receiving process does not start ({self.facts.get('error', 'no word from it')})"
            )

    def _read(self, pipe: Connection, ready: threading.Event) -> None:
        try:
            while True:
                kind, content = pipe.recv()
                if kind == "shown":
                    self.shown += content if self.keep else ()
                else:
                    self.facts |= content
                    if "url" in content:
                        self.listening_ms = time.monotonic() * 1000
                    ready.set()
        except (EOFError, OSError):
            ready.set()

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.join(5)
        self._reader.join(5)

    def stop(self) -> None:
        """End it in order; its last words are in `facts` then."""
        try:
            self._pipe.send("end")
        except OSError:
            return  # it is gone already
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
        self._reader.join(5)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _serve(pipe: Connection, spec: CodecSpec, fps: float, token: str, port: int) -> None:
    """The other process: takes calls until told to end."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says goodbye, and waits for ours
    logging.basicConfig(level=logging.ERROR)
    from receiver.call import Call
    from receiver.measuring import Measurer
    from vidcodec.link import Closed, Frame, Hello, LinkOptions, ReceiverHandlers, ReceiverLink, ReceiverServer

    lock = threading.Lock()

    def tell(kind: str, content: object) -> None:
        with lock:
            pipe.send((kind, content))

    codec = load(spec, fps)
    info = codec.info
    calls: queue.Queue[Call] = queue.Queue()
    by_link: dict[int, Call] = {}

    def opened(link: ReceiverLink, hello: Hello) -> None:
        call = by_link[id(link)] = Call(codec, link, hello, None)
        call.log = NotingLog(CodecFigures(info.model_id), lambda frames: tell("shown", frames))
        calls.put(call)

    def closed(link: ReceiverLink, how: Closed) -> None:
        by_link.pop(id(link)).on_closed(how)

    handlers = ReceiverHandlers(
        on_open=opened,
        on_closed=closed,
        on_frame=lambda link, frame: _hand_on(by_link, link, frame),
        on_stats=lambda link, stats: by_link[id(link)].on_stats(stats),
        on_bye=lambda link, stats: by_link[id(link)].on_bye(stats),
    )

    def _hand_on(calls: dict[int, Call], link: ReceiverLink, frame: Frame) -> None:
        calls[id(link)].on_frame(frame)

    hello = Hello(BITSTREAM_VERSION, info.model_id, info.weights_sha256)
    options = LinkOptions(bye_timeout_s=6.0)
    server = ReceiverServer(f"127.0.0.1:{port}", hello, handlers, token=token, options=options)
    try:
        tell("facts", {"url": server.url})
        while not pipe.poll(0.05):
            try:
                call = calls.get_nowait()
            except queue.Empty:
                continue
            call.start(None, Measurer(None, info, call.fps, (), None))
            while not call.ending and call.closed is None and call.error is None and not pipe.poll():
                call.show_next(0.05)
            call.finish()
        server.close()
        tell("facts", {"threads_left": _threads()})
    except (EOFError, OSError):
        return
    finally:
        server.close()


def _threads() -> list[str]:
    """Names of the threads that a call left, those of libraries left out: they are never Python's."""
    ours = (threading.main_thread().name, WATCHER)
    return sorted(thread.name for thread in threading.enumerate() if thread.name not in ours)
