"""WebRTC link: carries packets from a sender to a receiver, and says what became of them. It knows no pixels.

The receiver:

    server = ReceiverServer("127.0.0.1:8443", hello, ReceiverHandlers(on_open=..., on_frame=..., on_bye=...))
    print(server.url, server.command_line)
    ...                                   # on_open(link, hello), on_frame(link, Frame(number, packet, received_ms))
    link.report(number, FrameStatus.OK)   # what the decoder made of it: OK, DAMAGED, MISSING_REFERENCE
    link.request_refresh(have, reason)
    link.send_stats({...})                # JSON, at most 60,000 bytes; on_stats at the other side
    sender_stats = link.close({...})      # also the answer to on_bye; the server then takes the next sender
    server.close()

The sender:

    link = connect(url, hello, LinkOptions(), SenderHandlers(on_ack=..., on_refresh=..., on_lost=..., on_closed=...))
    if link.can_send:                     # ask before encoding
        link.send_frame(number, packet)   # False: refused, the state must not advance to this frame
    link.send_stats({...})
    receiver_stats = link.close({...})    # None when the receiver is gone

`hello` is a `Hello(bitstream, model_id, weights_sha256, fps, width, height, options)`; both ends must match in version,
model and weights. Methods may be called from any thread but the link's own. Handlers are called on the link's own
thread: they must return at once (put the work into a mailbox or set an event) and never call `close`.

Frame numbers are full counts on this surface; on the wire a packet has the ten bits of its own header. The link orders
nothing: frames are handed up as they come, each once, and which of them can be decoded is the caller's matter.
Clocks are `time.monotonic() * 1000`; `link.offset_ms` is the peer's clock minus ours, so that a time t of the peer is
`t - link.offset_ms` here. `link.stats` is a dict of counters under W3C webrtc-stats names (bytesSent, messagesSent,
framesSent, framesRefused, framesLost, payloadBytesSent, wireBytesSent, currentRoundTripTime in s, ...); `link.code` a
fingerprint code that both ends print. `link.closed` is None or `Closed(reason, error, peer_stats)`.

After a lost session `reconnect(url, replace(hello, first=number), ...)` tries again with pauses until it works; the
receiver then holds nothing, so frame `number` has to be a refresh. Options are in `LinkOptions`: STUN and TURN servers,
rate, a bad network to try (`impair=parse_impairment("delay=20,loss=5")`), ... `link.budget_bytes(fps)` says what size
packets may have to fit what the path carries.

Errors: `UsageError` (2) for a bad URL, address or token; `PeerError` (4) for a peer that is not there, refuses, is
refused, or was lost. `connect` raises them; later ones come as `Closed.error`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidcodec.link.framing import FrameStatus
    from vidcodec.link.ice import IceOptions, IceServer
    from vidcodec.link.impair import Impairment, parse_impairment
    from vidcodec.link.messages import Hello, PeerRefused, Refresh, check_hello
    from vidcodec.link.options import (
        Acknowledgement,
        Closed,
        Frame,
        LinkOptions,
        ReceiverHandlers,
        SenderHandlers,
    )
    from vidcodec.link.receiver import ReceiverLink
    from vidcodec.link.retry import Backoff, reconnect
    from vidcodec.link.sender import SenderLink, connect
    from vidcodec.link.server import ReceiverServer

_HOME = {
    "FrameStatus": "framing",
    "IceOptions": "ice",
    "IceServer": "ice",
    "Impairment": "impair",
    "parse_impairment": "impair",
    "Hello": "messages",
    "PeerRefused": "messages",
    "Refresh": "messages",
    "check_hello": "messages",
    "Acknowledgement": "options",
    "Closed": "options",
    "Frame": "options",
    "LinkOptions": "options",
    "ReceiverHandlers": "options",
    "SenderHandlers": "options",
    "ReceiverLink": "receiver",
    "Backoff": "retry",
    "reconnect": "retry",
    "SenderLink": "sender",
    "connect": "sender",
    "ReceiverServer": "server",
}

__all__ = [
    "Acknowledgement",
    "Backoff",
    "Closed",
    "Frame",
    "FrameStatus",
    "Hello",
    "IceOptions",
    "IceServer",
    "Impairment",
    "LinkOptions",
    "PeerRefused",
    "ReceiverHandlers",
    "ReceiverLink",
    "ReceiverServer",
    "Refresh",
    "SenderHandlers",
    "SenderLink",
    "check_hello",
    "connect",
    "parse_impairment",
    "reconnect",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: aiortc takes half a second, which `--help` should not."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
