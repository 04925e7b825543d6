"""Every peer and every option it runs with. Tables print these; nothing else sets an option.

All run at zero delay, one thread, one intra frame at the start and none after it (a call sends another one only when
it is asked to), 8-bit 4:2:0. `quality` options hold the quantiser or constant quality of a rate-distortion point;
`bitrate` options hold a rate as a live call does.
"""

from dataclasses import dataclass, replace

from vidcodec.errors import UsageError

Options = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """A peer.

    Attributes:
        name: as tables and `--codecs` call it.
        encoder, decoder: libavcodec's names.
        transport: row of `vidcodec.wire.TRANSPORTS`.
        options: always set.
        quality_options: set for a fixed quality; `{q}` stands for the level.
        bitrate_options: set for a bitrate; `{bps}` is bit/s, `{kbps}` kbit/s, `{buffer}` bits of the rate buffer.
        decoder_options: set in the decoder.
        ladder: `q` from few bits to many; `levels_at` picks eight of them.
        pixel_format: what the encoder is fed.
        smallest: the least width and height it codes.
    """

    name: str
    encoder: str
    decoder: str
    transport: str
    options: Options
    quality_options: Options
    bitrate_options: Options
    ladder: tuple[int, ...]
    decoder_options: Options = ()
    pixel_format: str = "yuv420p"
    smallest: int = 16

    @property
    def levels(self) -> tuple[int, ...]:
        """Rate points at full size."""
        return self.levels_at(1)

    def levels_at(self, scale: int) -> tuple[int, ...]:
        """Eight rate points that give about 10 to 150 kbit/s of a 192x192 face at 30 fps: finer ones when smaller."""
        first = {1: 0, 2: 2}.get(scale, 3)
        return self.ladder[first : first + 8]

    def with_quality(self, q: int) -> Options:
        """Options of one rate-distortion point."""
        return _merge(self.options, self.quality_options, {"q": q})

    def with_bitrate(self, bits_per_s: int) -> Options:
        """Options for a payload bitrate, with a rate buffer of one second."""
        values = {"bps": bits_per_s, "kbps": max(1, round(bits_per_s / 1000)), "buffer": bits_per_s}
        return _merge(self.options, self.bitrate_options, values)


def _merge(options: Options, extra: Options, values: dict[str, int]) -> Options:
    """`extra` behind `options`; a `...-params` list that is in both is joined by colons."""
    merged = dict(options)
    for key, template in extra:
        value = template.format(**values)
        merged[key] = f"{merged[key]}:{value}" if key.endswith("-params") and key in merged else value
    return tuple(merged.items())


def _x264(preset: str) -> VideoSettings:
    return VideoSettings(
        name=f"x264-{preset}",
        encoder="libx264",
        decoder="h264",
        transport="rtp-h264",
        options=(("preset", preset), ("tune", "zerolatency"), ("g", "99999"), ("threads", "1")),
        quality_options=(("crf", "{q}"),),
        bitrate_options=(("b", "{bps}"), ("maxrate", "{bps}"), ("bufsize", "{buffer}")),
        ladder=(44, 40, 36, 32, 29, 26, 23, 20, 17, 14, 11),
    )


_X265_QUIET = "pools=none:frame-threads=1:log-level=none:info=0:keyint=-1"
_SVT_LIVE = "pred-struct=1:rtc=1:lookahead=0:lp=1"

PEERS: dict[str, VideoSettings] = {
    settings.name: settings
    for settings in (
        _x264("veryfast"),
        _x264("medium"),
        VideoSettings(
            name="x265-medium",
            encoder="libx265",
            decoder="hevc",
            transport="rtp-h265",
            options=(("preset", "medium"), ("tune", "zerolatency"), ("x265-params", _X265_QUIET)),
            quality_options=(("x265-params", "crf={q}"),),
            bitrate_options=(("x265-params", "bitrate={kbps}:vbv-maxrate={kbps}:vbv-bufsize={kbps}"),),
            ladder=(45, 41, 37, 33, 30, 27, 24, 21, 18, 15, 12),
        ),
        VideoSettings(
            name="vp8",
            encoder="libvpx",
            decoder="vp8",
            transport="rtp-vp8",
            # Positive speeds let libvpx choose one by the clock, so that a busy machine makes VP8 worse. On 192x192
            # faces `cpu-used=5` settles at speed 4 and costs 0-2 % more bits than 4 itself; negative means fixed.
            options=(("deadline", "realtime"), ("cpu-used", "-4"), ("lag-in-frames", "0"), ("g", "99999")),
            quality_options=(("qmin", "{q}"), ("qmax", "{q}"), ("b", "1000000")),
            bitrate_options=(
                ("b", "{bps}"),
                ("minrate", "{bps}"),
                ("maxrate", "{bps}"),
                ("bufsize", "{buffer}"),
                ("qmin", "2"),
                ("qmax", "63"),
            ),
            ladder=(63, 58, 52, 45, 37, 28, 20, 13, 8, 5, 3),
        ),
        VideoSettings(
            name="vp9",
            encoder="libvpx-vp9",
            decoder="vp9",
            transport="rtp-vp9",
            options=(("deadline", "realtime"), ("cpu-used", "6"), ("lag-in-frames", "0"), ("g", "99999")),
            quality_options=(("crf", "{q}"), ("b", "0")),
            bitrate_options=(
                ("b", "{bps}"),
                ("minrate", "{bps}"),
                ("maxrate", "{bps}"),
                ("bufsize", "{buffer}"),
            ),
            ladder=(63, 58, 53, 47, 40, 33, 26, 20, 14, 9, 5),
        ),
        VideoSettings(
            name="svtav1",
            encoder="libsvtav1",
            decoder="libdav1d",
            transport="rtp-av1",
            options=(("preset", "8"), ("g", "-1"), ("svtav1-params", _SVT_LIVE)),
            quality_options=(("crf", "{q}"),),
            bitrate_options=(("b", "{bps}"), ("svtav1-params", "rc=2")),
            ladder=(61, 55, 49, 43, 36, 29, 22, 16, 11, 7, 4),
            decoder_options=(("max_frame_delay", "1"),),
        ),
    )
}


def _stronger(name: str, of: str, options: Options) -> VideoSettings:
    return replace(PEERS[of], name=name, options=_merge(PEERS[of].options, options, {}))


STRONGER: dict[str, VideoSettings] = {
    settings.name: settings
    for settings in (
        _stronger("x264-veryfast-psnr", "x264-veryfast", (("tune", "psnr,zerolatency"),)),
        _stronger("x264-medium-psnr", "x264-medium", (("tune", "psnr,zerolatency"),)),
        _stronger("x265-medium-psnr", "x265-medium", (("x265-params", "psy-rd=0:psy-rdoq=0:aq-mode=0"),)),
        _stronger("vp9-5", "vp9", (("cpu-used", "5"),)),
        _stronger("vp9-3", "vp9", (("cpu-used", "3"),)),
        _stronger("svtav1-4", "svtav1", (("preset", "4"), ("svtav1-params", "rtc=0"))),
    )
}
"""Peers that spend nothing for the eye, or more time than real-time presets do, though less than our codec."""

NAMED = PEERS | STRONGER


def find_peer(name: str) -> VideoSettings:
    """Settings by name.

    Raises:
        UsageError: no such peer.
    """
    if name not in NAMED:
        raise UsageError(f"codec {name!r} is unknown: choose from {', '.join(NAMED)}")
    return NAMED[name]
