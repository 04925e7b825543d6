"""`python -m receiver`: listen for a sender, show its call, write the report."""

import argparse
import logging
import os
import queue
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vidcodec.cli import add_shared, check_shared, end, link_options, run
from vidcodec.errors import InputError, PeerError, VidcodecError, reason_of
from vidcodec.logs import say, say_error, set_up_logging
from vidcodec.settings import EPILOG, naming_origins, parse

if TYPE_CHECKING:
    from receiver.call import Call
    from receiver.display import Window
    from receiver.virtualcamera import VirtualCamera
    from vidcodec.codec import Codec
    from vidcodec.link.server import ReceiverServer
    from vidcodec.sidechannel import SideReceiver
    from vidcodec.stopping import Stopping
    from vidcodec.web.callpage import CallPage

log = logging.getLogger("receiver")

TOKEN_VARIABLE = "VIDCODEC_TOKEN"
DEFAULT_LISTEN = "127.0.0.1:8443"


def make_parser() -> argparse.ArgumentParser:
    """The options of the receiver."""
    parser = argparse.ArgumentParser(
        prog="python -m receiver",
        description="Receive a call: wait for a sender, decode and show what it sends, write a report.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default=DEFAULT_LISTEN,
        help="where senders connect (default: %(default)s, this machine only; 0.0.0.0:8443 for others)",
    )
    parser.add_argument("--once", action="store_true", help="end after the first call instead of waiting for the next")
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help=f"read the token that senders must show (default: ${TOKEN_VARIABLE}, else a new one at each start)",
    )
    parser.add_argument("--cert", metavar="FILE.pem", type=Path, help="serve https with this certificate ...")
    parser.add_argument("--key", metavar="FILE.pem", type=Path, help="... and this key")
    add_shared(parser, "model", "weights", "device", "precision", "threads", "display", "web")
    add_shared(parser, "metrics", "virtual-camera", "record")
    parser.add_argument("--snapshot", metavar="FILE.png", help="write the last picture of the call, with its figures")
    add_shared(parser, "report", "duration", "frames", "ice-server", "ice-user", "relay-only", "impair", "seed")
    add_shared(parser, "log-level", "log-json", "config")
    return parser


def read_token(token_file: str | None) -> str | None:
    """The token from a file or the environment; None for neither.

    Raises:
        InputError: the file cannot be read.
    """
    if token_file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        return Path(token_file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error, "not text")
        raise InputError(f"--token-file {token_file}: {reason}") from error


