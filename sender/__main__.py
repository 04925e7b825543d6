"""`python -m sender`: camera or file -> face crop -> encoder -> a receiver, here (`--loopback`) or elsewhere."""

import argparse
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sender.options import check_options, make_parser, read_token, receiver_arguments, with_token
from vidcodec.cli import end, link_options, run
from vidcodec.errors import VidcodecError
from vidcodec.logs import say, set_up_logging
from vidcodec.settings import naming_origins, parse

if TYPE_CHECKING:
    from sender.call import Call, CallOptions
    from sender.capture import Source
    from vidcodec.codec import Codec, CodecInfo
    from vidcodec.stopping import Stopping
    from vidcodec.watch.server import WatchServer

log = logging.getLogger("sender")

NEXT_VIEWER_S = 3600.0
"""A page may be closed and opened again."""


class Sender:
    """The command's own state, so that a report can be written whatever happens."""

    def __init__(self, options: argparse.Namespace, stop: "Stopping") -> None:
        from vidcodec.report import CodecFigures, Report

        self.options = options
        self.stop = stop
        self.report = Report(CodecFigures(options.model))
        self.called = False
        self._notice: str | None = None
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
            from sender.call import Call  # takes its time, while the codec runs warm

            wishes = self._call_options(codec)  # refused before anything is served or said
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
            if self._notice:  # what is wrong with the options has been said by now
                print(self._notice, flush=True)
            self._make(
                Call(codec, source, wishes, loopback.side if loopback else None, page), where, source, codec.info
            )
        return loopback.status if loopback else 0

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
        self._notice = notice
        return source

    def _make(self, call: "Call", where: "str | WatchServer", source: "Source", info: "CodecInfo") -> None:
        """Connect the call, keep it going to its end, and have its report in any case."""
        from sender.crop import LiveCropper
        from vidcodec.terminal import LiveFigures

        self.report = call.log.report()
        error: BaseException | None = None
        with LiveCropper(self.options.crop) as cropper, ExitStack() as stack:
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
            # A call that has ended is not interrupted: its report would be lost, or its status.
            with suppress(KeyboardInterrupt), stop.deferred():
                try:
                    if options.report:
                        write_report(sender.report, options.report)
                finally:  # a disk that is full does not take the figures
                    if sender.called:
                        print_report(sender.report)
                        log.info("the call is over", extra={"report": asdict(sender.report)})
                        if options.demo:
                            files = (*options.record, options.snapshot, options.report)
                            print("written:", ", ".join(file for file in files if Path(file).exists()), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run(send, argv)


if __name__ == "__main__":
    end(main)
