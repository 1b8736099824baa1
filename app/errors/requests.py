"""Requests that are at fault in themselves."""

from collections.abc import Sequence

from app.errors.base import Refusal

_NAME_CHARS = 120


class InvalidField(Refusal):
    """One field of the request is unusable."""

    status = 422
    code = "invalid_field"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message, field=field)


class UnknownParameter(InvalidField):
    """A query parameter that the path does not know; its value may be a secret, and is not told."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        shown = name if len(name) <= _NAME_CHARS else name[:_NAME_CHARS] + "…"
        taken = f"it takes {', '.join(known)}" if known else "it takes none"
        super().__init__(shown, f"{shown} is no query parameter of this path; {taken}")


class OverBudget(InvalidField):
    """One request asks for more than a caller has in a whole minute; waiting would not help."""

    code = "over_budget"

    def __init__(self, field: str, unit: str, amount: int, per_minute: int) -> None:
        super().__init__(
            field,
            f"this needs {amount} {unit}, and a caller has {per_minute} a minute; "
            "ask for fewer at a time",
        )


class ContextTooLong(Refusal):
    """Prompt and answer together are longer than the model's context."""

    code = "context_length_exceeded"

    def __init__(self, field: str, *, tokens: int, new_tokens: int, context: int) -> None:
        super().__init__(
            f"{tokens} prompt tokens and {new_tokens} new tokens are {tokens + new_tokens}; "
            f"the model's context holds {context}",
            field=field,
        )


class IdempotencyMismatch(Refusal):
    """The `Idempotency-Key` was used before for something else."""

    status = 422
    code = "idempotency_mismatch"

    def __init__(self) -> None:
        super().__init__(
            "this Idempotency-Key was used before with another path or body; "
            "repeat that request, or draw a new key for a new one",
            field="Idempotency-Key",
        )


class RangeBeyond(Refusal):
    """The part of a file that `Range` asks for is not there."""

    status = 416
    code = "range_not_satisfiable"

    def __init__(self, asked: str, size: int) -> None:
        super().__init__(
            f"the file has {size} bytes, counted from 0; {asked} is no part of it",
            field="Range",
            headers={"Content-Range": f"bytes */{size}"},
        )


class ClientGone(Refusal):
    """The client closed its connection before it had its answer."""

    code = "client_gone"

    def __init__(self) -> None:
        super().__init__("the connection was closed before the answer was complete")
