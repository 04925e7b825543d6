"""Peer connections that also connect on a machine with nothing but `lo`, and SDP that is checked before use.

aioice leaves 127.0.0.1 and ::1 out of its host candidates, so that two processes of one machine need a network card to
find each other, and with none gathers nothing and waits for ever. Where the signalling runs over loopback, the media
has no reason to leave it either: then only the loopback address is offered, which is also the quickest to connect.
"""

import asyncio
import hashlib
import ipaddress
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ifaddr
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from aiortc.rtcicetransport import parse_stun_turn_uri

from vidcodec.errors import PeerError, UsageError

MAX_SDP_BYTES = 16_384
MAX_CANDIDATES = 32


@dataclass(frozen=True)
class IceServer:
    """A STUN or TURN server, opt-in: `stun:host:port`, `turn:host:port?transport=udp|tcp` or `turns:host:port`."""

    url: str
    username: str | None = None
    credential: str | None = None


@dataclass(frozen=True)
class IceOptions:
    """How the two ends look for a path to each other.

    Attributes:
        servers: STUN and TURN servers, none by default: no packet leaves for a third party unasked.
        relay_only: use only the TURN server's addresses.
        gathering_timeout_s: time for those servers to answer.
        exchange_timeout_s: time for the exchange of descriptions; the peer gathers addresses within it.
        connect_timeout_s: time from the exchange of descriptions to open channels.
    """

    servers: Sequence[IceServer] = ()
    relay_only: bool = False
    gathering_timeout_s: float = 2.0
    exchange_timeout_s: float = 8.0
    connect_timeout_s: float = 8.0


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]").split("%")[0]).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def check_servers(options: IceOptions) -> None:
    """Refuse server options that cannot work.

    Raises:
        UsageError: a URL is none, or only relays are wanted and no TURN server is given.
    """
    for server in options.servers:
        try:
            parse_stun_turn_uri(server.url)
        except ValueError as error:
            raise UsageError(
                f"no STUN or TURN server: {server.url!r}; write stun:HOST:PORT or turn:HOST:PORT?transport=udp"
            ) from error
    if options.relay_only and not any(server.url.startswith("turn") for server in options.servers):
        raise UsageError("relay only needs a TURN server: give one as turn:HOST:PORT")


def make_peer_connection(options: IceOptions) -> RTCPeerConnection:
    """A peer connection with the given servers, checked before."""
    # aiortc warns with tracebacks when a hostile peer breaks its SCTP; here the closed connection says enough.
    for name in ("aiortc", "aioice"):
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(logging.CRITICAL)
    servers = [RTCIceServer(server.url, server.username, server.credential) for server in options.servers]
    policy = RTCIceTransportPolicy.RELAY if options.relay_only else RTCIceTransportPolicy.ALL
    return RTCPeerConnection(RTCConfiguration(iceServers=servers, iceTransportPolicy=policy))


async def describe(pc: RTCPeerConnection, options: IceOptions, loopback: bool) -> str:
    """Set the local description (offer, or answer to the remote offer set before) and gather candidates.

    Args:
        pc: a connection with its data channels.
        options: bounds.
        loopback: offer the loopback address only, because the signalling does not leave this machine.

    Returns:
        The description as SDP, all candidates in it.

    Raises:
        PeerError: nothing gathered, or not in time.
    """
    answering = pc.signalingState == "have-remote-offer"
    description = await (pc.createAnswer() if answering else pc.createOffer())
    _choose_addresses(pc, options, loopback)
    limit_s = options.gathering_timeout_s + 1.0
    try:
        await asyncio.wait_for(pc.setLocalDescription(description), limit_s)
    except TimeoutError as error:
        asked = ", ".join(server.url for server in options.servers) or "this machine's interfaces"
        raise PeerError(f"no network address found within {limit_s:g} s from {asked}") from error
    sdp: str = pc.localDescription.sdp
    if "a=candidate:" not in sdp:
        hint = "check the TURN server and its credentials" if options.relay_only else "is the network up?"
        raise PeerError(f"this machine has no network address to offer to the peer: {hint}")
    return sdp


def _choose_addresses(pc: RTCPeerConnection, options: IceOptions, loopback: bool) -> None:
    """Have this connection's gatherer use loopback where it is enough, or where there is nothing else."""
    assert pc.sctp is not None  # the channels are there
    connection: Any = pc.sctp.transport.transport.iceGatherer._connection
    gather = connection.get_component_candidates

    async def gather_chosen(component: int, addresses: list[str], timeout: float = 5) -> Any:
        if not options.relay_only and ((loopback and not options.servers) or not addresses):
            addresses = loopback_addresses()
        return await gather(component=component, addresses=addresses, timeout=options.gathering_timeout_s)

    connection.get_component_candidates = gather_chosen


def loopback_addresses() -> list[str]:
    """The loopback addresses this machine has, IPv4 first."""
    found = set()
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            address = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            if address in ("127.0.0.1", "::1"):
                found.add(address)
    return sorted(found)[:1] or ["127.0.0.1"]


def reachable_address(listening: str = "0.0.0.0") -> str:
    """The address other machines would reach this one by, as the routing table has it; nothing is sent.

    Args:
        listening: where it listens: `0.0.0.0` and `::` stand for any address of their own family and for none of the
            other; an address is reached as it is.
    """
    probes = {
        "0.0.0.0": (socket.AF_INET, "192.0.2.1", "127.0.0.1"),
        "::": (socket.AF_INET6, "2001:db8::1", "::1"),
    }
    if listening not in probes:
        return listening
    family, other, own = probes[listening]
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((other, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return own


def check_sdp(sdp: str) -> str:
    """Refuse a peer's description that is anything but one data channel section of sane size.

    Returns:
        The peer's DTLS fingerprint.

    Raises:
        PeerError: what is wrong with it.
    """
    lines = sdp.splitlines()
    media = [line for line in lines if line.startswith("m=")]
    candidates = sum(line.startswith("a=candidate:") for line in lines)
    prints = sorted({line.split(":", 1)[1].strip().lower() for line in lines if line.startswith("a=fingerprint:")})
    if len(sdp) > MAX_SDP_BYTES or not sdp.startswith("v=0"):
        raise PeerError("peer sent something that is no session description")
    if len(media) != 1 or not media[0].startswith("m=application"):
        raise PeerError("peer's session description does not have exactly one section, for data channels")
    if not 1 <= candidates <= MAX_CANDIDATES:
        raise PeerError(f"peer's session description has {candidates} candidates: expected 1 to {MAX_CANDIDATES}")
    if not prints or any(".local " in line for line in lines if line.startswith("a=candidate:")):
        raise PeerError("peer's session description lacks a DTLS fingerprint or hides its addresses behind mDNS")
    return ",".join(prints)


def fingerprint_code(offer_fingerprint: str, answer_fingerprint: str) -> str:
    """Twelve letters and digits that people at both ends can compare: equal means nobody sits in between.

    60 bits of SHA-256 over both DTLS fingerprints, in base 32 without look-alike characters.
    """
    digest = hashlib.sha256(f"vidcodec-link\n{offer_fingerprint}\n{answer_fingerprint}".encode()).digest()
    value = int.from_bytes(digest[:8], "big") >> 4
    letters = "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[value >> shift & 31] for shift in range(55, -1, -5))
    return "-".join(letters[start : start + 4] for start in (0, 4, 8))