class Receiver:
    """The command's own state: one codec, one server, one call after another."""

    def __init__(self, options: argparse.Namespace, stop: "Stopping") -> None:
        from vidcodec.report import CodecFigures, Report

        self.options = options
        self.stop = stop
        self.report = Report(CodecFigures(options.model))
        self.calls: queue.Queue[Call] = queue.Queue()
        self.reported = False
        self._by_link: dict[int, Call] = {}
        self._side: SideReceiver | None = None
        self._lost: Call | None = None
        self._page: CallPage | None = None
        self._camera: VirtualCamera | None = None

    def run(self) -> int:
        """Serve until told to stop; returns the exit status."""
        from receiver.display import Window, choose_display
        from receiver.showing import waiting_picture
        from vidcodec.codec import load_codec
        from vidcodec.realtime import call_threads, prepare_beside
        from vidcodec.sidechannel import ENVIRONMENT, SideReceiver

        options = self.options
        display = choose_display(options.display)
        token = read_token(options.token_file)
        self._link_options = link_options(options)
        if os.environ.get(ENVIRONMENT):
            self._side = SideReceiver(os.environ[ENVIRONMENT])
        weights = Path(options.weights) if options.weights else None
        threads = call_threads(options.threads)
        codec = load_codec(options.model, options.device, options.precision, threads, weights)
        ready = prepare_beside(codec)
        info = codec.info
        self._know_codec(codec)
        window = Window() if display == "window" else None
        if window is not None:
            window.show(waiting_picture(self._side is not None))
        with ExitStack() as stack:
            if display == "web" or options.web or options.metrics:
                self._page = self._open_page(options.web or ("127.0.0.1:0" if display == "web" else None), token)
                stack.callback(self._page.close)
            if options.virtual_camera:
                self._camera = self._open_camera(options.virtual_camera)
                stack.callback(self._camera.close)
            server = stack.enter_context(self._listen(codec, token, ready))
            if self._side is None:
                print(f"model {info.model_id} on {info.device} ({info.precision}), display: {display}")
                print(f"listening at {server.url}\non the other side run:\n  {server.command_line}", flush=True)
            else:
                print(server.url, flush=True)
            if self._page is not None:
                print(*self._page.lines, sep="\n", flush=True)
            if self._camera is not None:
                print(f"virtual camera: {self._camera.name}", flush=True)
            while True:
                call = self._next_call(window)
                if call is None:
                    return 0  # stopped in order; how the last call ended was said then
                status = self._serve(call, codec, window)
                if self._side is not None or options.once or options.duration or options.frames or self.stop.requested:
                    return status
                print(f"waiting for the next call at {server.url} (Ctrl-C ends)", flush=True)

    def _open_page(self, listen: str | None, token: str | None) -> "CallPage":
        """The web page, and the figures for Prometheus. In loopback the sender's token is not for viewers."""
        from vidcodec.link.server import load_tls
        from vidcodec.web.callpage import CallPage

        options = self.options
        tls = load_tls(options.cert, options.key)
        own = None if self._side is not None else token
        return CallPage(listen, "receiver", own, metrics=options.metrics, tls=tls)

    @staticmethod
    def _open_camera(size: str) -> "VirtualCamera":
        from receiver.virtualcamera import CAMERA_FPS, SIZES, CameraSize, VirtualCamera

        return VirtualCamera(CameraSize(*SIZES[size], CAMERA_FPS))

    def _know_codec(self, codec: "Codec") -> None:
        from vidcodec.report import CodecFigures, Report

        info = codec.info
        self.report = Report(CodecFigures(info.model_id, info.weights_sha256, info.device, info.precision))

    def _listen(self, codec: "Codec", token: str | None, ready: Callable[[], None]) -> "ReceiverServer":
        from receiver.call import Call
        from vidcodec.codec import BITSTREAM_VERSION, FRAME_SIZE
        from vidcodec.link import Closed, Frame, Hello, ReceiverHandlers, ReceiverLink, ReceiverServer

        ready()  # the imports took place meanwhile

        def opened(link: ReceiverLink, hello: Hello) -> None:
            lost = self._lost if hello.first else None
            call = self._by_link[id(link)] = Call(codec, link, hello, self._side, lost)
            self._lost = None
            self.calls.put(call)

        def closed(link: ReceiverLink, how: Closed) -> None:
            call = self._by_link.pop(id(link))
            call.on_closed(how)
            self._lost = call if how.reason == "lost" else None

        def framed(link: ReceiverLink, frame: Frame) -> None:
            self._by_link[id(link)].on_frame(frame)

        handlers = ReceiverHandlers(
            on_open=opened,
            on_closed=closed,
            on_frame=framed,
            on_stats=lambda link, stats: self._by_link[id(link)].on_stats(stats),
            on_bye=lambda link, stats: self._by_link[id(link)].on_bye(stats),
            on_refused=lambda error: say(f"a sender was refused: {error}"),
        )
        info = codec.info
        hello = Hello(BITSTREAM_VERSION, info.model_id, info.weights_sha256, width=FRAME_SIZE, height=FRAME_SIZE)
        return ReceiverServer(
            self.options.listen,
            hello,
            handlers,
            token=token,
            options=self._link_options,
            cert=self.options.cert,
            key=self.options.key,
        )

    def _next_call(self, window: "Window | None") -> "Call | None":
        """Wait for a sender; None when told to stop."""
        with self.stop.deferred():
            while not self.stop.requested and not (window is not None and window.wants_to_quit()):
                try:
                    return self.calls.get(timeout=0.05)
                except queue.Empty:
                    # The sender that started this process may have been ended before it called.
                    if self._side is not None and self._side.closed:
                        return None
        return None

    def _serve(self, call: "Call", codec: "Codec", window: "Window | None") -> int:
        """Run one call to its end; returns the exit status it stands for."""
        from receiver.measuring import Measurer
        from vidcodec.report import write_report
        from vidcodec.terminal import LiveFigures, print_report

        options = self.options
        quiet = self._side is not None
        error: BaseException | None = None
        self.reported = False
        log.info("a call began", extra={"fps": call.fps})
        with self.stop.deferred():
            try:
                if not quiet:
                    print(f"call at {call.fps:.3g} fps, code {call.code}", flush=True)
                page = self._page
                record = self._unused_files()
                measurer = Measurer(self._side, codec.info, call.fps, record, options.snapshot, page=page)
                call.start(window, measurer, page, self._camera)
                with LiveFigures(codec.info.model_id, quiet) as figures:
                    error = self._watch(call, window, figures)
            except Exception as failure:  # whatever it is, the sender gets its goodbye and the recordings their end
                error = failure
            try:
                call.finish()
            except VidcodecError as failure:
                error = error or failure
            finally:
                self.report = call.log.report()
            if self._page is not None:
                self._page.end(str(error) if error is not None else "the call is over")
            self.reported = True
            try:
                if options.report:
                    write_report(self.report, options.report)
            finally:  # a disk that is full does not take the figures
                if not quiet:
                    print_report(self.report)
        log.info("the call is over", extra={"report": asdict(self.report)})
        if error is None:
            return 0
        if not isinstance(error, VidcodecError):
            raise error
        say_error(error, error.exit_status)
        return error.exit_status

    def _unused_files(self) -> list[str]:
        """The files that this call is recorded to: as asked for, or numbered names where those exist already."""
        from receiver.recording import unused

        files = [unused(file) for file in self.options.record or ()]
        for asked, file in zip(self.options.record or (), files, strict=True):
            if file != asked:
                print(f"recording to {file}: {asked} is there already", flush=True)
        return files

    def _watch(self, call: "Call", window: "Window | None", figures: object) -> BaseException | None:
        """Show pictures until something ends the call; returns the error if it was one."""
        from vidcodec.terminal import LiveFigures

        assert isinstance(figures, LiveFigures)
        options = self.options
        start_s = drawn_s = time.monotonic()
        while True:
            call.show_next(0.05)
            if window is not None and window.wants_to_quit():
                return None
            now_s = time.monotonic()
            if now_s - drawn_s > 0.25:
                drawn_s = now_s
                figures.update(call.live, call.baseline)
            if call.error is not None:
                return call.error
            if call.closed is not None:
                return None if call.closed.reason == "bye" else call.closed.error or PeerError("the sender is gone")
            if call.ending or self.stop.requested:
                return None
            if options.duration and now_s - start_s >= options.duration:
                return None
            if options.frames and call.shown >= options.frames:
                return None


def receive(argv: Sequence[str] | None) -> int:
    """Body of the command."""
    options = parse(make_parser(), argv, "receiver")
    set_up_logging(options.log_level, options.log_json)
    with naming_origins(options):
        return _receive(options)


def _receive(options: argparse.Namespace) -> int:
    check_shared(options)

    from vidcodec.report import check_writable, write_report
    from vidcodec.stopping import Stopping

    for file in options.record or ():
        check_writable(file, "--record")
    for option in ("report", "snapshot"):
        check_writable(getattr(options, option), f"--{option}")
    with Stopping() as stop:
        receiver = Receiver(options, stop)
        try:
            return receiver.run()
        except KeyboardInterrupt:
            return 0
        finally:
            # A receiver that served nobody still says so, and one whose call was interrupted twice what is known of it.
            if options.report and not receiver.reported:
                write_report(receiver.report, options.report)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run(receive, argv)


if __name__ == "__main__":
    end(main)
