"""Things that are not there."""

from datetime import datetime

from app.errors.base import Refusal


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

    def __init__(self, revision: int | str, *, field: str | None = None) -> None:
        super().__init__(
            f"no revision is numbered {revision}; GET /v1/revisions lists them, 0 is the base",
            field=field,
        )


class RevisionWithdrawn(Refusal):
    """The revision was withdrawn: it is neither served nor handed out any more."""

    status = 410
    code = "revision_withdrawn"

    def __init__(self, revision: int, why: str, at: datetime) -> None:
        super().__init__(
            f"revision {revision} was withdrawn on {at:%Y-%m-%d} ({why}) and is not given out any "
            "more; ask for the head, or for one without withdrawn_at in GET /v1/revisions"
        )


class UnknownLabel(NotFound):
    """No snapshot has this label."""

    code = "unknown_label"

    def __init__(self, label: str) -> None:
        super().__init__(f"no snapshot is labelled {label[:80]!r}; GET /v1/snapshots lists them")


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
