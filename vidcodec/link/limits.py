"""What somebody without the token can take from the receiver: a few tries, a few connections, a few seconds."""

import asyncio
from collections import OrderedDict
from collections.abc import Set as AbstractSet

from aiohttp.web import AppRunner, Server


class AttemptLimit:
    """At most `tries` wrong tokens from one address within `window_ms`; remembers at most `addresses` of them."""

    def __init__(self, tries: int = 10, window_ms: float = 60_000.0, addresses: int = 256) -> None:
        self._tries = tries
        self._window_ms = window_ms
        self._addresses = addresses
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def blocked(self, address: str, now_ms: float) -> bool:
        """Whether this address has used up its tries."""
        times = [at for at in self._failures.get(address, ()) if now_ms - at < self._window_ms]
        return len(times) >= self._tries

    def failed(self, address: str, now_ms: float) -> None:
        """A wrong token came from this address."""
        times = [at for at in self._failures.pop(address, ()) if now_ms - at < self._window_ms]
        self._failures[address] = [*times, now_ms][-self._tries :]
        if len(self._failures) > self._addresses:
            self._failures.popitem(last=False)


class ConnectionGuard:
    """Ends HTTP connections that stay too long or are too many: a call needs one of them, for a moment.

    aiohttp waits for ever for the headers of a request.

    Args:
        server: whose connections.
        longest_s: how long one may last.
        most: how many there may be.
        spared: those that have shown what they are for; neither ended nor counted. May change while this runs.
    """

    def __init__(
        self, server: Server, longest_s: float = 15.0, most: int = 64, spared: AbstractSet[object] = frozenset()
    ) -> None:
        self._server = server
        self._longest_s = longest_s
        self._most = most
        self._spared = spared
        self._since: dict[object, float] = {}

    def check(self, now_s: float) -> None:
        """End what is too old, and the oldest of too many."""
        connections = [each for each in self._server.connections if each not in self._spared]
        self._since = {each: self._since.get(each, now_s) for each in connections}
        by_age = sorted(connections, key=lambda each: self._since[each])
        for place, connection in enumerate(by_age):
            if now_s - self._since[connection] > self._longest_s or place < len(by_age) - self._most:
                transport = connection.transport
                connection.force_close()
                if transport is not None:
                    transport.abort()  # closing would wait for a peer that reads nothing

    async def run(self) -> None:
        """Check once a second until cancelled."""
        while True:
            self.check(asyncio.get_running_loop().time())
            await asyncio.sleep(1.0)


async def end_connections(runner: AppRunner) -> None:
    """Stop listening and end every connection."""
    # One that comes at this very moment is accepted first: asyncio would leave it open, half made, without a word, and
    # Python 3.13 prints a traceback for it in the end.
    for _ in range(3):
        await asyncio.sleep(0)
    await runner.cleanup()
