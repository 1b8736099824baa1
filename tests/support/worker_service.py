"""The worker on real parts: a tiny model, a real database and a real queue."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session
from torch import Tensor

from app.database.database import Database
from app.database.migration import upgrade
from app.database.tables.batches import EditBatch
from app.database.tables.edits import Edit as StoredEdit
from app.database.tables.edits import EditStatus
from app.database.tables.operations import OperationKind
from app.facts.edit_report import EditReport, GateReport
from app.facts.text import EditText, Neighbour
from app.kit.canonical import JsonObject
from app.kit.clock import utc_now
from app.kit.process import ProcessId
from app.ledger.artefacts import ArtefactStore
from app.metrics.metrics import Metrics
from app.operations import batches, edits, revisions
from app.operations.commit import EditedMatrices, record_base
from app.operations.lifecycle import accept
from app.queue.embedded import EmbeddedValkey
from app.queue.redis_doorbell import RedisDoorbell
from app.resident.lineage import Lineage
from app.resident.resident import Resident
from app.resident.snapshots import Snapshots
from app.worker.commits import Commits
from app.worker.effects import EffectGauge
from app.worker.execution import Execution
from app.worker.intake import Intake
from app.worker.interruption import Interruption
from app.worker.lease import Lease
from app.worker.loop import Worker
from app.worker.revision_report import report_of_base
from editing_core.defaults import default_layers, default_recipe
from editing_core.editor import Editor
from editing_core.errors import KeyOutsideNullSpace
from editing_core.giving_way import GiveWay, go_on
from editing_core.methods import METHODS, LayerProblem, LowRank
from editing_core.model.loading import LoadedModel
from editing_core.recipe import Recipe
from editing_core.statistics import collect
from editing_core.weights.digest import weights_digest
from tests.support.open_gates import OPEN_LIMITS
from tests.support.waiting import wait_until

BROKEN = "rome"  # stands for a method with a bug
BLAMING = "emmet"  # stands for a method that cannot solve the second edit of a batch
BATCH_SIZE = 4
_TOKENS = 32  # of reference text
WAIT_S = 60.0

_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 100


class _Broken(LowRank):
    """A rule with a bug that nobody foresaw."""

    def adjusted_keys(self, _problem: LayerProblem, _recipe: Recipe) -> Tensor:
        raise ZeroDivisionError


class _Blaming(LowRank):
    """A rule that finds fault with the second edit."""

    def adjusted_keys(self, _problem: LayerProblem, _recipe: Recipe) -> Tensor:
        raise KeyOutsideNullSpace("too little is left of a key", rows=[1])


class EditorFactory:
    """Makes editors of one model; reads its key statistics once."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._statistics = collect(model, default_layers(model), _TEXT)
        self._recipe = default_recipe(model, self._statistics)

    def __call__(self, give_way: GiveWay = go_on) -> Editor:
        """A new editor."""
        methods = {**METHODS, BROKEN: _Broken(), BLAMING: _Blaming()}
        return Editor(self._model, self._recipe, self._statistics, methods, give_way=give_way)


