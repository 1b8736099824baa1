"""Callers that may not, or cannot be told apart."""

from collections.abc import Sequence
from pathlib import Path

from app.errors.base import ErrataError, Refusal


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


class Unguarded(ErrataError):
    """The service would listen where others reach it, and no API key keeps them out."""

    code = "unguarded"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host!r} can be reached by others, and there is no API key yet; "
            "make one first: errata keys create --scope admin (or listen on 127.0.0.1)"
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
