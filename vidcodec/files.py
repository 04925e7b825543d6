"""The file commands: `encode` a video into a .vdc stream, `decode` it again, `info` about one.

These are commands: they stand above everything else, so they may use the sender's reading and cropping of video.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from vidcodec.cli import add_shared, check_shared
from vidcodec.codec import MODELS, Codec, Frame, load_codec, model_of
from vidcodec.container import StreamInfo, StreamWriter, read_info, read_packets
from vidcodec.errors import DamagedPacket, InputError, MissingReference, UsageError, reason_of
from vidcodec.logs import set_up_logging
from vidcodec.packet import NUMBERS, Packet
from vidcodec.replay import Replay
from vidcodec.report import check_writable
from vidcodec.settings import EPILOG, naming_origins, parse

ENDING = ".vdc"

GOP_S = 20.0
"""In a call a receiver whose pictures drift from the sender's asks for a fresh start (`vidcodec.drift`). Nobody does so
for a file, which may be decoded on another device than it was made on."""


@dataclass
class Totals:
    """Sums over a stream."""

    frames: int = 0
    intra: int = 0
    lost: int = 0
    packet_bytes: int = 0
    quality_sum: int = 0
    part_bits: dict[str, float] = field(default_factory=dict)

    def add(self, packet: Packet | None, parts: Mapping[str, float] | None = None) -> None:
        if packet is None:
            self.lost += 1
            return
        self.frames += 1
        self.intra += packet.header.distance == 0
        self.packet_bytes += len(packet)
        self.quality_sum += packet.header.quality
        for name, bits in (parts or {}).items():
            self.part_bits[name] = self.part_bits.get(name, 0.0) + bits


def encode_parser() -> argparse.ArgumentParser:
    """Options of `vidcodec encode IN OUT.vdc`."""
    parser = argparse.ArgumentParser(prog="vidcodec encode", description="Encode the face in a video.", epilog=EPILOG)
    parser.add_argument("source", metavar="IN", help="any video file, or 'sample'")
    parser.add_argument("out", metavar="OUT.vdc", type=Path, help="the file to write")
    add_shared(parser, "model", "weights", "bitrate", "quality", "crop", "device", "precision", "threads")
    parser.add_argument(
        "--gop",
        type=float,
        default=GOP_S,
        metavar="S",
        help="seconds from one frame without a reference to the next (default: %(default)g); 0: only the first is one",
    )
    add_shared(parser, "frames", "report", "log-level", "log-json", "config")
    return parser


def encode_main(argv: Sequence[str] | None) -> int:
    """`vidcodec encode IN OUT.vdc`."""
    return _with_options(_encode, encode_parser(), argv, "encode")


def _encode(options: argparse.Namespace) -> int:
    # A name in the wrong place would be written over: the video itself, where it was given twice.
    if options.out.suffix.lower() != ENDING:
        raise UsageError(f"{options.out}: cannot write {options.out.suffix or 'a file without ending'}; use {ENDING}")
    _refuse_same(options.source, options.out, options.report)
    check_writable(options.report, "--report")
    if not 0 <= options.gop < float("inf"):
        raise UsageError(f"--gop {options.gop:g}: must be 0 or more seconds")
    codec = _codec(options, options.model)

    from sender.capture import open_source
    from sender.crop import crop_frames
    from vidcodec.heldrate import encode_held
    from vidcodec.metrics import mse as frame_mse
    from vidcodec.metrics import psnr_db
    from vidcodec.rate import DEFAULT_KBPS, RateControl, quality_or_rate

    quality, kbps = quality_or_rate(options.quality, options.bitrate, codec.info.qualities, codec.info.model_id)

    with ExitStack() as stack:
        source = stack.enter_context(open_source(options.source, paced=False))
        pictures: Iterator[Frame] = crop_frames((f.picture for f in source.frames()), source.fps, options.crop)
        file = stack.enter_context(_open(options.out, "wb"))
        info = StreamInfo(codec.info.model_id, codec.info.weights_sha256, source.fps)
        writer = StreamWriter(file, info)
        control = RateControl.start(kbps or DEFAULT_KBPS, source.fps, codec.info.qualities, codec.info.lowest)
        gop = max(1, round(options.gop * source.fps)) if options.gop else None
        state, totals, error = codec.blank_state(), Totals(), 0.0
        for index, picture in enumerate(pictures):
            if index == options.frames:
                break
            number = None
            if gop and index and index % gop == 0:
                number, state = index % NUMBERS, codec.blank_state()
            if quality is None:
                packet, state, control = encode_held(codec, picture, state, control, number)
            else:
                packet, state = codec.encode(picture, state, quality, number)
            writer.write(packet)
            totals.add(packet)
            error += frame_mse(picture, state.picture)
    if not totals.frames:
        raise InputError(f"{options.source}: no frame in it")
    mse = error / totals.frames
    figures = {**_figures(info, totals), "mse": mse, "psnr_db": psnr_db(mse)}
    print(
        f"{totals.frames} frames, {figures['kbps']:.1f} kbit/s at {info.fps:g} fps, "
        f"MSE {mse:.2e}, PSNR {figures['psnr_db']:.2f} dB"
    )
    if options.report:
        with _open(Path(options.report), "wb") as file:
            file.write(json.dumps(figures, indent=2).encode() + b"\n")
    return 0


def decode_parser() -> argparse.ArgumentParser:
    """Options of `vidcodec decode IN.vdc OUT.mkv|.mp4|.png`."""
    parser = argparse.ArgumentParser(
        prog="vidcodec decode", description="Decode a .vdc stream into pictures.", epilog=EPILOG
    )
    parser.add_argument("source", metavar="IN.vdc", type=Path, help="what `vidcodec encode` or --record wrote")
    parser.add_argument("out", metavar="OUT", help="OUT.mkv (lossless), OUT.mp4, or OUT.png (numbered files)")
    add_shared(parser, "weights", "device", "precision", "threads", "log-level", "log-json", "config")
    return parser


def decode_main(argv: Sequence[str] | None) -> int:
    """`vidcodec decode IN.vdc OUT.mkv|.mp4|.png`."""
    return _with_options(_decode, decode_parser(), argv, "decode")


def _decode(options: argparse.Namespace) -> int:
    from vidcodec.videowriter import VideoWriter

    _refuse_same(options.source, options.out)
    frozen = 0
    with _open(options.source, "rb") as file:
        info = _named_info(options.source, file)
        codec = _codec_of(options, info)
        replay = Replay(codec)
        with VideoWriter(options.out, info.fps) as writer:
            damage: DamagedPacket | None = None
            try:
                for index, packet in enumerate(read_packets(file)):
                    # A lost frame, and one that needs it, freezes the picture, as it did in the call.
                    try:
                        if packet is not None:
                            replay.decode(packet)
                        frozen += packet is None
                    except MissingReference:
                        frozen += 1
                    except DamagedPacket as error:
                        raise _in_record(index, error) from error
                    writer.write(replay.picture)
            except DamagedPacket as error:
                damage = error
    if damage is not None:
        raise DamagedPacket(f"{options.source}: {damage}; {writer.frames} frames were written")
    if not writer.frames:
        raise DamagedPacket(f"{options.source}: no packet is in it")
    print(f"{writer.frames} frames{f', {frozen} of them lost,' if frozen else ''} to {writer.names}")
    return 0


def info_parser() -> argparse.ArgumentParser:
    """Options of `vidcodec info IN.vdc`."""
    parser = argparse.ArgumentParser(
        prog="vidcodec info", description="Say what is in a .vdc stream; check every packet.", epilog=EPILOG
    )
    parser.add_argument("source", metavar="IN.vdc", type=Path, help="what `vidcodec encode` or --record wrote")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_shared(parser, "weights", "threads", "log-level", "log-json", "config")
    return parser


def info_main(argv: Sequence[str] | None) -> int:
    """`vidcodec info IN.vdc`."""
    return _with_options(_info, info_parser(), argv, "info")


def _info(options: argparse.Namespace) -> int:
    options.device, options.precision = "cpu", "fp32"
    totals, damage = Totals(), None
    with _open(options.source, "rb") as file:
        info = _named_info(options.source, file)
        codec = _codec_of(options, info)
        replay = Replay(codec)
        try:
            for index, packet in enumerate(read_packets(file)):
                try:
                    _check(packet, replay, totals)
                    totals.add(packet, codec.part_bits(packet) if packet is not None else None)
                except DamagedPacket as error:
                    raise _in_record(index, error) from error
        except DamagedPacket as error:
            damage = DamagedPacket(f"{options.source}: {error}; {totals.frames + totals.lost} frames are before it")
    if damage is None or totals.frames:
        figures = _figures(info, totals)
        if options.json:
            print(json.dumps(figures, indent=2))
        else:
            for name, value in figures.items():
                print(f"{name:24}{value:.2f}" if isinstance(value, float) else f"{name:24}{value}")
    if damage is not None:
        raise damage
    return 0


def _check(packet: Packet | None, replay: Replay, before: Totals) -> None:
    """Decode a packet. It may lack a reference only where a frame before it was lost."""
    try:
        if packet is not None:
            replay.decode(packet)
    except MissingReference:
        if not before.lost:
            raise


def _in_record(index: int, error: DamagedPacket) -> DamagedPacket:
    """What a codec says of a packet, with its place in the file. (What the file itself says has one.)"""
    return DamagedPacket(f"record {index}: {error}")


def _figures(info: StreamInfo, totals: Totals) -> dict[str, object]:
    count = max(totals.frames, 1)
    seconds = (totals.frames + totals.lost) / info.fps
    return {
        "model_id": info.model_id,
        "weights_sha256": info.weights_sha256,
        "fps": info.fps,
        "frames": totals.frames,
        "intra_frames": totals.intra,
        "lost_frames": totals.lost,
        "kbps": totals.packet_bytes * 8 / 1000 / seconds if seconds else 0.0,
        "bytes": totals.packet_bytes,
        "bits_per_frame": totals.packet_bytes * 8 / count,
        **{f"{name}_bits_per_frame": bits / count for name, bits in totals.part_bits.items()},
        "mean_quality": totals.quality_sum / count,
    }


def _with_options(
    body: Callable[[argparse.Namespace], int], parser: argparse.ArgumentParser, argv: Sequence[str] | None, name: str
) -> int:
    """Run a command's body with its options, wherever they stand."""
    options = parse(parser, argv, name)
    set_up_logging(options.log_level, options.log_json)
    with naming_origins(options):
        check_shared(options)
        return body(options)


