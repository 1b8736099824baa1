"""What ledger entries say: read from their payloads, and nothing taken on trust."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from app.database.tables.ledger import EntryKind
from app.ledger.chain import Link

Number = Annotated[StrictInt, Field(ge=0)]


class _Record(BaseModel):
    # A newer service may say more in a record.
    model_config = ConfigDict(extra="ignore", frozen=True)


class BaseRecord(_Record):
    """What everything starts from, and which matrices are edited."""

    model: StrictStr
    model_digest: StrictStr
    weights_digest: StrictStr
    layers: tuple[Number, ...]
    site: StrictStr
    dtype: StrictStr
    recipe_digest: StrictStr


class OperationRecord(_Record):
    """An operation that was accepted, or accepted again.

    Attributes:
        former_seq: The place it leaves; what was said of it before still holds.
    """

    id: StrictStr
    seq: Number
    kind: StrictStr
    former_seq: Number | None = None
    to_revision: Number | None = None
    target_edit: StrictStr | None = None
    restore: StrictBool = False
    if_head: Number | None = None
    method: StrictStr | None = None
    text_digest: StrictStr | None = None
    force: StrictBool = False
    dry_run: StrictBool = False
    gates: dict[StrictStr, StrictStr] = {}
    batch: StrictStr | None = None
    atomic: StrictBool = False


class VerdictRecord(_Record):
    """An operation that ended without a revision."""

    id: StrictStr
    seq: Number
    status: StrictStr
    reason: StrictStr


class RevisionRecord(_Record):
    """A revision that was committed.

    Attributes:
        added: Edits that became live, those with new factors first.
        rows: The artefact's rows of those with new factors.
        live_edits: How many edits are live in it.
        supersedes: Edit with new factors → the edit of the same fact that it replaces.
        factors: Edit → artefact and row of the factors it has from here on, where these are not
            the only ones it ever had: of restored edits, and of those that stay live. Of this
            revision's artefact where it was solved again, else some that it had before.
    """

    number: Number
    parent: Number
    kind: StrictStr
    operations: tuple[StrictStr, ...]
    added: tuple[StrictStr, ...]
    rows: tuple[Number, ...]
    removed: tuple[StrictStr, ...]
    live_edits: Number
    supersedes: dict[StrictStr, StrictStr]
    factors: dict[StrictStr, tuple[StrictStr, Number]] = {}
    weights_digest: StrictStr
    artefact_digest: StrictStr | None


class WithdrawalRecord(_Record):
    """Revisions that are not given out any more, because they hold an edit.

    Attributes:
        edit: The edit.
        revisions: First and last of each span of neighbours, in order.
        why: A code.
    """

    edit: StrictStr
    revisions: tuple[tuple[Number, Number], ...]
    why: StrictStr


class SnapshotRecord(_Record):
    """A label that was given to a revision, or taken from it."""

    label: StrictStr
    revision: Number
    removed: StrictBool = False


class ErasureRecord(_Record):
    """Words that were removed."""

    id: StrictStr


class KeyRecord(_Record):
    """An API key that was made or revoked."""

    id: StrictStr
    scopes: tuple[StrictStr, ...] = ()
    expires_at: StrictStr | None = None
    revoked: StrictBool = False


class ExportRecord(_Record):
    """An export that was accepted (it has a format), finished (a digest), or removed."""

    id: StrictStr
    format: StrictStr | None = None
    revision: Number | None = None
    max_rank: Number | None = None
    digest: StrictStr | None = None
    bytes: Number | None = None
    removed: StrictBool = False


class QueueRecord(_Record):
    """The queue was paused or resumed, or many edits were cancelled at once.

    Attributes:
        act: `pause`, `resume` or `cancel`.
        cancelled: How many edits were.
    """

    act: StrictStr
    cancelled: Number | None = None


class RecipeRecord(_Record):
    """Another recipe, by which the revisions that follow are computed.

    Attributes:
        digest: Its SHA-256.
        former: That of the recipe before.
    """

    digest: StrictStr
    former: StrictStr


class SetBackRecord(_Record):
    """A database that lacked entries and was accepted."""

    lost: dict[StrictStr, StrictStr | StrictInt]


Record = (
    BaseRecord
    | OperationRecord
    | VerdictRecord
    | RevisionRecord
    | SnapshotRecord
    | ErasureRecord
    | WithdrawalRecord
    | KeyRecord
    | ExportRecord
    | QueueRecord
    | RecipeRecord
    | SetBackRecord
)


@dataclass(frozen=True)
class ArtefactFlaw:
    """An artefact that is missing or was altered.

    Attributes:
        index: The ledger entry that refers to it.
        digest: What its digest should be.
    """

    index: int
    digest: str


_KINDS: dict[str, type[Record]] = {
    EntryKind.BASE: BaseRecord,
    EntryKind.OPERATION: OperationRecord,
    EntryKind.VERDICT: VerdictRecord,
    EntryKind.REVISION: RevisionRecord,
    EntryKind.WITHDRAWAL: WithdrawalRecord,
    EntryKind.SNAPSHOT: SnapshotRecord,
    EntryKind.ERASURE: ErasureRecord,
    EntryKind.KEY: KeyRecord,
    EntryKind.EXPORT: ExportRecord,
    EntryKind.QUEUE: QueueRecord,
    EntryKind.RECIPE: RecipeRecord,
    EntryKind.SETBACK: SetBackRecord,
}


def read(entry: Link) -> Record | None:
    """What an entry says; None for a kind that only a newer release knows.

    Raises:
        ValueError: The payload is not what an entry of this kind holds.
    """
    kind = _KINDS.get(entry.kind)
    if kind is None:
        return None
    try:
        return kind.model_validate_json(entry.payload)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}") from error


def artefact_of(entry: Link) -> str | None:
    """The artefact that an entry refers to; None also where the entry cannot be read."""
    if entry.kind != EntryKind.REVISION:
        return None
    try:
        record = read(entry)
    except ValueError:
        return None
    return record.artefact_digest if isinstance(record, RevisionRecord) else None
