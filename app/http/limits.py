"""How much of a request a client may send before it is one: what is counted while it comes."""

from app.http.connections import ConnectionLimits

_FRAMING = 8  # bytes of chunked coding that one byte of a body may cost


class Refusal(Exception):
    """A request is not read any further.

    Attributes:
        status: What it is answered with.
        code: The machine-readable name of the reason.
        detail: The reason.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


class Head:
    """How much of a request line and headers has come."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._most_bytes, self._most_headers = limits.max_header_bytes, limits.max_headers
        self._target = self._size = self._headers = self._unfinished = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing has come at all."""
        return not (self._target or self._size or self._unfinished)

    def target(self, size: int) -> None:
        """A part of the request's target has come.

        Raises:
            Refusal: It is too long.
        """
        self._target += size
        if self._target > self._most_bytes:
            raise self._too_large(414, "uri_too_long", "the request line is")

    def header(self, size: int) -> None:
        """A header has come.

        Raises:
            Refusal: It is one too many, or they are too long.
        """
        self._size += size
        self._headers += 1
        if self._headers > self._most_headers:
            detail = f"at most {self._most_headers} headers are accepted"
            raise Refusal(431, "request_header_fields_too_large", detail)
        if self._target + self._size > self._most_bytes:
            raise self._too_large(431, "request_header_fields_too_large", "the headers are")

    def fed(self, size: int) -> None:
        """Bytes of it have come, which may hold no end of a header.

        Raises:
            Refusal: They are more than all headers may have.
        """
        self._unfinished += size
        if self._unfinished > self._most_bytes:
            raise self._too_large(431, "request_header_fields_too_large", "the headers are")

    def _too_large(self, status: int, code: str, what: str) -> Refusal:
        return Refusal(status, code, f"{what} longer than {self._most_bytes} bytes")


class Body:
    """How much of a body has come, and in how many bytes."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._most_framing = limits.max_header_bytes
        self.size = self._sent = 0

    def fed(self, size: int) -> None:
        """Bytes of it have come, which may hold nothing but chunk extensions or trailers.

        Raises:
            Refusal: They are out of proportion to the body.
        """
        self._sent += size
        if self._sent > self._most_framing + _FRAMING * self.size:
            raise Refusal(400, "bad_request", "the body's chunked coding is longer than the body")
