"""What can go wrong when asking a server.

ClientError
├── ServerAway      nothing answers, or what answers is not Errata
├── Refused         the server answered with a problem; it says which
│   └── RateLimited     this caller asks for too much at the moment; it says when to ask again
├── StillWaiting    the operation has not ended in the time given
└── Damaged         a file that was fetched is not the one that was written
"""


class ClientError(Exception):
    """Base of everything the client raises."""


class ServerAway(ClientError):
    """Nothing that speaks Errata's API answers at the address."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(f"no Errata server answers at {url} ({cause}); start one: errata serve")


class Refused(ClientError):
    """The server answered with a problem document.

    Attributes:
        status: The HTTP status.
        code: The stable name of the problem.
        field: The request field at fault, if one is.
    """

    def __init__(self, status: int, code: str, message: str, field: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field


class RateLimited(Refused):
    """The caller has used up what it may use for now; nothing was done.

    Attributes:
        retry_after_s: Seconds after which the same request will do.
    """

    def __init__(self, code: str, message: str, retry_after_s: int) -> None:
        super().__init__(429, code, message, None)
        self.retry_after_s = retry_after_s


class StillWaiting(ClientError):
    """The operation has not ended in the time given; it goes on without us."""

    def __init__(self, operation_id: str, status: str, timeout_s: float) -> None:
        super().__init__(f"{operation_id} is still {status} after {timeout_s:g} s; it goes on")


class Damaged(ClientError):
    """What was fetched has another digest than the server said; it was not kept."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        super().__init__(
            f"{path} came damaged: its SHA-256 is {found}, not {expected}; fetch it again"
        )