def _codec(options: argparse.Namespace, model: str) -> Codec:
    """Load by option or by the id in a stream, which may say more than the option: `s-3000` is weights of `s`."""
    weights = Path(options.weights) if options.weights else None
    return load_codec(model_of(model), options.device, options.precision, options.threads, weights)


def _codec_of(options: argparse.Namespace, info: StreamInfo) -> Codec:
    """The codec that made a stream. With other weights the first packet would look damaged.

    Raises:
        InputError: there is no such model here, or the weights at hand are others.
    """
    if model_of(info.model_id) not in MODELS:
        raise InputError(f"{options.source}: made with model {info.model_id!r}, which this version does not have")
    codec = _codec(options, info.model_id)
    if codec.info.weights_sha256 != info.weights_sha256:
        raise InputError(f"{options.source}: made with other weights of model {info.model_id!r}; give --weights FILE")
    return codec


def _named_info(path: Path, file: BinaryIO) -> StreamInfo:
    with _naming(path):
        return read_info(file)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What is damaged in a file is said with its name."""
    try:
        yield
    except DamagedPacket as error:
        raise DamagedPacket(f"{path}: {error}") from error


@contextmanager
def _open(path: Path, mode: str) -> Iterator[BinaryIO]:
    """A file whose every refusal, a disk that is full among them, is said with its name."""
    try:
        with open(path, mode) as file:
            yield cast(BinaryIO, file)
    except OSError as error:
        raise InputError(f"{path}: {reason_of(error)}") from error


def _refuse_same(*paths: str | Path | None) -> None:
    """Raises UsageError where two paths are of one file: what is written to one would destroy the other."""
    found: dict[str, str | Path] = {}
    for path in paths:
        if path is None:
            continue
        other = found.setdefault(os.path.realpath(path), path)
        if other is not path:
            raise UsageError(f"{path}: is the same file as {other}; give another name")
