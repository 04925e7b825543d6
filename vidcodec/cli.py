"""What every command shares: options with one name and one meaning, and errors that end in one line and a status."""

import argparse
import errno
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from vidcodec.errors import InputError, UsageError, VidcodecError, reason_of
from vidcodec.logs import say, say_error

if TYPE_CHECKING:
    from vidcodec.link import LinkOptions

ICE_PASSWORD = "VIDCODEC_ICE_PASSWORD"

SHARED: dict[str, dict[str, Any]] = {
    "input": dict(
        metavar="SOURCE",
        help="camera index, video file, recorded .vdc, or 'sample', the bundled clip (default: the first camera, or "
        "the clip where there is none)",
    ),
    "model": dict(choices=("seed", "s", "s-p"), help="which codec; s-p is for looks at low rates"),
    "weights": dict(metavar="FILE", help="safetensors file to use instead of the bundled weights"),
    "bitrate": dict(
        type=float,
        metavar="KBPS",
        help="payload rate to hold, kbit/s (default: 40; a model of few qualities gets its middle one instead)",
    ),
    "quality": dict(
        type=int, metavar="Q", help="fixed quality in place of a rate, 0 (fewest bits) to 63; a model may have fewer"
    ),
    "crop": dict(choices=("face", "center", "none"), default="face", help="what part of the picture is sent"),
    "device": dict(
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where the network runs (default: auto, a GPU where there is one that works)",
    ),
    "precision": dict(
        choices=("auto", "fp32", "fp16", "bf16"),
        default="auto",
        help="arithmetic of the network (default: auto, fp16 on a GPU and fp32 on a CPU)",
    ),
    "threads": dict(
        type=int,
        metavar="N",
        help="CPU threads for the network (default: in a call a quarter of the cores, 1 to 4; else what torch chooses)",
    ),
    "display": dict(
        choices=("auto", "window", "web", "none"),
        default="auto",
        help="how to show the call (default: auto, a window where there is a screen, else a web page)",
    ),
    "web": dict(metavar="HOST:PORT", help="show the call on a web page here (--display web: a free port of 127.0.0.1)"),
    "metrics": dict(metavar="HOST:PORT", help="serve the live figures to Prometheus at http://HOST:PORT/metrics"),
    "virtual-camera": dict(
        choices=("480p", "720p"),
        nargs="?",
        const="480p",
        help="show what is received as a camera to other programs, 640x480 (default) or 1280x720",
    ),
    "record": dict(
        action="append",
        metavar="FILE",
        help="record what is shown: .mkv (lossless), .mp4, or .vdc (packets); repeatable, once for each kind; a "
        "file that is there already is kept, and the recording gets a number",
    ),
    "report": dict(metavar="FILE.json", help="write the final figures to this file"),
    "duration": dict(type=float, metavar="S", help="stop after this many seconds"),
    "frames": dict(type=int, metavar="N", help="stop after this many frames"),
    "ice-server": dict(
        action="append",
        metavar="URL",
        help="STUN or TURN server for a path through address translation: stun:HOST:PORT, turn:HOST:PORT (repeatable)",
    ),
    "ice-user": dict(metavar="NAME", help=f"account at the TURN server; its password is ${ICE_PASSWORD}"),
    "relay-only": dict(action="store_true", help="use no path but the TURN server's"),
    "impair": dict(
        metavar="SPEC",
        help="put a bad network between the two ends: delay=20,jitter=5,loss=5,burst=3,rate=60,queue=400 "
        "(ms, ms, %%, datagrams, kbit/s, ms) or a trace.json",
    ),
    "log-level": dict(
        choices=("debug", "info", "warning", "error"),
        default="warning",
        help="how much to log",
    ),
    "log-json": dict(action="store_true", help="log lines and errors as JSON, one object a line"),
    "config": dict(metavar="FILE.toml", help="read options from this file: bitrate = 40, or in a table for a command"),
    "seed": dict(type=int, metavar="N", default=0, help="seed of everything random"),
}


BYE_TIMEOUT_S = 6.0
"""A receiver on a busy machine measures what it has shown before it answers the goodbye."""

MOST_KBPS = 1e6
"""Raw pictures take less at any frame rate that a camera has, and other codecs take no larger number."""

MOST_THREADS = 1024
"""No machine is better off with more; torch ends the process where the system refuses some of them."""

ENDINGS = {"record": (".mkv", ".mp4", ".vdc"), "snapshot": (".png",)}


