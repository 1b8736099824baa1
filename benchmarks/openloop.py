"""Requests that are sent when they are due, whether or not earlier ones have been answered.

A client that waits for each answer sends less exactly while the server is slow, and so misses what
everybody else would have waited for. Here every latency counts from when its request was due.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from statistics import quantiles
from time import perf_counter

import httpx2

_TIMEOUT_S = 30.0
_CONNECTIONS = 200


@dataclass(frozen=True)
class Latencies:
    """Seconds from when each request was due to the end of its answer, in the order they were due.

    Attributes:
        seconds: One for each request.
        statuses: What was answered, without repetition.
    """

    seconds: tuple[float, ...]
    statuses: frozenset[int]

    def percentile(self, share: int) -> float:
        """Milliseconds that this share of the requests, in percent, did not exceed."""
        return 1e3 * quantiles(self.seconds, n=100, method="inclusive")[share - 1]

    @property
    def longest(self) -> float:
        """Milliseconds of the slowest."""
        return 1e3 * max(self.seconds)


Ask = Callable[[httpx2.AsyncClient, int], httpx2.Request]
"""Makes the request with this number."""


def measure(url: str, ask: Ask, *, per_second: float, seconds: float) -> Latencies:
    """Send requests to a server at a steady rate."""
    return asyncio.run(_measure(url, ask, per_second, seconds))


async def _measure(url: str, ask: Ask, per_second: float, seconds: float) -> Latencies:
    limits = httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
    async with httpx2.AsyncClient(base_url=url, timeout=_TIMEOUT_S, limits=limits) as http:
        started = perf_counter()

        async def answered(number: int) -> tuple[float, int]:
            due = started + number / per_second
            await asyncio.sleep(due - perf_counter())
            response = await http.send(ask(http, number))
            return perf_counter() - due, response.status_code

        found = await asyncio.gather(*map(answered, range(round(per_second * seconds))))
    return Latencies(tuple(s for s, _ in found), frozenset(status for _, status in found))