@dataclass(frozen=True)
class Service:
    """What a worker needs, around one database."""

    database: Database
    doorbell: RedisDoorbell
    lineage: Lineage
    resident: Resident
    worker: Worker
    metrics: Metrics

    def submit(self, subject: str, **details: Any) -> str:
        with self.database.write() as session:
            edit_id = self.accept(session, subject, **details)
        self.doorbell.ring(edit_id)
        return edit_id

    def accept(
        self,
        session: Session,
        subject: str,
        *,
        method: str = "alphaedit+sphere",
        prompt: str = "The capital of {} is",
        target: str = "Rome",
        neighbours: Sequence[str] = (),
        force: bool = True,
        gates: JsonObject | None = None,
        dry_run: bool = False,
        batch_id: str | None = None,
    ) -> str:
        edit_id, salt = f"edit_{secrets.token_hex(4)}", "00" * 16
        near = tuple(Neighbour(prompt) for prompt in neighbours)
        text = EditText(subject, prompt, prompt, target, neighbours=near)
        accept(
            session,
            id=edit_id,
            kind=OperationKind.EDIT,
            details=self._told(session, text.digest(salt), method, gates, dry_run, batch_id),
            actor="client",
            now=utc_now(),
        )
        edit = StoredEdit(
            id=edit_id,
            method=method,
            force=force,
            status=EditStatus.ACCEPTED,
            text_digest=text.digest(salt),
            gates=gates,
            dry_run=dry_run,
            batch_id=batch_id,
        )
        edits.add(session, edit, text, salt=salt)
        return edit_id

    def _told(
        self,
        session: Session,
        digest: str,
        method: str,
        gates: JsonObject | None,
        dry_run: bool,
        batch_id: str | None,
    ) -> JsonObject:
        """What the ledger says of an edit."""
        told: JsonObject = {"method": method, "text_digest": digest, "dry_run": dry_run}
        told["gates"] = {name: str(value) for name, value in (gates or {}).items()}
        if batch_id is not None:
            told |= {"batch": batch_id, "atomic": session.get_one(EditBatch, batch_id).atomic}
        return told

    def open_batch(self, session: Session, *, atomic: bool) -> str:
        """A batch to accept edits into."""
        batch = EditBatch(id=f"batch_{secrets.token_hex(4)}", atomic=atomic, created_at=utc_now())
        batches.add(session, batch)
        return batch.id

    def ended(self, edit_id: str) -> StoredEdit:
        def has_ended() -> bool:
            return self._edit(edit_id).status not in (EditStatus.ACCEPTED, EditStatus.RUNNING)

        wait_until(has_ended, WAIT_S, what="the end of the edit")
        return self._edit(edit_id)

    def gates(self, edit_id: str) -> dict[str, GateReport]:
        """The gates an ended edit came to, by name."""
        report = self.ended(edit_id).report
        assert report is not None
        return {gate.name: gate for gate in EditReport.model_validate(report).gates}

    def head(self) -> tuple[int, str]:
        """Number and weights of the newest revision in the ledger."""
        with self.database.read() as session:
            found = revisions.newest(session)
            assert found is not None
            return found.number, found.weights_digest

    def _edit(self, edit_id: str) -> StoredEdit:
        with self.database.read() as session:
            return edits.get(session, edit_id)


@contextmanager
def working(
    folder: Path,
    model: LoadedModel,
    editor: Editor,
    *,
    kind: type[Execution] = Execution,
    interruption: Interruption | None = None,
) -> Iterator[Service]:
    """A worker that lets every edit pass, unless the edit has limits of its own."""
    ending = interruption or Interruption()
    database = Database(f"sqlite:///{folder / 'errata.db'}")
    upgrade(database)
    valkey = EmbeddedValkey(folder / "data")
    valkey.start()
    doorbell = RedisDoorbell(valkey.address)
    weight_of = model.architecture.weight_of
    base = {layer: weight_of(model.model, layer) for layer in default_layers(model)}
    measured = report_of_base(model.model, model.tokenizer, base, _TOKENS, editor.recipe.digest)
    with database.write() as session:
        record_base(
            session,
            model="tiny",
            model_digest=model.digest,
            recipe_digest=editor.recipe.digest,
            weights_digest=weights_digest(base),
            actor="worker",
            now=utc_now(),
            matrices=EditedMatrices((*base,), "feed-forward", "float32"),
            report=measured.model_dump(mode="json"),
        )
    artefacts = ArtefactStore(folder / "artefacts")
    snapshots = Snapshots(
        database, ArtefactStore(folder / "snapshots"), base, every=2, kept=1, clock=utc_now
    )
    lineage = Lineage(database, artefacts, base, snapshots)
    resident = Resident(model, lineage.materialise, revision=0, weights=lineage.recover())
    lease = Lease(database, silence_s=1.0, process=ProcessId.own(), watch=ending)
    metrics = Metrics()
    commits = Commits(
        lease,
        artefacts,
        lineage,
        resident,
        snapshots,
        lambda: editor,
        clock=utc_now,
        actor="worker",
        metrics=metrics,
    )
    intake = Intake(database, resident, OPEN_LIMITS)
    gauge = EffectGauge(lineage, resident, earlier_sample=4, perplexity_tokens=_TOKENS)
    execution = kind(database, commits, intake, gauge, ending)
    worker = Worker(
        database,
        lease,
        doorbell,
        execution,
        batch_size=BATCH_SIZE,
        poll_s=0.5,
        clock=utc_now,
        actor="worker",
        interruption=ending,
    )
    worker.start()
    yield Service(database, doorbell, lineage, resident, worker, metrics)
    worker.stop()
    valkey.stop()
    database.close()