def add_shared(parser: argparse.ArgumentParser, *names: str, **defaults: object) -> None:
    """Add shared options by name, such as `add_shared(parser, "bitrate", "report", model="seed")`.

    Help says what the default is: the option's own, or the one given here.
    """
    for name in names:
        settings = dict(SHARED[name])
        key = name.replace("-", "_")
        if key in defaults:
            settings["default"] = defaults[key]
            settings["help"] = re.sub(r" \(default: [^)]*\)", "", settings["help"])
        elif name == "model":
            settings["default"] = default_model()
        default = settings.get("default")
        if "(default: " not in settings["help"] and type(default) in (str, int, float):
            settings["help"] += f" (default: {default:g})" if isinstance(default, float) else f" (default: {default})"
        parser.add_argument(f"--{name}", **settings)


def default_model() -> str:
    """The learned codec where its weights are installed, else the source paper's."""
    from vidcodec.weights import weights_dir

    return "s" if (weights_dir() / "s.safetensors").is_file() else "seed"


def check_shared(options: argparse.Namespace) -> None:
    """Check the ranges and names that argparse does not.

    Raises:
        UsageError: a number is out of its range, two options exclude each other, or a file has an ending nobody writes.
    """
    recordings = getattr(options, "record", None) or []
    snapshot = getattr(options, "snapshot", None)
    for name, files in (("record", recordings), ("snapshot", [snapshot] if snapshot else [])):
        for file in files:
            if not file.lower().endswith(ENDINGS[name]):
                raise UsageError(f"--{name} {file}: the name must end in {' or '.join(ENDINGS[name])}")
    kinds = [file.lower().rpartition(".")[2] for file in recordings]
    if len(set(kinds)) < len(kinds):
        raise UsageError(f"--record {recordings[-1]}: give one file of each kind")
    for name in ("bitrate", "duration", "frames", "threads"):
        value = getattr(options, name, None)
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"--{name} {value:g}: must be above zero")
    if (getattr(options, "bitrate", None) or 0) > MOST_KBPS:
        raise UsageError(f"--bitrate {options.bitrate:g}: is in kbit/s and at most {MOST_KBPS:g}")
    if (getattr(options, "threads", None) or 0) > MOST_THREADS:
        raise UsageError(f"--threads {options.threads}: at most {MOST_THREADS}")
    if getattr(options, "quality", None) is not None:
        if options.quality < 0:
            raise UsageError(f"--quality {options.quality}: must be 0 or more")
        if getattr(options, "bitrate", None) is not None:
            raise UsageError("--quality and --bitrate exclude each other: give one")


def link_options(options: argparse.Namespace) -> "LinkOptions":
    """How the link behaves, by the options `ice-*`, `relay-only`, `impair`, `seed` and, where there is one, `ca`.

    Raises:
        UsageError: `--impair` is no impairment, or a server is none.
        InputError: its file cannot be read.
    """
    from vidcodec.link import IceOptions, IceServer, LinkOptions, parse_impairment
    from vidcodec.link.ice import check_servers

    password = os.environ.get(ICE_PASSWORD)
    servers = [IceServer(url, options.ice_user, password) for url in options.ice_server or ()]
    ice = IceOptions(servers, options.relay_only)
    check_servers(ice)
    impair = parse_impairment(options.impair) if options.impair else None
    return LinkOptions(
        ice=ice,
        ca_file=getattr(options, "ca", None),
        impair=impair,
        seed=options.seed,
        bye_timeout_s=BYE_TIMEOUT_S,
        max_wire_kbps=getattr(options, "max_wire_kbps", None),
    )


def run(body: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Run a command's body; errors become one line on stderr and the exit status of their kind.

    `body` handles Ctrl-C itself where something is to be saved; one that reaches this point ends with 130.
    """
    if sys.stdout is None:  # begun with stdout closed (`>&-`): there is nobody to print for
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for as long as the process lives)
    elif isinstance(sys.stdout, io.TextIOWrapper):
        # As stderr does: a file's name that the terminal's or the pipe's encoding lacks is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = body(argv)
        sys.stdout.flush()
        return status
    except VidcodecError as error:
        say_error(error, error.exit_status)
        return error.exit_status
    except BrokenPipeError:
        # The reader of our output went away (`... | head`): not an error of ours, and nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        # What writes files says which one: this is what we print, into a file on a disk that is full.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        full = InputError(f"standard output: {reason_of(error)}")
        say_error(full, full.exit_status)
        return full.exit_status
    except KeyboardInterrupt:
        say("interrupted")
        return 130


def end(main: Callable[[], int]) -> NoReturn:
    """Run a whole program. One more Ctrl-C while Python closes down after it does not change its exit status."""
    status = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise SystemExit(status)
