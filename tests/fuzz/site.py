"""A service without HTTP and without threads: a test takes each step, and may end it in one."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from app.access.budgets import Budgets
from app.audit.auditing import audit
from app.database.database import Database
from app.database.migration import upgrade
from app.database.tables.operations import OperationKind
from app.deps.services import Services
from app.edits import service as edit_service
from app.edits.revert_service import Wanted, request_revert
from app.edits.schemas import EditRequest
from app.facts.gate_limits import Limits
from app.facts.placements import Placement
from app.kit.process import ProcessId
from app.ledger.artefacts import ArtefactStore
from app.ledger.schemas import LedgerVerdict
from app.operations import repository as operations
from app.operations.commit import EditedMatrices, record_base
from app.operations.lifecycle import accept, cancel
from app.operations.live import live_edits
from app.queue.redis_doorbell import RedisAddress, RedisDoorbell
from app.resident.lineage import Lineage, State
from app.resident.resident import Resident
from app.resident.snapshots import Snapshots
from app.settings import Settings
from app.worker.commits import Commits
from app.worker.effects import EffectGauge
from app.worker.execution import Execution
from app.worker.intake import Intake
from app.worker.lease import Lease
from app.worker.loop import Worker
from editing_core.edit import Edit as CoreEdit
from editing_core.editor import Editor
from editing_core.model.loading import LoadedModel, load_model
from editing_core.recipe import Recipe
from editing_core.settings import AlphaEditSettings, ValueSettings
from editing_core.statistics import Statistics, collect
from editing_core.weights.delta import Delta, Weights
from editing_core.weights.digest import weights_digest
from tests.support.history import measured
from tests.support.open_gates import OPEN_LIMITS
from tests.support.tiny import build_tiny_model
from tests.support.unkeyed import unkeyed

_LAYERS = (0, 1)
_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 50
Prepared = tuple[LoadedModel, Statistics, Recipe]

_START = datetime(2026, 1, 1, tzinfo=UTC)


class Crash(BaseException):
    """The process is gone; not an error that anything would handle."""


class FusedClock:
    """One second later at each call, until its fuse is burnt."""

    def __init__(self) -> None:
        self.calls_left: int | None = None
        self._ticks = count()

    def __call__(self) -> datetime:
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise Crash
        return _START + timedelta(seconds=next(self._ticks))


@cache
def _prepared(dtype: torch.dtype) -> Prepared:
    with tempfile.TemporaryDirectory() as folder:
        built = build_tiny_model(Path(folder) / "tiny", layers=3)
        model = load_model(str(built), cache_dir=Path(folder), dtype=dtype)
    statistics = collect(model, _LAYERS, _TEXT)
    recipe = Recipe(
        model_digest=model.digest,
        statistics_digest=statistics.digest,
        layers=_LAYERS,
        contexts=(("{}",),),
        value=ValueSettings(steps=2),  # weights must move; what they say is no matter here
        alphaedit=AlphaEditSettings(tau=float("inf")),
    )
    return model, statistics, recipe


class Site:
    """The parts of a service in one folder."""

    def __init__(
        self,
        folder: Path,
        prepared: Prepared | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        limits: Limits = OPEN_LIMITS,
    ) -> None:
        self._folder, self._ids = folder, count()
        self._prepared = prepared or _prepared(dtype)
        self.clock, self.limits = FusedClock(), limits
        self._open()

    def close(self) -> None:
        """End in order."""
        self._lease.release()
        self.database.close()

    def restart(self, *, crashed: bool = False) -> None:
        """What a new process finds."""
        self.clock.calls_left = None
        if not crashed:
            self._lease.release()
        self.database.close()
        self._open()

    @property
    def head(self) -> State:
        """The head, as the worker has it."""
        return self._lineage.head_state

    @property
    def head_live(self) -> Sequence[str]:
        """Ids of the edits the worker takes for live."""
        return list(self._lineage.head_state.live)

    def seq(self, id: str) -> int:
        """An operation's place in the order."""
        with self.database.read() as session:
            return operations.get(session, id).seq

    def submit(self, subject: str, prompt: str, target: str, method: str | None = None) -> str:
        """Accept an edit."""
        request = EditRequest(
            subject=subject, prompt=prompt, target=target, method=method, force=True
        )
        once = unkeyed("client")
        return edit_service.submit(self._services, request, dry_run=False, once=once).id

    def cancel(self, id: str) -> None:
        """Withdraw an operation."""
        with self.database.write() as session:
            cancel(session, id, now=self.clock(), actor="client")

    def revert(self, edit_id: str, wanted: Wanted) -> str:
        """Accept the undoing of a live edit."""
        return request_revert(self._services, edit_id, wanted, unkeyed("client"))

    def rollback(self, revision: int) -> str:
        """Accept a rollback."""
        with self.database.write() as session:
            return accept(
                session,
                id=f"rollback_{next(self._ids)}",
                kind=OperationKind.ROLLBACK,
                details={"to_revision": revision},
                actor="client",
                now=self.clock(),
                to_revision=revision,
            ).id

    def turn(self, *, crash_after: int | None = None) -> None:
        """Let the worker execute what is next.

        Raises:
            Crash: It asked for the time once more than ``crash_after`` times.
        """
        self.clock.calls_left = crash_after
        self._worker.work_off_one_run(self._lease)
        self.clock.calls_left = None

    def placements(self, revision: int) -> dict[str, Placement]:
        """Edit id → where its factors in a revision are, of the edits that are live there."""
        with self.database.read() as session:
            live = live_edits(session, revision)
        return {edit.edit_id: edit.placement for edit in live}

    def delta(self, placement: Placement) -> Delta:
        """One set of factors."""
        batch = Delta.from_bytes(self._artefacts.read(placement.artefact))
        assert batch.edits[placement.row] == placement.edit_id
        return batch.select([placement.row])

    def alone(self, subject: str, prompt: str, target: str) -> str:
        """Digest of the base with one edit, solved as if there had never been another."""
        model, statistics, recipe = self._prepared
        edit = CoreEdit.create(id="alone", subject=subject, prompt=prompt, target=target)
        view = model.architecture.view_with(model.model, self.base)
        method = self._services.settings.method
        solution = Editor(model, recipe, statistics).solve(view, [edit], method=method)
        return weights_digest(Weights(self.base).changed(add=[solution.delta]).materialise())

    def audit(self) -> LedgerVerdict:
        """Hold every row and artefact against the ledger."""
        return audit(self.database, self._artefacts)

    def _open(self) -> None:
        model, statistics, recipe = self._prepared
        weight_of = model.architecture.weight_of
        self.base: dict[int, Tensor] = {
            layer: weight_of(model.model, layer) for layer in recipe.layers
        }
        self.database = Database(f"sqlite:///{self._folder / 'errata.db'}")
        upgrade(self.database)
        with self.database.write() as session:
            record_base(
                session,
                model="tiny",
                model_digest=model.digest,
                recipe_digest=recipe.digest,
                weights_digest=weights_digest(self.base),
                actor="worker",
                now=self.clock(),
                matrices=EditedMatrices(recipe.layers, "feed-forward", "float32"),
                report=measured(),
            )
        self._artefacts = ArtefactStore(self._folder / "artefacts")
        doorbell = RedisDoorbell(RedisAddress(unix_socket=str(self._folder / "nobody.sock")))
        settings = Settings(data_dir=self._folder)
        self._services = Services(
            settings=settings,
            database=self.database,
            doorbell=doorbell,
            artefacts=self._artefacts,
            clock=self.clock,
            new_id=lambda prefix: f"{prefix}_{next(self._ids)}",
            budgets=Budgets.open(settings, self.clock, ExitStack()),
        )
        files = ArtefactStore(self._folder / "snapshots")
        snapshots = Snapshots(self.database, files, self.base, every=2, kept=2, clock=self.clock)
        self._lineage = Lineage(self.database, self._artefacts, self.base, snapshots)
        weights = self._lineage.recover()
        head = self._lineage.head_state.revision
        resident = Resident(model, self._lineage.materialise, revision=head, weights=weights)
        self._lease = Lease(self.database, silence_s=3600.0, process=ProcessId.own())
        assert self._lease.acquire()
        editor = Editor(model, recipe, statistics)
        commits = Commits(
            self._lease,
            self._artefacts,
            self._lineage,
            resident,
            snapshots,
            lambda: editor,
            clock=self.clock,
            actor="worker",
        )
        intake = Intake(self.database, resident, self.limits)
        gauge = EffectGauge(self._lineage, resident, earlier_sample=1, perplexity_tokens=8)
        execution = Execution(self.database, commits, intake, gauge)
        self._worker = Worker(
            self.database,
            self._lease,
            doorbell,
            execution,
            batch_size=3,
            poll_s=1.0,
            clock=self.clock,
            actor="worker",
        )
