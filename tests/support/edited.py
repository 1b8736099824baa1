"""A small edited model with real factors on disk, and no language in it."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from app.database.database import Database
from app.database.tables.operations import OperationKind
from app.ledger.artefacts import ArtefactStore
from app.operations import revisions
from app.operations.commit import AddedEdit, NewRevision
from app.operations.label_limits import LabelLimits
from app.resident.edited import Edited as Matrices
from app.resident.lineage import Change, Lineage
from app.resident.snapshots import Snapshots
from editing_core.weights.delta import Delta, dense_on_grid, left_grid, on_grid
from editing_core.weights.digest import weights_digest
from tests.support.history import REPORT, measured
from tests.support.history import History as Records
from tests.support.unkeyed import unkeyed

_SHAPE = (6, 9)


def _base() -> dict[int, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {layer: torch.randn(_SHAPE, generator=generator) for layer in (1, 2)}


def _factors(base: Mapping[int, Tensor], ids: list[str], seed: int) -> Delta:
    generator = torch.Generator().manual_seed(seed)

    def draw(width: int) -> Tensor:
        return torch.randn(len(ids), width, generator=generator, dtype=torch.float64)

    return Delta(
        tuple(ids),
        {
            layer: on_grid(draw(rows) / 8, draw(columns), draw(columns), left_grid(weight))
            for layer, weight in base.items()
            for rows, columns in [weight.shape]
        },
    )


_ANY_NUMBER = LabelLimits()


class Edited:
    """One database and one data directory, edited the way the worker does it."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        *,
        every: int = 0,
        kept: int = 4,
        labels: LabelLimits = _ANY_NUMBER,
        base: Mapping[int, Tensor] | None = None,
    ) -> None:
        base = self._base = _base() if base is None else base
        self.database, self.folder = database, folder
        self.records = Records(database, weights_digest=weights_digest(base))
        self.artefacts = ArtefactStore(folder / "artefacts")
        self.files = ArtefactStore(folder / "snapshots")
        self.snapshots = Snapshots(
            database,
            self.files,
            base,
            every=every,
            kept=kept,
            clock=self.records.clock,
            labels=labels,
        )
        self.lineage = Lineage(database, self.artefacts, base, self.snapshots)
        self.lineage.recover()

    def restarted(self) -> "Edited":
        """The same database and data directory in a new process, so to speak."""
        return Edited(self.database, self.folder)

    @property
    def head(self) -> int:
        return self.lineage.head_state.revision

    def edit(self, count: int = 1) -> int:
        """Commit a batch of edits; the new revision."""
        number = self.head + 1
        ids = [self.records.accept(f"edit-{number}-{index}") for index in range(count)]
        self.records.claim()
        return self._commit_edits(ids, _factors(self._base, ids, seed=number))

    def edit_densely(self) -> int:
        """Commit an edit that has no factors of its own, as fine-tuning makes it."""
        id = self.records.accept(f"edit-{self.head + 1}-dense")
        self.records.claim()
        layers = {
            layer: dense_on_grid(weight / 64, torch.zeros(1, weight.shape[1]), left_grid(weight))
            for layer, weight in self._base.items()
        }
        return self._commit_edits([id], Delta((id,), layers))

    def _commit_edits(self, ids: list[str], delta: Delta) -> int:
        change = Change(Matrices(self.lineage.head_state.weights.changed(add=[delta])))
        artefact = self.artefacts.put(delta.to_bytes())
        added = [AddedEdit(id, index, REPORT) for index, id in enumerate(ids)]
        return self._commit(OperationKind.EDIT, ids, change, artefact, added, delta)

    def roll_back(self, to_revision: int) -> int:
        """Commit a rollback; the new revision."""
        id = self.records.accept_rollback(f"rollback-{self.head + 1}", to_revision)
        self.records.claim()
        return self._commit(OperationKind.ROLLBACK, [id], self.lineage.change_to(to_revision))

    def label(self, label: str, revision: int) -> str:
        """Keep a revision under a label; its file's digest."""
        snapshot, _ = self.snapshots.label(revision, label, self.lineage.weights, unkeyed("client"))
        assert snapshot.digest is not None
        return snapshot.digest

    def digest(self, revision: int) -> str:
        """Of the weights of a revision, as they are rebuilt."""
        return weights_digest(self.lineage.materialise(revision))

    def recorded_digest(self, revision: int) -> str:
        """Of the weights of a revision, as the ledger has it."""
        with self.database.read() as session:
            return revisions.get(session, revision).weights_digest

    def artefact_of(self, revision: int) -> str:
        """Digest of the artefact whose factors are new in a revision."""
        with self.database.read() as session:
            digest = revisions.get(session, revision).artefact_digest
        assert digest is not None
        return digest

    def _commit(
        self,
        kind: OperationKind,
        ids: list[str],
        change: Change,
        artefact: str | None = None,
        added: list[AddedEdit] | None = None,
        delta: Delta | None = None,
    ) -> int:
        made = self.records.make(
            NewRevision(
                kind=kind,
                parent=self.head,
                operations=ids,
                weights_digest=change.edited.digest,
                report=measured(),
                artefact_digest=artefact,
                added=added or [],
                restored=change.restored,
                removed=change.removed,
            )
        )
        self.lineage.advance(made, change, delta)
        self.snapshots.take_if_due(made.revision.number, change.edited.weights)
        return made.revision.number
