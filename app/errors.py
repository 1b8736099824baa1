"""Everything the service refuses or fails at, and how each reads over HTTP.

ErrataError
├── Refusal                     the request is at fault; answered 4xx
│   ├── InvalidField            422  one field is unusable; names it
│   │   └── OverBudget          it asks for more than any minute has
│   ├── ContextTooLong          400  prompt and answer do not fit into the model's context
│   ├── IdempotencyMismatch     422  the key was used before with another body
│   ├── KeyNeeded               401  no key that counts came with the request
│   │   ├── KeyInvalid          it is mistyped, or nobody was given it
│   │   ├── KeyRevoked
│   │   └── KeyExpired
│   ├── ScopeMissing            403  the key is not for this
│   ├── NotFound                404
│   │   ├── UnknownEdit
│   │   ├── UnknownBatch
│   │   ├── UnknownOperation
│   │   ├── UnknownRevision
│   │   ├── UnknownLabel
│   │   ├── UnknownExport
│   │   ├── ExportGone
│   │   ├── NoRevisionYet
│   │   ├── NoEntryYet
│   │   ├── UnknownKey
│   │   └── UnknownModel
│   ├── RangeBeyond             416  the part asked for lies outside the file
│   ├── ClientGone              400  nobody waits for the answer any more
│   └── WrongState              409  the thing exists but can no longer be changed this way
│       ├── LabelTaken          the label is another revision's
│       └── ExportNotFinished   there is no file to download, or none yet
├── RateLimited                 429  the caller's budget is used up; asking again later will succeed
│   └── TooManyListeners        every place to listen is taken
├── Unavailable                 503  asking again later may succeed
│   ├── ModelNotReady
│   ├── RevisionNotServed       it is committed, but this process does not serve it yet
│   ├── NotReady
│   ├── DatabaseUnavailable
│   ├── StorageUnavailable
│   └── QueueUnavailable
├── LeaseLost                   503  another process writes now; nothing was written
├── GenerationFailed            500  the model failed while it answered
├── Inconsistent                500  stored state contradicts itself; an operator must look
│   ├── BaseMismatch            the database belongs to another model or recipe
│   ├── StaleParent             the head moved while a revision was being computed
│   ├── CorruptArtefact         a stored file no longer has the digest it is named after
│   ├── CorruptLedger           the end of the ledger is not an entry that could be signed
│   ├── UnusableKey             the file with the ledger's private key holds none
│   └── UnusablePepper          the secret that API keys were made with is not there
├── Unguarded                   others could reach the service without a key; only at start
├── BadCheckpoint               a text is no checkpoint; only offline
└── BrokenEvidence              a bundle does not hold; names the first bad part; only offline

`app.problems` turns each into one problem document.
"""

from collections.abc import Sequence
from typing import ClassVar

_LISTENER_RETRY_S = 5


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


class InvalidField(Refusal):
    """One field of the request is unusable."""

    status = 422
    code = "invalid_field"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message, field=field)


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
    """The `Idempotency-Key` was used before with another body."""

    status = 422
    code = "idempotency_mismatch"

    def __init__(self) -> None:
        super().__init__(
            "this Idempotency-Key was used before with another body; "
            "repeat that body, or draw a new key for a new edit",
            field="Idempotency-Key",
        )


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


class NotFound(Refusal):
    """Nothing is stored under this name."""

    status = 404
    code = "not_found"


class UnknownEdit(NotFound):
    """No edit has this id."""

    code = "unknown_edit"

    def __init__(self, edit_id: str) -> None:
        super().__init__(f"no edit has the id {edit_id[:80]!r}; GET /v1/edits lists them")


class UnknownBatch(NotFound):
    """No batch has this id."""

    code = "unknown_batch"

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"no batch of edits has the id {batch_id[:80]!r}")


class UnknownOperation(NotFound):
    """No operation has this id."""

    code = "unknown_operation"

    def __init__(self, operation_id: str) -> None:
        super().__init__(f"no operation has the id {operation_id[:80]!r}")


class UnknownRevision(NotFound):
    """No revision has this number."""

    code = "unknown_revision"

    def __init__(self, revision: int | str) -> None:
        super().__init__(
            f"no revision is numbered {revision}; GET /v1/revisions lists them, 0 is the base"
        )


class UnknownLabel(NotFound):
    """No snapshot has this label."""

    code = "unknown_label"

    def __init__(self, label: str) -> None:
        super().__init__(f"no snapshot is labelled {label[:80]!r}; GET /v1/snapshots lists them")


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


class UnknownExport(NotFound):
    """No export has this id."""

    code = "unknown_export"

    def __init__(self, export_id: str) -> None:
        super().__init__(f"no export has the id {export_id[:80]!r}; GET /v1/exports lists them")


