"""Whom the service turned away, and why: counted, and told in a bounded number of records."""

from collections import Counter
from collections.abc import Callable
from time import monotonic

from starlette.requests import Request

from app.access.origin import peer_of
from app.access.token import Token
from app.errors import (
    DatabaseUnavailable,
    ErrataError,
    ForeignHost,
    ForeignRequest,
    KeyExpired,
    KeyInvalid,
    KeyNeeded,
    KeyRevoked,
    ScopeMissing,
)
from app.http.watch import UNTOLD
from app.kit.logs import get_logger
from app.metrics.metrics import Metrics, expect

_PERIOD_S = 60.0
_MOST_OF_A_PEER = 10  # records in a period
_MOST = 200  # records in a period
_REASONS = [
    error.code
    for error in (
        KeyNeeded,
        KeyInvalid,
        KeyRevoked,
        KeyExpired,
        ScopeMissing,
        ForeignRequest,
        ForeignHost,
        DatabaseUnavailable,
    )
]
_log = get_logger(__name__)


class Refusals:
    """Notes refused requests; all calls come from one event loop.

    Args:
        metrics: Where they are counted by reason.
        now: Seconds that only ever grow.
    """

    def __init__(self, metrics: Metrics, now: Callable[[], float] = monotonic) -> None:
        self._metrics, self._now = metrics, now
        expect(metrics.refused, _REASONS)
        self._ends = now() + _PERIOD_S
        self._told = Counter[str | None]()
        self._untold = 0

    def note(self, request: Request, error: ErrataError) -> None:
        """A request was refused by who sent it."""
        self._metrics.refused.labels(error.code).inc()
        self._begin_period()
        peer = peer_of(request.scope)
        if self._told[peer] >= _MOST_OF_A_PEER or self._told.total() >= _MOST:
            self._untold += 1
            request.scope[UNTOLD] = True
            return
        self._told[peer] += 1
        key_id = _key_id(request.headers.get("authorization", ""))
        told = {"reason": error.code, "peer": peer}
        _log.warning("request_refused", **told, **({} if key_id is None else {"key_id": key_id}))

    def _begin_period(self) -> None:
        if self._now() < self._ends:
            return
        if self._untold:
            _log.warning("refusals_untold", count=self._untold)
        self._ends = self._now() + _PERIOD_S
        self._told.clear()
        self._untold = 0


def _key_id(authorization: str) -> str | None:
    """The part of a key that is no secret; None if what was sent is no key."""
    try:
        return Token.parse(authorization.partition(" ")[2].strip()).kid
    except ValueError:
        return None
