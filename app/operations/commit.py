"""The commit: the one transaction that makes a new revision and everything that follows from it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from app.database.tables.edits import Edit
from app.database.tables.ledger import EntryKind
from app.database.tables.operations import Operation, OperationKind, OperationStatus
from app.database.tables.revisions import Revision, RevisionKind
from app.errors import BaseMismatch, StaleParent, WrongState
from app.facts.placements import Placement
from app.kit.canonical import JsonObject
from app.kit.failpoints import Failpoint, failpoint
from app.ledger import repository as ledger_repository
from app.ledger import service as ledger
from app.operations import edits, reverts
from app.operations import repository as operations
from app.operations import revisions as repository
from app.operations.lifecycle import move
from app.operations.live import LiveEdit
from app.operations.standing import settle
from app.operations.withdrawals import require_not_withdrawn, require_served

# What revision 0 is, and what decides it: layers come from the recipe.
_SAME_FOR_EVER = {
    "model_digest": "ERRATA_MODEL",
    "weights_digest": "ERRATA_SITE and the layers in recipe.json",
}


@dataclass(frozen=True)
class EditedMatrices:
    """Which matrices of the model are edited: whoever has the model finds them by this.

    Attributes:
        layers: The edited layers.
        site: Which output projection of their blocks.
        dtype: Number format that they are served in, and that their digests are taken of.
    """

    layers: Sequence[int]
    site: str
    dtype: str


@dataclass(frozen=True)
class AddedEdit:
    """An edit whose factors are new.

    Attributes:
        edit_id: Its id.
        artefact_index: Which of the new artefact's factor pairs are its own.
        report: What the worker measured.
        supersedes: The live edit of the same fact that it replaces; also listed as removed.
    """

    edit_id: str
    artefact_index: int
    report: JsonObject
    supersedes: str | None = None


@dataclass(frozen=True)
class NewRevision:
    """What a revision is to be, computed beforehand on top of `parent`.

    Attributes:
        kind: What makes it.
        parent: The head it was computed on.
        operations: Ids of the running operations that it completes, in order.
        weights_digest: SHA-256 of the edited matrices it has.
        report: What the worker measured of it.
        artefact_digest: The stored factors of `added`, if there are any.
        added: Edits with new factors.
        restored: Ids of edits that were live before and are again.
        removed: Ids of edits that cease to be live.
        factors: Edit id → the factors it has from here on: of restored edits, by default the
            newest it had, and of those that stay live with other ones. Of this artefact where it
            was solved again, else some that it had before.
        revert: What a revert was found to change.
    """

    kind: OperationKind
    parent: int
    operations: Sequence[str]
    weights_digest: str
    report: JsonObject
    artefact_digest: str | None = None
    added: Sequence[AddedEdit] = ()
    restored: Sequence[str] = ()
    removed: Sequence[str] = ()
    factors: Mapping[str, Placement] = field(default_factory=dict)
    revert: JsonObject | None = None

    @property
    def gained(self) -> list[str]:
        """Ids of all edits that become live."""
        return [*(edit.edit_id for edit in self.added), *self.restored]

    @property
    def replaced(self) -> list[Placement]:
        """Of the edits that stay live with other factors."""
        restored = set(self.restored)
        return [found for id, found in self.factors.items() if id not in restored]

    @property
    def first_placements(self) -> list[Placement]:
        """Of the edits whose factors are their first."""
        return [
            Placement(edit.edit_id, self.artefact_digest or "", edit.artefact_index)
            for edit in self.added
        ]


@dataclass(frozen=True)
class Committed:
    """A revision that was committed, as far as its maker need not ask for it again.

    Attributes:
        revision: Its row.
        ledger_hash: Of the entry that tells of it.
        gained: Edits that became live, or have other factors, in the order they were accepted.
    """

    revision: Revision
    ledger_hash: str
    gained: Sequence[LiveEdit]


def record_base(
    session: Session,
    *,
    model: str,
    model_digest: str,
    recipe_digest: str,
    weights_digest: str,
    actor: str,
    now: datetime,
    matrices: EditedMatrices,
    report: JsonObject,
) -> Revision:
    """Make revision 0, or find that the one there is of the same model.

    The recipe is recorded but may change later: what was edited stays as it was computed.

    Raises:
        BaseMismatch: The database was started with another model.
    """
    record: JsonObject = {
        "model": model,
        "model_digest": model_digest,
        "recipe_digest": recipe_digest,
        "weights_digest": weights_digest,
        "layers": list(matrices.layers),
        "site": matrices.site,
        "dtype": matrices.dtype,
    }
    base = session.get(Revision, 0)
    if base is None:
        entry = ledger.append(session, EntryKind.BASE, record, actor=actor, now=now)
        base = _revision(RevisionKind.BASE, None, weights_digest, now, entry.index, report)
        repository.add(session, base)
    else:
        _require_same_model(session, base, record)
    return base


def require_base(session: Session, *, model: str, model_digest: str, weights_digest: str) -> None:
    """Let a model go on that revision 0 is of, or that finds no revision 0.

    Raises:
        BaseMismatch: The database was started with another model.
    """
    base = session.get(Revision, 0)
    if base is not None:
        loaded: JsonObject = {
            "model": model,
            "model_digest": model_digest,
            "weights_digest": weights_digest,
        }
        _require_same_model(session, base, loaded)


def commit_revision(session: Session, new: NewRevision, *, actor: str, now: datetime) -> Committed:
    """Make `new` the head: revision, changes, statuses and ledger entry, or nothing at all.

    Raises:
        StaleParent: `new.parent` is not the head.
        WrongState: One of its operations is not running.
        RevisionWithdrawn: The revision that it goes back to was withdrawn.
    """
    head = repository.newest(session)
    if head is None or head.number != new.parent:
        found = "nothing" if head is None else f"revision {head.number}"
        raise StaleParent(f"head is {found}, but the commit was computed on revision {new.parent}")
    replaced = [found.edit_id for found in new.replaced]
    edits.read_ahead(session, [*new.gained, *new.removed, *replaced])
    completed = [_running(session, operation_id) for operation_id in new.operations]
    goals = [operation.to_revision for operation in completed if operation.to_revision is not None]
    require_served(session, *goals)
    if new.kind is OperationKind.REVERT:
        require_not_withdrawn(session, new.restored)
    live_edits = head.live_edits + len(new.gained) - len(new.removed)
    restored, told = _restored(session, new)
    entry = ledger.append(
        session, EntryKind.REVISION, _record(new, live_edits, told), actor=actor, now=now
    )
    kind = RevisionKind(new.kind)
    revision = _revision(kind, head, new.weights_digest, now, entry.index, new.report)
    revision.operation = new.operations[-1]
    revision.artefact_digest = new.artefact_digest
    revision.live_edits = live_edits
    repository.add(session, revision)
    repository.add_changes(
        session,
        revision.number,
        added=[*new.first_placements, *restored],
        removed=new.removed,
        replaced=new.replaced,
    )
    for operation in completed:
        operation.revision = revision.number
        operation.finished_at = now
        operation.ledger_index = entry.index
        if new.revert is not None:
            reverts.get(session, operation.id).report = new.revert
        move(session, operation, OperationStatus.COMMITTED, now)
    for added in new.added:
        edit = session.get_one(Edit, added.edit_id)
        edit.report, edit.supersedes = added.report, added.supersedes
    settle(session, revision, gained=new.gained, removed=new.removed)
    failpoint(Failpoint.COMMITTING)
    placed = [*new.first_placements, *restored, *new.replaced]
    return Committed(revision, entry.hash, _live(session, placed))


def _live(session: Session, placed: Sequence[Placement]) -> list[LiveEdit]:
    """Edits with the factors that they have now, in the order they were accepted."""
    live = []
    for place in placed:
        seq = edits.get(session, place.edit_id).operation.seq
        live.append(LiveEdit(place.edit_id, seq, place.artefact, place.row))
    return sorted(live, key=lambda edit: edit.seq)


def _require_same_model(session: Session, base: Revision, loaded: JsonObject) -> None:
    stored = json.loads(ledger_repository.get(session, base.ledger_index).payload)
    for name, what in _SAME_FOR_EVER.items():
        if stored[name] != loaded[name]:
            raise BaseMismatch(
                f"this database belongs to model {stored['model']!r} with {name} {stored[name]}, "
                f"but {loaded['model']!r} with {loaded[name]} was loaded; "
                f"set {what} back, or another ERRATA_DATA_DIR"
            )


def _restored(session: Session, new: NewRevision) -> tuple[list[Placement], list[Placement]]:
    """The factors of restored edits, and of which edits the ledger must name them.

    An edit that ever had one set of factors has that one again.
    """
    had = repository.placements(session, new.restored)
    restored = [new.factors.get(id, had[id][-1]) for id in new.restored]
    told = [found for found in restored if set(had[found.edit_id]) != {found}]
    return restored, [*told, *new.replaced]


def _record(new: NewRevision, live_edits: int, told: Sequence[Placement]) -> JsonObject:
    """What the ledger says of a revision: enough to rebuild it from base and artefacts.

    `rows` are the artefact's rows of the first edits of `added`; the others are restored.
    `factors` are there only for edits that have had, or now have, more than one set of them.
    """
    factors: JsonObject = {found.edit_id: [found.artefact, found.row] for found in told}
    return _told(new, live_edits) | ({"factors": factors} if factors else {})


def _told(new: NewRevision, live_edits: int) -> JsonObject:
    return {
        "number": new.parent + 1,
        "parent": new.parent,
        "kind": new.kind.value,
        "operations": list(new.operations),
        "added": list(new.gained),
        "rows": [edit.artefact_index for edit in new.added],
        "removed": list(new.removed),
        "live_edits": live_edits,
        "supersedes": {
            edit.edit_id: edit.supersedes for edit in new.added if edit.supersedes is not None
        },
        "weights_digest": new.weights_digest,
        "artefact_digest": new.artefact_digest,
    }


def _revision(
    kind: RevisionKind,
    parent: Revision | None,
    weights_digest: str,
    now: datetime,
    ledger_index: int,
    report: JsonObject,
) -> Revision:
    return Revision(
        number=0 if parent is None else parent.number + 1,
        parent=None if parent is None else parent.number,
        kind=kind,
        operation=None,
        weights_digest=weights_digest,
        artefact_digest=None,
        live_edits=0 if parent is None else parent.live_edits,
        created_at=now,
        ledger_index=ledger_index,
        report=report,
    )


def _running(session: Session, operation_id: str) -> Operation:
    operation = operations.get(session, operation_id)
    if operation.status is not OperationStatus.RUNNING:
        raise WrongState(
            f"operation {operation_id!r} is {operation.status.value}; "
            "only a running one can be committed"
        )
    return operation