class ExportGone(NotFound):
    """The export was finished, but its file is no longer in the data directory."""

    code = "export_gone"

    def __init__(self, export_id: str) -> None:
        super().__init__(
            f"the file of {export_id} is gone, as after a restore from a backup; export again"
        )


class NoRevisionYet(NotFound):
    """The service has never had a model, so there is not even a base."""

    code = "no_revision_yet"

    def __init__(self) -> None:
        super().__init__("there is no revision yet; revision 0 appears once the model is loaded")


class NoEntryYet(NotFound):
    """The ledger is empty, so there is nothing to sign or to hand over."""

    code = "no_entry_yet"

    def __init__(self) -> None:
        super().__init__("the ledger has no entry yet; the first edit or the loaded model makes it")


class UnknownKey(NotFound):
    """No API key has this id."""

    code = "unknown_key"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"no API key has the id {key_id[:80]!r}; GET /v1/keys lists them")


class UnknownModel(NotFound):
    """No model is served under this name."""

    code = "model_not_found"


class ClientGone(Refusal):
    """The client closed its connection before it had its answer."""

    code = "client_gone"

    def __init__(self) -> None:
        super().__init__("the connection was closed before the answer was complete")


class WrongState(Refusal):
    """The thing exists, but its state forbids what was asked."""

    status = 409
    code = "wrong_state"


class LabelTaken(WrongState):
    """The label names another revision."""

    code = "label_taken"

    def __init__(self, label: str, revision: int) -> None:
        super().__init__(
            f"label {label!r} is on revision {revision} and stays there; choose another label, or "
            f"DELETE /v1/snapshots/{label} first",
            field="label",
        )


class ExportNotFinished(WrongState):
    """The export has no file."""

    code = "export_not_finished"

    def __init__(self, export_id: str, status: str, reason: str | None) -> None:
        told = f": {reason}" if reason else ", and has no file yet"
        super().__init__(f"{export_id} is {status}{told}")


class RateLimited(ErrataError):
    """The caller uses too much at the moment; the same request will succeed later."""

    status = 429
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(
            f"{message}; try again in {retry_after_s} s",
            headers={"Retry-After": str(retry_after_s)},
        )


class TooManyListeners(RateLimited):
    """Every place to listen to events is taken."""

    code = "too_many_listeners"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} clients listen already, the most this process takes (ERRATA_MAX_LISTENERS)",
            retry_after_s=_LISTENER_RETRY_S,
        )


class Unavailable(ErrataError):
    """Something the request needs is not there now; asking again later may succeed."""

    status = 503
    code = "unavailable"


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
    """Something that queries or edits need is missing; the message lists all of it."""

    code = "not_ready"


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, is full, or was locked for too long."""

    code = "database_unavailable"


class StorageUnavailable(Unavailable):
    """The disk did not take a file; nothing was changed."""

    code = "storage_unavailable"


class QueueUnavailable(Unavailable):
    """The doorbell cannot be started."""

    code = "queue_unavailable"


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


class Inconsistent(ErrataError):
    """Stored state contradicts itself; nothing was changed and an operator must look."""

    code = "inconsistent_state"


class BaseMismatch(Inconsistent):
    """The database was started with another base model or recipe."""

    code = "base_mismatch"


class StaleParent(Inconsistent):
    """The head moved while a revision was being computed on top of it."""

    code = "stale_parent"


class CorruptArtefact(Inconsistent):
    """An artefact is missing or no longer has the digest it is named after."""

    code = "corrupt_artefact"


class CorruptLedger(Inconsistent):
    """The end of the ledger is not an entry that could be signed."""

    code = "corrupt_ledger"


class UnusableKey(Inconsistent):
    """The file that should hold the ledger's private key holds something else."""

    code = "unusable_key"


class UnusablePepper(Inconsistent):
    """The secret that API keys were made with is missing, or is no such secret."""

    code = "unusable_pepper"


class Unguarded(ErrataError):
    """The service would listen where others reach it, and no API key keeps them out."""

    code = "unguarded"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host!r} can be reached by others, and there is no API key yet; "
            "make one first: errata keys create --scope admin (or listen on 127.0.0.1)"
        )


class BadCheckpoint(ErrataError):
    """A text is not a checkpoint as `GET /v1/ledger/checkpoint` answers it."""

    code = "bad_checkpoint"


class BrokenEvidence(ErrataError):
    """A bundle does not hold.

    Attributes:
        part: What kind of thing is bad: `entry`, `artefact`, `revision`, `checkpoint`, `model`, or
            `member` for a file that does not belong.
        name: Which one: an index, a digest, a number, or the name of a file.
    """

    code = "broken_evidence"

    def __init__(self, part: str, name: int | str, message: str) -> None:
        super().__init__(message)
        self.part = part
        self.name = name
