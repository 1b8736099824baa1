"""More than one caller may have at a time."""

from collections.abc import Mapping

from app.errors.base import ErrataError

_LISTENER_RETRY_S = 5
_EXPORT_RETRY_S = 30


class RateLimited(ErrataError):
    """The caller uses too much at the moment; the same request will succeed later."""

    status = 429
    code = "rate_limit_exceeded"

    def __init__(
        self, message: str, *, retry_after_s: int, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(
            f"{message}; try again in {retry_after_s} s",
            headers={"Retry-After": str(retry_after_s), **(headers or {})},
        )


class TooManyListeners(RateLimited):
    """Every place to listen to events is taken."""

    code = "too_many_listeners"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} clients listen already, the most this process takes (ERRATA_MAX_LISTENERS)",
            retry_after_s=_LISTENER_RETRY_S,
        )


class TooManyExports(RateLimited):
    """So many exports wait to be written that a further one would only wait as well."""

    code = "too_many_exports"

    def __init__(self, most: int, whose: str, setting: str) -> None:
        super().__init__(
            f"{most} exports{whose} are unfinished, the most there may be ({setting})",
            retry_after_s=_EXPORT_RETRY_S,
        )
