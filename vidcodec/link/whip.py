"""WHIP (RFC 9725) signalling, client side, and the URL that carries the token.

The token stands behind `#`, which no HTTP client sends and no server logs; it travels in the Authorization header.
"""

import re
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import aiohttp

from vidcodec.errors import InputError, PeerError, UsageError, reason_of
from vidcodec.link.ice import MAX_SDP_BYTES
from vidcodec.link.messages import PeerRefused

PATH = "/whip"
DEFAULT_PORT = 8443
TRANSIENT = (408, 409, 500, 502, 503, 504)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,256}")


@dataclass(frozen=True)
class Target:
    """Where to connect to.

    Attributes:
        scheme: http or https.
        host: name or address, IPv6 without brackets.
        port: TCP port.
        path: path of the WHIP endpoint.
        token: bearer token, empty for none.
    """

    scheme: str
    host: str
    port: int
    path: str
    token: str

    @property
    def endpoint(self) -> str:
        """URL without the token."""
        return f"{self.scheme}://{join_host_port(self.host, self.port)}{self.path}"

    @property
    def url(self) -> str:
        """URL with the token."""
        return f"{self.endpoint}#token={self.token}"


def check_token(token: str) -> str:
    """A bearer token may hold 1 to 256 characters of `A-Za-z0-9._~+/=-`.

    Raises:
        UsageError: it does not.
    """
    if not _TOKEN.fullmatch(token):
        raise UsageError("token has characters that a header cannot carry: use 1 to 256 of A-Z a-z 0-9 . _ ~ + / = -")
    return token


def join_host_port(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_listen(listen: str) -> tuple[str, int]:
    """`HOST:PORT`, `HOST`, `:PORT` or `[IPV6]:PORT`; the default is 127.0.0.1:8443.

    Raises:
        UsageError: it is none of these.
    """
    match = re.fullmatch(
        r"(?:\[(?P<six>[0-9a-fA-F:.%]+)\]|(?P<host>[^:\[\]/]*))(?::(?P<port>\d{1,5}))?", listen.strip()
    )
    if match is None or int(match["port"] or 0) > 65535:
        raise UsageError(f"cannot listen on {listen!r}: write HOST:PORT, for example 127.0.0.1:8443")
    port = DEFAULT_PORT if match["port"] is None else int(match["port"])
    return match["six"] or _host_name(match["host"] or "127.0.0.1"), port


def _host_name(host: str) -> str:
    """A host that can be looked up: the resolver fails on any other in a way of its own.

    Raises:
        UsageError: a part between dots is empty or too long.
    """
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise UsageError(f"no host's name: {host[:80]!r}; write a name or an address") from error
    return host


def parse_url(url: str) -> Target:
    """Take apart the URL that the receiver printed.

    Raises:
        UsageError: it is not such a URL.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError as error:
        raise UsageError(f"not a receiver's URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("not a receiver's URL: write http://HOST:PORT/whip#token=TOKEN, as the receiver prints it")
    token = (parse_qs(parts.fragment).get("token") or parse_qs(parts.query).get("token") or [""])[0]
    token = token.replace(" ", "+")  # parse_qs reads a plus as a blank, and a token has none
    if token:
        check_token(token)
    path = parts.path if parts.path not in ("", "/") else PATH
    return Target(parts.scheme, _host_name(parts.hostname), DEFAULT_PORT if port is None else port, path, token)


class WhipClient:
    """One WHIP session: `offer` posts, `delete` ends."""

    def __init__(self, target: Target, ca_file: str | None = None, timeout_s: float = 8.0) -> None:
        self.target = target
        self._ca_file = ca_file
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=4.0)
        self._resource: str | None = None

    async def offer(self, sdp: str) -> str:
        """Post an offer; returns the answer.

        Raises:
            PeerRefused: trying again cannot help.
            PeerError: why there is no answer, in one line.
        """
        where = self.target.endpoint
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout) as http,
                http.post(
                    where,
                    data=sdp.encode(),
                    headers={"Content-Type": "application/sdp", **self._authorization},
                    allow_redirects=False,
                    ssl=self._ssl(),
                ) as response,
            ):
                body = (await response.content.read(MAX_SDP_BYTES + 1)).decode(errors="replace")
                location = response.headers.get("Location", "")
                status = response.status
        except aiohttp.ClientConnectorCertificateError as error:
            why = getattr(error.certificate_error, "verify_message", None) or "not verified"
            raise PeerRefused(f"no trust in the certificate of {where} ({why}): give its CA with --ca") from error
        except aiohttp.ClientSSLError as error:
            raise PeerRefused(f"{where} does not speak https: use the URL that the receiver prints") from error
        except aiohttp.ClientConnectorError as error:
            raise PeerError(self._unreachable(error.os_error)) from error
        except TimeoutError as error:
            raise PeerError(f"no answer from {where} within {self._timeout.total:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise PeerError(f"{where} does not speak HTTP as a receiver does ({type(error).__name__})") from error
        if status != 201:
            raise (PeerError if status in TRANSIENT else PeerRefused)(_refusal(status, where, body))
        if location.startswith("/"):
            self._resource = location
        return body

    async def delete(self) -> None:
        """Tell the receiver that the session is over. Best effort: a dead peer needs no notice."""
        resource, self._resource = self._resource, None
        if resource is None:
            return
        where = f"{self.target.scheme}://{join_host_port(self.target.host, self.target.port)}{resource}"
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as http,
                http.delete(where, headers=self._authorization, allow_redirects=False, ssl=self._ssl()),
            ):
                return
        except (aiohttp.ClientError, OSError, TimeoutError):
            return

    def _unreachable(self, error: OSError) -> str:
        """One line for a connection that does not come about."""
        if isinstance(error, socket.gaierror):
            return f"host {self.target.host!r} is not known: check the receiver's URL"
        if isinstance(error, ConnectionRefusedError):
            return (
                f"nobody listens at {self.target.endpoint}: start the receiver there first (python -m receiver "
                f"--listen {join_host_port(self.target.host, self.target.port)})"
            )
        return f"cannot reach {self.target.endpoint} ({reason_of(error)}): check the address and the network"

    @property
    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.target.token}"} if self.target.token else {}

    def _ssl(self) -> ssl.SSLContext | bool:
        if self.target.scheme != "https" or self._ca_file is None:
            return True
        try:
            return ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:  # an SSLError is one, too
            reason = "no certificate in PEM" if isinstance(error, ssl.SSLError) else reason_of(error)
            raise InputError(f"--ca {self._ca_file}: {reason}; give the receiver's certificate") from error


def _refusal(status: int, where: str, body: str) -> str:
    """One line for an HTTP status that is not 201."""
    said = " ".join(body.split())[:200]
    known = {
        401: "token refused: use the URL that the receiver prints, with its token",
        404: "no receiver under this path: use the URL that the receiver prints",
        409: said or "another sender is connected",
        429: "too many wrong tokens from here: wait a minute",
    }
    text = known.get(status, f"refused with HTTP status {status}" + (f": {said}" if said else ""))
    return f"{where}: {''.join(letter for letter in text if letter.isprintable())}"
