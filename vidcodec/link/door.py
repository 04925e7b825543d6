"""What an HTTP request has to show before an offer is answered: the token, and a session description within limits."""

import asyncio
import hmac
from collections.abc import Callable

from aiohttp import web

from vidcodec.errors import PeerError
from vidcodec.link.ice import check_sdp
from vidcodec.link.limits import AttemptLimit
from vidcodec.link.session import clock_ms

BODY_TIMEOUT_S = 5.0


def refusal(request: web.Request, token: str, limit: AttemptLimit) -> web.Response | None:
    """The answer to a request without the right bearer token (RFC 6750), None for one with it."""
    address = request.remote or "?"
    if limit.blocked(address, clock_ms()):
        return web.Response(status=429, text="too many wrong tokens\n", headers={"Retry-After": "60"})
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    right = hmac.compare_digest(shown.strip().encode(errors="replace"), token.encode())
    if right and scheme.lower() == "bearer":
        return None
    limit.failed(address, clock_ms())
    return web.Response(status=401, text="token refused\n", headers={"WWW-Authenticate": "Bearer"})


async def read_offer(request: web.Request, reveal: Callable[[str], str] = str) -> str | web.Response:
    """The session description that a request brings, or the answer to one that brings none.

    reveal: applied to the text before it is checked.
    """
    if request.content_type != "application/sdp":
        return web.Response(status=415, text="send application/sdp\n")
    try:
        offer = reveal(await asyncio.wait_for(request.text(), BODY_TIMEOUT_S))
        check_sdp(offer)
    except TimeoutError:
        return web.Response(status=408, text="body came too slowly\n")
    except (PeerError, UnicodeDecodeError, LookupError) as error:
        return web.Response(status=400, text=f"{error}\n")
    return offer
