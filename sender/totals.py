"""What the sender counts of a call: time, frames and bytes over all its links, one after another."""

import time
from collections.abc import Mapping
from typing import Any

from sender.frames import SendCounts
from vidcodec.baselines.live import Baseline
from vidcodec.calllog import SenderTotals
from vidcodec.starting import process_age_s
from vidcodec.wire import DATA_CHANNEL, wire_bytes

MESSAGE_HEADER_BYTES = 1
"""What the link puts before a lone packet."""


def packet_wire_bytes(payload_bytes: int) -> int:
    """What a packet costs on the wire, down to IPv4."""
    return wire_bytes(payload_bytes + MESSAGE_HEADER_BYTES, DATA_CHANNEL)


class Totals:
    """Counts of one call, for the log and for the receiver."""

    def __init__(self) -> None:
        self._start_ns = self._end_ns = 0
        self._first_frame_ms = 0
        self._earlier_payload_bytes = self._earlier_again_bytes = 0

    def begin(self) -> None:
        """The call begins."""
        self._start_ns = time.monotonic_ns()

    def end(self) -> None:
        """The call is over, if it began; only the first time counts."""
        if self._start_ns and not self._end_ns:
            self._end_ns = time.monotonic_ns()

    def frame_left(self) -> None:
        """The link took a frame."""
        if not self._first_frame_ms:
            self._first_frame_ms = max(1, round(1000 * process_age_s()))

    def next_link(self, counts: SendCounts, link: Mapping[str, Any]) -> None:
        """Frames go on over another link, which counts from zero; `link` is what the last one counted."""
        self._earlier_again_bytes += self._again_bytes(counts, link)
        self._earlier_payload_bytes = counts.payload_bytes

    def of(self, counts: SendCounts, captured: int, baseline: Baseline, link: Mapping[str, Any]) -> SenderTotals:
        """The counts of now.

        Args:
            counts: of the frame path.
            captured: frames of the source.
            baseline: what runs beside ours.
            link: what the present link counted.
        """
        again_bytes = self._earlier_again_bytes + self._again_bytes(counts, link)
        return SenderTotals(
            captured=captured,
            sent=counts.sent,
            payload_bytes=counts.payload_bytes,
            wire_bytes=counts.wire_bytes + again_bytes,
            elapsed_ns=(self._end_ns or time.monotonic_ns()) - self._start_ns,
            baseline_codec=baseline.codec,
            baseline_scale=baseline.scale,
            first_frame_ms=self._first_frame_ms,
        )

    def _again_bytes(self, counts: SendCounts, link: Mapping[str, Any]) -> int:
        """Packets that a link sent again after losses, alone or with others."""
        again_bytes = int(link.get("messagesRepeated", 0)) * packet_wire_bytes(0)
        if link.get("framesRepeated"):
            own_bytes = counts.payload_bytes - self._earlier_payload_bytes
            again_bytes += max(0, int(link.get("payloadBytesSent", 0)) - own_bytes)
        return again_bytes
