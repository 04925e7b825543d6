"""The sender's options: what they are, which go together, which a loopback receiver gets, and where the token is."""

import argparse
import os
from pathlib import Path

from vidcodec.cli import add_shared, check_shared
from vidcodec.errors import InputError, UsageError, reason_of
from vidcodec.settings import EPILOG

DEMO_S = 10.0
LEAST_WIRE_KBPS = 20.0
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
        "--watch-files",
        metavar="DIR",
        type=Path,
        help="where `python -m vidcodec export-web` wrote (default: its folder)",
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
    for name in ("cert", "key", "watch-files"):
        # In a file or the environment they may be the receiver's, or for another call.
        if not options.watch and options.origins.get(name) == "":
            raise UsageError(f"--{name} is for the page of --watch HOST:PORT: leave it out here")
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
        raise InputError(f"--token-file {token_file}: {reason_of(error, 'not text')}") from error
