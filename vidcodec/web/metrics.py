"""Figures for Prometheus (text format 0.0.4) at `http://HOST:PORT/metrics`. Numbers only: no token, no pictures."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from vidcodec.link.whip import join_host_port
from vidcodec.web.samples import STAGES, look_up
from vidcodec.web.server import Listener

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
QUANTILES = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}

# name, type, help, and for each sample its labels, the path of its figure, and what one of it is in base units
_Sample = tuple[str, str, float]
_STREAMS: tuple[tuple[str, str, str, tuple[_Sample, ...]], ...] = (
    (
        "wire_bits_per_second",
        "gauge",
        "Rate with all headers down to IPv4, last two seconds.",
        (('{stream="ours"}', "wire_kbps", 1e3), ('{stream="baseline"}', "baseline.kbps", 1e3)),
    ),
    ("payload_bits_per_second", "gauge", "Rate of packets without headers.", (("", "payload_kbps", 1e3),)),
    (
        "psnr_decibels",
        "gauge",
        "PSNR of 8-bit RGB, last two seconds.",
        (('{stream="ours"}', "psnr_db", 1), ('{stream="baseline"}', "baseline.psnr_db", 1)),
    ),
    (
        "mse",
        "gauge",
        "Mean squared error of RGB in 0..1, last two seconds.",
        (('{stream="ours"}', "mse", 1), ('{stream="baseline"}', "baseline.mse", 1)),
    ),
    ("frames_per_second", "gauge", "Frames shown a second.", (("", "fps", 1),)),
    ("quality", "gauge", "Mean rate point, last two seconds.", (("", "quality", 1),)),
    ("frames_captured_total", "counter", "Frames of the source.", (("", "frames_captured", 1),)),
    ("frames_sent_total", "counter", "Frames that the link took.", (("", "frames_sent", 1),)),
    ("frames_shown_total", "counter", "Frames that were shown.", (("", "frames_shown", 1),)),
    ("frames_lost", "gauge", "Frames up to the newest one shown that were never decoded.", (("", "frames_lost", 1),)),
    ("loss_ratio", "gauge", "Share of frames lost lately.", (("", "loss_percent", 0.01),)),
    (
        "latency_seconds",
        "gauge",
        "Delay of the newest frames by stage.",
        tuple(
            (f'{{stage="{stage}",quantile="{quantile}"}}', f"latency_ms.{stage}.{name}", 1e-3)
            for stage in STAGES
            for name, quantile in QUANTILES.items()
        ),
    ),
    ("call_seconds", "gauge", "Time since the call began.", (("", "time_s", 1),)),
)


def render(figures: Mapping[str, Any] | None) -> str:
    """Figures as Prometheus reads them; None between two calls. What is not known is left out."""
    lines = ["# HELP vidcodec_call_up Whether a call is running.", "# TYPE vidcodec_call_up gauge"]
    lines.append(f"vidcodec_call_up {int(figures is not None)}")
    if figures is not None:
        for name, kind, text, samples in _STREAMS:
            values = ((labels, look_up(figures, path), unit) for labels, path, unit in samples)
            lines += _family(
                name, kind, text, ((label, value * unit) for label, value, unit in values if value is not None)
            )
        for name, value in figures.get("link", {}).items():
            if re.fullmatch(r"[A-Za-z]{1,60}", name) and isinstance(value, int | float):
                snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
                lines += _family(f"link_{snake}", "untyped", f"W3C webrtc-stats {name}.", (("", float(value)),))
    return "\n".join(lines) + "\n"


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> list[str]:
    lines = [f"vidcodec_{name}{labels} {value:.10g}" for labels, value in samples]
    return [f"# HELP vidcodec_{name} {text}", f"# TYPE vidcodec_{name} {kind}", *lines] if lines else []


class MetricsServer:
    """Serves the newest figures on a thread of its own.

    Args:
        listen: `HOST:PORT`; port 0 takes a free one.

    Raises:
        UsageError: the address cannot be listened on.
    """

    def __init__(self, listen: str) -> None:
        self._figures: Mapping[str, Any] | None = None
        app = web.Application(client_max_size=1024)
        app.router.add_get("/metrics", self._serve)
        self._listener = Listener(app, listen, "--metrics")

    @property
    def url(self) -> str:
        """What Prometheus scrapes."""
        return f"http://{join_host_port(self._listener.host, self._listener.port)}/metrics"

    def update(self, figures: Mapping[str, Any] | None) -> None:
        """New figures, or None when the call is over. Any thread; returns at once."""
        self._figures = figures

    def close(self) -> None:
        """Stop serving. May be called twice."""
        self._listener.close()

    async def _serve(self, _: web.Request) -> web.Response:
        return web.Response(body=render(self._figures).encode(), headers={"Content-Type": CONTENT_TYPE})
