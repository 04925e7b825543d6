"""`python -m sender`: camera or file -> face crop -> encoder -> a receiver, here (`--loopback`) or elsewhere."""

import argparse
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vidcodec.cli import add_shared, check_shared, link_options, run
from vidcodec.errors import InputError, UsageError, VidcodecError
from vidcodec.logs import say, set_up_logging
from vidcodec.settings import EPILOG, naming_origins, parse

if TYPE_CHECKING:
    from sender.call import Call, CallOptions
    from sender.capture import Source
    from sender.loopback import LoopbackReceiver
    from vidcodec.codec import Codec
    from vidcodec.stopping import Stopping
    from vidcodec.watch.server import WatchServer
    from vidcodec.web.callpage import CallPage

log = logging.getLogger("sender")

DEMO_S = 10.0
LEAST_WIRE_KBPS = 20.0
NEXT_VIEWER_S = 3600.0
"""A page may be closed and opened again."""
BASELINES = ("vp8", "h264", "av1", "h265", "vp9", "bicubic2x", "bicubic4x", "bicubic8x", "none")


def make_parser() -> argparse.ArgumentParser:
    """The options of the sender."""
    parser = argparse.ArgumentParser(
        prog="python -m sender",
        description="Send a call: capture, cut out the face, encode, send. "
        "`python -m sender --loopback` shows it all on this machine.",
        epilog=EPILOG,
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--loopback", action="store_true", help="start a receiver on this machine and call it")
    where.add_argument("--connect", metavar="URL", help="call the receiver that printed this URL")
    where.add_argument(
        "--watch", metavar="HOST:PORT", help="serve a page here and call the browser that opens it (docs/web.md)"
    )
    where.add_argument("--list-devices", action="store_true", help="list the cameras and end")
    parser.add_argument(
        "--token-file", metavar="FILE", help="read the token from here if the URL has none (default: $VIDCODEC_TOKEN)"
    )
    parser.add_argument(
        "--watch-files", metavar="DIR", type=Path, help="what `python -m vidcodec export-web` wrote (default: its own)"
    )
    parser.add_argument(
        "--cert", metavar="FILE.pem", type=Path, help="serve the page of --watch by https with this ..."
    )
    parser.add_argument("--key", metavar="FILE.pem", type=Path, help="... and this key")
    parser.add_argument(
        "--reconnect-timeout",
        type=float,
        metavar="S",
        default=0.0,
        help="when the receiver is lost, try so long to reach it again (default: end at once; with --watch: an hour)",
    )
    parser.add_argument("--ca", metavar="FILE.pem", help="trust this certificate of an https receiver")
    add_shared(parser, "input")
    parser.add_argument("--width", type=int, metavar="W", help="ask the camera for this width")
    parser.add_argument("--height", type=int, metavar="H", help="ask the camera for this height")
    parser.add_argument("--fps", type=float, metavar="F", help="frames a second (default: what the source gives)")
    parser.add_argument("--loop", action="store_true", help="start a file again at its end")
    parser.add_argument(
        "--max-wire-kbps",
        type=float,
        metavar="KBPS",
        help="send no more than this on the wire, everything and all headers included (default: what the path carries)",
    )
    add_shared(parser, "crop", "model", "weights", "bitrate", "quality", "device", "precision", "threads")
    parser.add_argument(
        "--baseline", choices=BASELINES, default="vp8", help="what is measured beside ours (default: %(default)s)"
    )
    parser.add_argument(
        "--baseline-scale",
        type=int,
        choices=(1, 2, 4, 8),
        help="code the baseline at 1/N of the size (default: whatever is best at the rate)",
    )
    add_shared(parser, "display", "web", "metrics", "virtual-camera", "record")
    parser.add_argument("--snapshot", metavar="FILE.png", help="write the last picture, side by side (with --loopback)")
    parser.add_argument(
        "--demo",
        metavar="DIR",
        type=Path,
        help="loopback for 10 s; write side_by_side.mp4, side_by_side.png and report.json into DIR",
    )
    add_shared(parser, "report", "duration", "frames", "ice-server", "ice-user", "relay-only", "impair", "seed")
    add_shared(parser, "log-level", "log-json", "config")
    return parser


def check_options(options: argparse.Namespace) -> None:
    """Check what argparse does not; fills in what `--demo` implies.

    Raises:
        UsageError: options that do not go together or are out of range.
        InputError: a file that is to be written cannot be.
    """
    from vidcodec.report import check_writable

    check_shared(options)
    own_film: Path | None = None
    for name in ("width", "height", "fps"):
        value = getattr(options, name)
        if value is not None and not 0 < value <= 16_384:
            raise UsageError(f"--{name} {value:g}: must be above zero and at most 16384")
    if options.max_wire_kbps is not None and not LEAST_WIRE_KBPS <= options.max_wire_kbps <= 1e6:
        raise UsageError(f"--max-wire-kbps {options.max_wire_kbps:g}: must be {LEAST_WIRE_KBPS:g} to 1000000")
    if not 0 <= options.reconnect_timeout < float("inf"):
        raise UsageError(f"--reconnect-timeout {options.reconnect_timeout:g}: must be 0 or more")
    if options.demo is not None:
        if options.connect or options.watch:
            raise UsageError("--demo shows a loopback call: leave out --connect and --watch")
        options.loopback = True
        own_film = None if options.record else options.demo / "side_by_side.mp4"
        options.record = options.record or [str(own_film)]
        options.snapshot = options.snapshot or str(options.demo / "side_by_side.png")
        options.report = options.report or str(options.demo / "report.json")
        options.loop = True
        if options.frames is None:
            options.duration = options.duration or DEMO_S
    if not options.loopback and not options.connect and not options.watch:
        raise UsageError("say where to: --loopback, --connect URL (the receiver prints it), or --watch HOST:PORT")
    if options.watch and options.model != "s":
        raise UsageError(f"--model {options.model}: browsers decode model s only")
    if options.connect or options.watch:
        for name in ("virtual-camera", "record", "snapshot"):
            if getattr(options, name.replace("-", "_")):
                raise UsageError(f"--{name} works where the call is shown: give it to the receiver, or use --loopback")
        if options.display == "window":
            raise UsageError("--display window works where the call is shown: give it to the receiver")
    for file in options.record or ():
        check_writable(file, "--record")
    for name in ("report", "snapshot"):
        check_writable(getattr(options, name), f"--{name}")
    if own_film is not None:
        own_film.unlink(missing_ok=True)  # recordings write over nothing; a demo renews its own


def receiver_arguments(options: argparse.Namespace) -> list[str]:
    """Options that the receiver of a loopback call gets from the sender's."""
    arguments = ["--model", options.model, "--display", options.display, "--log-level", options.log_level]
    arguments += ["--device", options.device, "--precision", options.precision]
    for name in ("weights", "threads", "web", "metrics", "virtual-camera", "snapshot"):
        value = getattr(options, name.replace("-", "_"))
        if value is not None:
            arguments += [f"--{name}", str(value)]
    for file in options.record or ():
        arguments += ["--record", file]
    return [*arguments, "--log-json"] if options.log_json else arguments


def with_token(url: str, token_file: str | None) -> str:
    """The URL, with the token from a file or the environment where it has none.

    Raises:
        InputError: the file cannot be read.
        UsageError: the URL is none, or the token has characters that no token has.
    """
    from vidcodec.link.whip import check_token, parse_url

    target = parse_url(url)
    if target.token:
        return url
    token = read_token(token_file)
    return f"{target.endpoint}#token={check_token(token)}" if token else url


def read_token(token_file: str | None) -> str | None:
    """The token from a file or the environment, None for neither.

    Raises:
        InputError: the file cannot be read.
    """
    if token_file is None:
        return os.environ.get("VIDCODEC_TOKEN") or None
    try:
        return Path(token_file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--token-file {token_file}: {getattr(error, 'strerror', None) or 'not text'}") from error


class Sender:
    """The command's own state, so that a report can be written whatever happens."""

    def __init__(self, options: argparse.Namespace, stop: "Stopping") -> None:
        from vidcodec.report import CodecFigures, Report

        self.options = options
        self.stop = stop
        self.report = Report(CodecFigures(options.model))
        self.called = False
        self._codec_ready: Callable[[], None]

    def run(self) -> int:
        """Make the call; returns the exit status."""
        from sender.loopback import LoopbackReceiver
        from sender.resending import RecordedSource, SharedCodec, is_recording
        from vidcodec.codec import load_codec
        from vidcodec.realtime import call_threads, prepare_beside

        options = self.options
        url = with_token(options.connect, options.token_file) if options.connect else None
        self._link_options = link_options(options)
        with ExitStack() as stack:
            # A recording settles options that the receiver gets; anything else is opened while the receiver starts.
            source = stack.enter_context(self._open_source()) if is_recording(options.input) else None
            loopback = stack.enter_context(LoopbackReceiver(receiver_arguments(options))) if options.loopback else None
            if source is None:
                source = stack.enter_context(self._open_source())
            weights = Path(options.weights) if options.weights else None
            threads = call_threads(options.threads)
            codec = load_codec(options.model, options.device, options.precision, threads, weights)
            self._codec_ready = prepare_beside(codec)
            import sender.call  # noqa: F401  # takes its time, while the codec runs warm

            if isinstance(source, RecordedSource):
                codec = SharedCodec(codec)
                source.use(codec)
            where: str | WatchServer
            if options.watch:
                where = self._watch(codec, stack)
            elif url is None:
                assert loopback is not None  # check_options: one of the three
                where = loopback.url()
            else:
                where = url
            page = None
            if not options.loopback and (options.web or options.metrics or options.display == "web"):
                from vidcodec.web.callpage import CallPage

                listen = options.web or ("127.0.0.1:0" if options.display == "web" else None)
                page = CallPage(listen, "sender", metrics=options.metrics)
                stack.callback(page.close)
                print(*page.lines, sep="\n", flush=True)
            self._call(codec, source, where, loopback, page)
        return 0

    def _watch(self, codec: "Codec", stack: ExitStack) -> "WatchServer":
        """Serve the page for browsers, and say where."""
        from vidcodec.link.server import load_tls
        from vidcodec.watch.files import WatchFiles, default_folder
        from vidcodec.watch.server import WatchServer

        options, info = self.options, codec.info
        files = WatchFiles.find(options.watch_files or default_folder(), info.model_id, info.weights_sha256)
        tls = load_tls(options.cert, options.key)
        server = WatchServer(options.watch, files, read_token(options.token_file), tls)
        stack.callback(server.close)
        if files.missing:
            say(files.missing)
        print(f"watch the call at {server.url}", flush=True)
        return server

    def _open_source(self) -> "Source":
        """The source that was named, or what stands in for none."""
        from sender.capture import open_source_or_sample
        from sender.resending import RecordedSource, is_recording, settle_options

        options = self.options
        if is_recording(options.input):
            recording = RecordedSource(Path(options.input), options.loop)
            settle_options(options, recording.info)
            return recording
        loop = options.loop or options.input == "sample"
        source, notice = open_source_or_sample(
            options.input, width=options.width, height=options.height, fps=options.fps, loop=loop
        )
        if notice:
            print(notice, flush=True)
        return source

    def _call(
        self,
        codec: "Codec",
        source: "Source",
        where: "str | WatchServer",
        loopback: "LoopbackReceiver | None",
        page: "CallPage | None",
    ) -> None:
        from sender.call import Call
        from sender.crop import LiveCropper
        from vidcodec.terminal import LiveFigures

        options, info = self.options, codec.info
        call = Call(codec, source, self._call_options(codec), loopback.side if loopback else None, page)
        self.report = call.log.report()
        error: BaseException | None = None
        with LiveCropper(options.crop) as cropper, ExitStack() as stack:
            try:
                code = call.connect(where, self._link_options)
                self._codec_ready()
                print(
                    f"connected in {call.connected_s:.2f} s: {source.name}, {source.size[0]}x{source.size[1]} at "
                    f"{source.fps:.3g} fps, model {info.model_id} on {info.device} ({info.precision}), code {code}",
                    flush=True,
                )
                self.called = True
                log.info("connected", extra={"connected_s": call.connected_s, "model_id": info.model_id})
                # To the very end: a signal while the last figures are exchanged must not lose them.
                stack.enter_context(self.stop.deferred())
                with LiveFigures(info.model_id) as figures:
                    call.run(cropper, lambda: self.stop.requested, lambda call: self._tick(call, figures))
            except VidcodecError as failure:
                error = failure
            finally:
                try:
                    call.finish()
                finally:
                    self.report = call.log.report()
        if error is not None:
            raise error

    def _tick(self, call: "Call", figures: object) -> None:
        from vidcodec.terminal import LiveFigures

        assert isinstance(figures, LiveFigures)
        call.update_totals()
        figures.update(call.log.live(), call.baseline_name)

    def _call_options(self, codec: "Codec") -> "CallOptions":
        """Quality or bitrate: what was asked for, else what suits the codec; neither for packets sent as they stand.

        Raises:
            UsageError: the codec has no such quality.
        """
        from sender.call import CallOptions
        from sender.resending import is_recording
        from vidcodec.rate import quality_or_rate

        options, info = self.options, codec.info
        quality, bitrate = quality_or_rate(options.quality, options.bitrate, info.qualities, info.model_id)
        if is_recording(options.input) and options.quality is None and options.bitrate is None:
            quality = bitrate = None
        return CallOptions(
            quality=quality,
            bitrate_kbps=bitrate,
            crop=options.crop,
            baseline=options.baseline,
            baseline_scale=options.baseline_scale,
            duration_s=options.duration,
            frames=options.frames,
            reconnect_s=options.reconnect_timeout or (NEXT_VIEWER_S if options.watch else 0.0),
        )


def list_devices() -> int:
    """Print the cameras."""
    from sender.camera import list_cameras

    cameras = list_cameras()
    for camera in cameras:
        print(f"{camera.index}  {camera.name}")
    if not cameras:
        print("no camera found; use --input FILE or --input sample")
    return 0


def send(argv: Sequence[str] | None) -> int:
    """Body of the command."""
    options = parse(make_parser(), argv, "sender")
    set_up_logging(options.log_level, options.log_json)
    if options.list_devices:
        return list_devices()
    with naming_origins(options):
        check_options(options)
        return _send(options)


def _send(options: argparse.Namespace) -> int:
    from vidcodec.report import write_report
    from vidcodec.stopping import Stopping
    from vidcodec.terminal import print_report

    with Stopping() as stop:
        sender = Sender(options, stop)
        try:
            return sender.run()
        except KeyboardInterrupt:
            say("interrupted")
            return 0
        finally:
            if options.report:
                write_report(sender.report, options.report)
            if sender.called:
                print_report(sender.report)
                log.info("the call is over", extra={"report": asdict(sender.report)})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run(send, argv)


if __name__ == "__main__":
    raise SystemExit(main())
