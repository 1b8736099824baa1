"""What the service cannot do at the moment."""

from app.errors.base import ErrataError

_OVERLOAD_RETRY_S = 5
_VIEW_RETRY_S = 5


class Unavailable(ErrataError):
    """Something the request needs is not there now; asking again later may succeed.

    Attributes:
        cause: What a driver or the system said of it. It may name hosts, ports and files, so it is
            for the log and the operator: `str` has it, the answer to a client does not.
    """

    status = 503
    code = "unavailable"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        headers: dict[str, str] | None = None,
        cause: str = "",
    ) -> None:
        super().__init__(message, field=field, headers=headers)
        self.cause = cause

    def __str__(self) -> str:
        """The message and its cause."""
        return f"{self.message}: {self.cause}" if self.cause else self.message


class ModelNotReady(Unavailable):
    """The resident model is still loading, or loading failed."""

    code = "model_not_ready"


class RevisionNotServed(Unavailable):
    """A committed revision is not served here yet; soon it will be."""

    code = "revision_not_served"

    def __init__(self, wanted: int, served: int, waited_s: float) -> None:
        super().__init__(
            f"revision {wanted} is committed, but after {waited_s:g} s this process still serves "
            f"revision {served}; ask again",
            field="X-Min-Revision",
        )


class NotReady(Unavailable):
    """Something that queries or edits need is missing; the message lists it to those we know."""

    code = "not_ready"


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, is full, or was locked for too long."""

    code = "database_unavailable"


class DatabaseAway(DatabaseUnavailable):
    """Nothing answers where the database should be, or it ended its connections.

    Nothing else is this: what load alone can cause must never be taken for it.
    """


class DatabaseOverloaded(DatabaseUnavailable):
    """The database is there and takes no more now: connections, locks, memory or disk are used."""

    def __init__(self, message: str, *, cause: str = "") -> None:
        super().__init__(message, headers={"Retry-After": str(_OVERLOAD_RETRY_S)}, cause=cause)


class StorageUnavailable(Unavailable):
    """The disk did not take a file; nothing was changed."""

    code = "storage_unavailable"


class StorageFull(Unavailable):
    """The disk has too little free space to take on more; nothing was changed."""

    status = 507
    code = "insufficient_storage"

    def __init__(self, free: int, needed: int) -> None:
        super().__init__(
            f"the data directory has {free} bytes free, and {needed} are needed for this and for "
            "what must go on (ERRATA_MIN_FREE_BYTES); make room, then ask again"
        )


class TooManyViews(Unavailable):
    """As many old revisions as may be in memory are being queried."""

    code = "too_many_views"

    def __init__(self, most: int, waited_s: float) -> None:
        super().__init__(
            f"{most} revisions beside the head are being queried, the most this process holds "
            f"(ERRATA_OLD_VIEWS), and none was free within {waited_s:g} s; try again in "
            f"{_VIEW_RETRY_S} s, or ask the head",
            headers={"Retry-After": str(_VIEW_RETRY_S)},
        )


class QueueUnavailable(Unavailable):
    """The doorbell cannot be started."""

    code = "queue_unavailable"


class QueueFull(Unavailable):
    """The queue takes no rings, and no budget is counted on it; edits are found without."""

    code = "queue_full"

    def __init__(self) -> None:
        super().__init__(
            "the queue has no memory left (maxmemory): edits wait for the worker to look by itself "
            "(ERRATA_QUEUE_POLL_S), and budgets are not counted"
        )


class LeaseLost(ErrataError):
    """Another process has taken the right to write; what this one computed is void."""

    status = 503
    code = "lease_lost"

    def __init__(self, fence: int) -> None:
        super().__init__(
            f"another process took the right to write (fence {fence}); nothing was written"
        )


class GenerationFailed(ErrataError):
    """The model failed while it answered; other requests, and what is stored, are unharmed."""

    code = "generation_failed"

    def __init__(self, cause: Exception) -> None:
        kind = type(cause).__name__  # its text may quote what was asked
        super().__init__(f"the model failed while it answered ({kind}); the server's log has more")
