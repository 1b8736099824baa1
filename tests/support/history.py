"""Writes histories through the same verbs as the service and its worker, without a model."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from safetensors.numpy import save

from app.database.database import Database
from app.database.tables.batches import EditBatch
from app.database.tables.edits import Edit, EditStatus
from app.database.tables.operations import Operation, OperationKind
from app.database.tables.revisions import Revision
from app.edits.service import erase
from app.facts.revision_report import LayerDrift, RevisionReport
from app.facts.text import EditText
from app.kit.canonical import JsonObject
from app.ledger.artefacts import ArtefactStore
from app.operations import batches, edits, revisions
from app.operations import lifecycle as service
from app.operations import repository as operations
from app.operations.commit import (
    AddedEdit,
    Committed,
    EditedMatrices,
    NewRevision,
    commit_revision,
    record_base,
)

SALT = "00" * 16
MATRICES = EditedMatrices(layers=(0,), site="feed-forward", dtype="float32")
REPORT: JsonObject = {"before": {"p_target": 0.5, "rank_target": 1, "argmax": " word"}}


def measured(*, energy: float = 1.0, recipe: str = "recipe") -> JsonObject:
    """What a worker might have measured of a revision of one edited layer."""
    layer = LayerDrift(layer=0, energy=energy, delta_norm=0.0, key_collision=None)
    report = RevisionReport(
        perplexity=20.0,
        perplexity_tokens=128,
        layers=[layer],
        recipe_digest=recipe,
        canaries_kept=1.0,
    )
    return report.model_dump(mode="json")


class SteppingClock:
    """One second later each time it is asked."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


class History:
    """A database with a base, and shorthands for what may happen next."""

    def __init__(
        self,
        database: Database,
        artefacts: ArtefactStore | None = None,
        *,
        weights_digest: str = "weights-0",
    ) -> None:
        self.database = database
        self._artefacts = artefacts
        self.recipe = "recipe"
        self.clock = SteppingClock()
        with database.write() as session:
            record_base(
                session,
                model="tiny",
                model_digest="model",
                recipe_digest="recipe",
                weights_digest=weights_digest,
                actor="worker",
                now=self.clock(),
                matrices=MATRICES,
                report=measured(),
            )

    def open_batch(self, batch_id: str, *, atomic: bool) -> str:
        """A batch to accept edits into."""
        with self.database.write() as session:
            batches.add(session, EditBatch(id=batch_id, atomic=atomic, created_at=self.clock()))
        return batch_id

    def accept(
        self,
        edit_id: str,
        *,
        subject: str = "",
        method: str = "memit",
        batch_id: str | None = None,
        dry_run: bool = False,
    ) -> str:
        """Accept an edit; each has a subject of its own unless one is given."""
        subject = subject or f"Subject of {edit_id}"
        text = EditText(subject, f"{subject} is", "{} is", "target")
        with self.database.write() as session:
            service.accept(
                session,
                id=edit_id,
                kind=OperationKind.EDIT,
                details=self._told(text, method, batch_id, dry_run=dry_run),
                actor="client",
                now=self.clock(),
            )
            edit = Edit(
                id=edit_id,
                method=method,
                force=False,
                status=EditStatus.ACCEPTED,
                text_digest=text.digest(SALT),
                batch_id=batch_id,
                dry_run=dry_run,
            )
            edits.add(session, edit, text, salt=SALT)
        return edit_id

    def _told(
        self, text: EditText, method: str, batch_id: str | None, *, dry_run: bool
    ) -> JsonObject:
        """What the ledger says of an edit."""
        told: JsonObject = {"method": method, "text_digest": text.digest(SALT), "force": False}
        if dry_run:
            told["dry_run"] = True
        if batch_id is not None:
            with self.database.read() as session:
                told |= {"batch": batch_id, "atomic": batches.get(session, batch_id).atomic}
        return told

    def accept_rollback(self, operation_id: str, to_revision: int) -> str:
        """Accept a rollback."""
        with self.database.write() as session:
            service.accept(
                session,
                id=operation_id,
                kind=OperationKind.ROLLBACK,
                details={"to_revision": to_revision},
                actor="client",
                now=self.clock(),
                to_revision=to_revision,
            )
        return operation_id

    def claim(self, limit: int = 16) -> list[Operation]:
        """Claim what is next."""
        with self.database.write() as session:
            run = operations.next_run(session, limit)
            service.claim(session, run, self.clock())
        return run

    def commit(self, new: NewRevision) -> Revision:
        """Commit a revision."""
        return self.make(new).revision

    def make(self, new: NewRevision) -> Committed:
        """Commit a revision, and have what its maker goes on from."""
        with self.database.write() as session:
            return commit_revision(session, new, actor="worker", now=self.clock())

    def edit(self, *edit_ids: str, subject: str = "", supersedes: str | None = None) -> Revision:
        """Accept, claim and commit edits as one revision."""
        for edit_id in edit_ids:
            self.accept(edit_id, subject=subject)
        self.claim()
        return self.commit_edits(edit_ids, supersedes=supersedes)

    def commit_edits(
        self,
        edit_ids: Sequence[str],
        *,
        supersedes: str | None = None,
        report: JsonObject | None = None,
    ) -> Revision:
        """Commit edits that were claimed."""
        parent = self.head()
        added = [
            AddedEdit(edit_id, index, report or REPORT, supersedes=supersedes)
            for index, edit_id in enumerate(edit_ids)
        ]
        return self.commit(
            NewRevision(
                kind=OperationKind.EDIT,
                parent=parent,
                operations=edit_ids,
                weights_digest=f"weights-{parent + 1}",
                report=measured(energy=1 + (parent + 1) / 8, recipe=self.recipe),
                artefact_digest=self._artefact(edit_ids, parent + 1),
                added=added,
                removed=[] if supersedes is None else [supersedes],
            )
        )

    def erase(self, edit_id: str) -> None:
        """Erase the words of an edit, as the service does in one transaction."""
        with self.database.write() as session:
            erase(session, edit_id, actor="client", now=self.clock())

    def undo(
        self,
        operation_id: str,
        to_revision: int,
        *,
        restored: Sequence[str] = (),
        removed: Sequence[str] = (),
    ) -> Revision:
        """Roll back to a revision, with what that takes."""
        self.accept_rollback(operation_id, to_revision)
        self.claim()
        return self.commit(
            NewRevision(
                OperationKind.ROLLBACK,
                self.head(),
                [operation_id],
                f"weights-{to_revision}",
                measured(energy=1 + to_revision / 8, recipe=self.recipe),
                restored=restored,
                removed=removed,
            )
        )

    def _artefact(self, edit_ids: Sequence[str], revision: int) -> str:
        """A digest; with a store, that of factors which no model will ever use."""
        if self._artefacts is None:
            return f"artefact-{revision}"
        factors = np.full((len(edit_ids), 4), revision, dtype=np.float32)
        tensors = {f"0.{name}": factors for name in ("left", "right", "keys")}
        return self._artefacts.put(save(tensors, metadata={"edits": json.dumps(list(edit_ids))}))

    def head(self) -> int:
        """Number of the newest revision."""
        with self.database.read() as session:
            found = revisions.newest(session)
        assert found is not None
        return found.number

    def status(self, edit_id: str) -> EditStatus:
        """What a client sees of an edit."""
        with self.database.read() as session:
            return edits.get(session, edit_id).status
