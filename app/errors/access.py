"""Callers that may not, or cannot be told apart."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from app.errors.base import ErrataError, Refusal

_FIRST_KEY = "errata keys create --scope admin"


def first_key_command(data_dir: Path) -> str:
    """What makes the first key of the service whose data is there, whatever folder is the default.

    Not for strangers, who need not know where its data is.
    """
    return f"{_FIRST_KEY} --data-dir {quote(str(data_dir))}"


class KeyNeeded(Refusal):
    """The request came without an API key, and the service is not open."""

    status = 401
    code = "key_needed"

    def __init__(
        self, message: str = "this needs an API key; send Authorization: Bearer lme_…"
    ) -> None:
        super().__init__(message, field="Authorization", headers={"WWW-Authenticate": "Bearer"})


class KeyInvalid(KeyNeeded):
    """The API key is mistyped, or no such key was made."""

    code = "key_invalid"


class KeyRevoked(KeyNeeded):
    """The API key was revoked."""

    code = "key_revoked"


class KeyExpired(KeyNeeded):
    """The API key was made for a time that is over."""

    code = "key_expired"


class TicketInvalid(KeyNeeded):
    """The ticket for a stream of events is over, or was not made here."""

    code = "ticket_invalid"

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}; ask for a new one: POST /v1/events/tickets")
        self.field = "ticket"


class ScopeMissing(Refusal):
    """The API key counts, but was not made for this."""

    status = 403
    code = "scope_missing"

    def __init__(self, needed: Sequence[str], held: Sequence[str]) -> None:
        scope = " or ".join(repr(str(name)) for name in needed)
        super().__init__(
            f"this needs a key with the scope {scope} (or 'admin'); yours has {', '.join(held)}",
            field="Authorization",
        )


class ForeignRequest(Refusal):
    """Without keys, only this machine's own programs and pages are let in; this came otherwise."""

    status = 403
    code = "foreign_request"

    def __init__(self, header: str, why: str) -> None:
        super().__init__(
            f"{why}; without API keys only programs on this machine are let in: make a key first "
            f"({_FIRST_KEY}), and send it",
            field=header,
        )


class ForeignHost(Refusal):
    """The request is addressed to a name that is not this service's."""

    status = 421
    code = "foreign_host"

    def __init__(self, why: str, accepted: str) -> None:
        super().__init__(f"{why}; accepted: {accepted}", field="Host")


class FirstKeyByCommand(Refusal):
    """The first API key is not made over HTTP."""

    status = 403
    code = "first_key_by_command"

    def __init__(self, data_dir: Path) -> None:
        super().__init__(
            "the first API key is made on the machine of the service: "
            f"{first_key_command(data_dir)}; "
            "from then on keys with the scope 'admin' make others here"
        )


class Unguarded(ErrataError):
    """The service would listen where others reach it, and no API key keeps them out."""

    code = "unguarded"

    def __init__(self, host: str, data_dir: Path) -> None:
        super().__init__(
            f"{host!r} can be reached by others, and there is no API key yet; "
            f"make one first: {first_key_command(data_dir)} (or listen on 127.0.0.1)"
        )


class ForeignFolder(ErrataError):
    """The data directory is somebody else's, who could read what people write."""

    code = "foreign_folder"

    def __init__(self, folder: Path, owner: str, ours: str) -> None:
        super().__init__(
            f"the data directory {folder} belongs to {owner}, who could read what people write; "
            f"give it to {ours} (chown), run as {owner}, or set ERRATA_DATA_DIR to a folder of "
            f"{ours}, such as a new one in it"
        )
