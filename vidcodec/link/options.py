"""Options and events of a link: plain values that both ends share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vidcodec.errors import PeerError
from vidcodec.link.framing import FrameStatus
from vidcodec.link.impair import Impairment
from vidcodec.link.messages import Hello, Refresh

if TYPE_CHECKING:
    from vidcodec.link.ice import IceOptions
    from vidcodec.link.receiver import ReceiverLink


def _ice_options() -> "IceOptions":
    from vidcodec.link.ice import IceOptions  # imports aiortc, which `--help` must not

    return IceOptions()


@dataclass(frozen=True)
class LinkOptions:
    """How a link behaves.

    Attributes:
        ice: servers and time limits of the search for a path.
        rate_kbps: what the path is taken to carry at first; None for 10,000 kbit/s where the signalling stays on this
            machine and 150 elsewhere.
        adaptive: estimate that rate from acknowledgements; None for wherever the path may be narrow: to other
            machines, and through `impair`. Otherwise it stays until `set_rate_kbps`.
        max_wire_kbps: what everything that is sent may take on the wire, headers included; None for no limit but the
            path's.
        horizon_ms: how much of it may be un-acknowledged beyond one round trip.
        repair: what is done about losses: `resend` what is missing, `repeat` the previous packet in each message while
            messages are being lost, `auto` for the first where the round trip is short and else the second, or `none`.
        ack_interval_ms: shortest time between two acknowledgement messages of the receiver; 0 = one for each frame.
        dead_after_ms: silence after which the peer counts as dead.
        bye_timeout_s: time for the other side to answer a goodbye.
        ca_file: certificates to trust for an https URL, None for the system's.
        impair: a bad network to put between the two ends, by a relay at this end.
        impair_since_ms: when its trace began, on `clock_ms`; None for the start of the session.
        seed: of that network's losses and jitter.
    """

    ice: "IceOptions" = field(default_factory=_ice_options)
    rate_kbps: float | None = None
    adaptive: bool | None = None
    max_wire_kbps: float | None = None
    horizon_ms: float = 100.0
    repair: str = "auto"
    ack_interval_ms: float = 0.0
    dead_after_ms: float = 3000.0
    bye_timeout_s: float = 3.0
    ca_file: str | None = None
    impair: Impairment | None = None
    impair_since_ms: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """A packet that arrived.

    Attributes:
        number: full frame count, by the 10-bit number of its header nearest to the newest frame.
        packet: its bytes.
        received_ms: arrival on this end's clock (`time.monotonic() * 1000`).
    """

    number: int
    packet: bytes
    received_ms: float


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """News of a frame that was sent.

    Attributes:
        number: full frame count.
        status: RECEIVED first, then what the decoder made of it.
        rtt_ms: round trip without the time the receiver held the message back; None after a repeat or a status.
        network_ms: one-way delay by the estimated clock offset, None before the offset is known.
    """

    number: int
    status: FrameStatus
    rtt_ms: float | None
    network_ms: float | None


@dataclass(frozen=True, slots=True)
class Closed:
    """How a session ended.

    Attributes:
        reason: `bye` (either side ended it in order) or `lost`.
        error: why, for a session that was lost.
        peer_stats: final statistics of the peer, None when it did not say goodbye.
    """

    reason: str
    error: PeerError | None = None
    peer_stats: Mapping[str, Any] | None = None


def ignore(*_: object) -> None:
    """An event nobody asked for."""


@dataclass(frozen=True)
class SenderHandlers:
    """Called on the link's thread: return at once, never block, never run a codec.

    Attributes:
        on_ack: a frame arrived or was decoded.
        on_lost: a frame (full count) was given up; an acknowledgement may still follow.
        on_refresh: the receiver asks for a frame it can decode.
        on_stats: the receiver's statistics.
        on_bye: the receiver says goodbye, with its final statistics; answer with `SenderLink.close(stats)`.
        on_closed: the session is over; called once.
    """

    on_ack: Callable[[Acknowledgement], object] = ignore
    on_lost: Callable[[int], object] = ignore
    on_refresh: Callable[[Refresh], object] = ignore
    on_stats: Callable[[Mapping[str, Any]], object] = ignore
    on_bye: Callable[[Mapping[str, Any]], object] = ignore
    on_closed: Callable[[Closed], object] = ignore


@dataclass(frozen=True)
class ReceiverHandlers:
    """Called on the link's thread: return at once, never block, never run a codec.

    Attributes:
        on_open: a sender was accepted, with its hello.
        on_frame: a packet arrived, in whatever order the network gave it; each frame once.
        on_stats: the sender's statistics.
        on_bye: the sender says goodbye, with its final statistics; answer with `ReceiverLink.close(stats)`.
        on_closed: the session is over; called once for each `on_open`.
        on_refused: a sender was turned away (other version, other weights, or the policy's reason).
    """

    on_open: Callable[["ReceiverLink", Hello], object] = ignore
    on_frame: Callable[["ReceiverLink", Frame], object] = ignore
    on_stats: Callable[["ReceiverLink", Mapping[str, Any]], object] = ignore
    on_bye: Callable[["ReceiverLink", Mapping[str, Any]], object] = ignore
    on_closed: Callable[["ReceiverLink", Closed], object] = ignore
    on_refused: Callable[[PeerError], object] = ignore
