"""What every error has."""

from typing import ClassVar


class ErrataError(Exception):
    """Base of everything the service raises on purpose.

    Attributes:
        status: HTTP status it is answered with.
        code: Stable machine-readable name, also the end of the problem's `type`.
        field: The request field at fault, if one is.
        headers: Extra response headers.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(
        self, message: str, *, field: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.headers = headers or {}


class Refusal(ErrataError):
    """The request cannot be met as it is; sending it again unchanged will not help."""

    status = 400
    code = "bad_request"
