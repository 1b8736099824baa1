"""The worker on real parts: a tiny model, a real database and a real queue."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from sqlalchemy.orm import Session
from torch import Tensor

from app.clock import utc_now
from app.database.database import Database
from app.database.migration import upgrade
from app.edits import repository as edits
from app.edits.limits import Limits
from app.edits.models import Edit as StoredEdit
from app.edits.models import EditStatus
from app.edits.report import EditReport
from app.edits.text import EditText
from app.operations.models import OperationKind
from app.operations.service import accept
from app.queue.embedded import EmbeddedValkey
from app.queue.redis_doorbell import RedisDoorbell
from app.resident.history import History
from app.resident.resident import Resident
from app.revisions import repository as revisions
from app.revisions.artefacts import ArtefactStore
from app.revisions.service import record_base
from app.settings import Settings
from app.worker.effects import EffectGauge
from app.worker.execution import Execution
from app.worker.intake import Intake
from app.worker.worker import Worker
from editing_core.delta import Weights
from editing_core.digest import weights_digest
from editing_core.edit import Edit
from editing_core.editor import Editor
from editing_core.energy import hyperspherical_energy
from editing_core.methods import PLANS, LayerProblem, LowRank, Plan
from editing_core.model.loading import LoadedModel
from editing_core.preparation import default_layers, default_recipe
from editing_core.recipe import Recipe
from editing_core.statistics import collect
from tests.open_gates import OPEN_GATES
from tests.waiting import wait_until

_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 100
_WAIT_S = 60.0
_BROKEN = "rome"  # stands for a method with a bug


class _Broken(LowRank):
    """A rule with a bug that nobody foresaw."""

    def adjusted_keys(self, _problem: LayerProblem, _recipe: Recipe) -> Tensor:
        raise ZeroDivisionError


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Service:
    """What a worker needs, around one database."""

    database: Database
    doorbell: RedisDoorbell
    history: History
    resident: Resident
    worker: Worker

    def submit(self, subject: str, **details: str) -> str:
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
    ) -> str:
        edit_id, salt = f"edit_{secrets.token_hex(4)}", "00" * 16
        text = EditText(subject, prompt, prompt, target)
        accept(
            session,
            id=edit_id,
            kind=OperationKind.EDIT,
            details={"method": method, "text_digest": text.digest(salt)},
            actor="client",
            now=utc_now(),
        )
        edit = StoredEdit(
            id=edit_id,
            method=method,
            force=True,
            status=EditStatus.ACCEPTED,
            text_digest=text.digest(salt),
        )
        edits.add(session, edit, text, salt=salt)
        return edit_id

    def ended(self, edit_id: str) -> StoredEdit:
        def has_ended() -> bool:
            return self._edit(edit_id).status not in (EditStatus.ACCEPTED, EditStatus.RUNNING)

        wait_until(has_ended, _WAIT_S, what="the end of the edit")
        return self._edit(edit_id)

    def _edit(self, edit_id: str) -> StoredEdit:
        with self.database.read() as session:
            return edits.get(session, edit_id)


@pytest.fixture(scope="module")
def editor_of(tiny_model: LoadedModel) -> Callable[[], Editor]:
    statistics = collect(tiny_model, default_layers(tiny_model), _TEXT)
    recipe = default_recipe(tiny_model, statistics)
    plans = {**PLANS, _BROKEN: Plan(_Broken(), "none")}
    return lambda: Editor(tiny_model, recipe, statistics, plans)


@pytest.fixture
def service(
    tmp_path: Path, tiny_model: LoadedModel, editor_of: Callable[[], Editor]
) -> Iterator[Service]:
    database = Database(f"sqlite:///{tmp_path / 'errata.db'}")
    upgrade(database)
    valkey = EmbeddedValkey(tmp_path / "data")
    valkey.start()
    doorbell = RedisDoorbell(valkey.address)
    weight_of, model = tiny_model.architecture.weight_of, tiny_model.model
    base = {layer: weight_of(model, layer) for layer in default_layers(tiny_model)}
    with database.write() as session:
        record_base(
            session,
            model="tiny",
            model_digest=tiny_model.digest,
            recipe_digest="",
            weights_digest=weights_digest(base),
            actor="worker",
            now=utc_now(),
        )
    artefacts = ArtefactStore(tmp_path / "artefacts")
    history = History(database, artefacts, base)
    resident = Resident(tiny_model, history.materialise, revision=0, weights=history.recover())
    settings = Settings(data_dir=tmp_path / "data", **OPEN_GATES)
    execution = Execution(
        database,
        artefacts,
        history,
        resident,
        editor_of(),
        clock=utc_now,
        actor="worker",
        intake=Intake(database, resident, Limits.of(settings)),
        gauge=EffectGauge(history, resident, earlier_sample=4, perplexity_tokens=32),
    )
    worker = Worker(
        database, doorbell, execution, batch_size=4, poll_s=0.5, clock=utc_now, actor="worker"
    )
    worker.start()
    yield Service(database, doorbell, history, resident, worker)
    worker.stop()
    valkey.stop()
    database.close()


def test_an_edit_that_breaks_the_worker_is_given_up_and_the_next_one_commits(
    service: Service,
) -> None:
    broken = service.submit("France", method=_BROKEN)
    fine = service.submit("Italy")
    assert service.ended(fine).status is EditStatus.COMMITTED
    dead = service.ended(broken)
    assert (dead.status, dead.operation.attempts) == (EditStatus.DEAD, 3)


def test_a_second_edit_of_a_fact_takes_the_place_of_the_first(service: Service) -> None:
    first = service.submit("France", target="Rome")
    assert service.ended(first).status is EditStatus.COMMITTED
    second = service.ended(service.submit("  FRANCE ", target="Paris"))
    assert (second.status, second.supersedes) == (EditStatus.COMMITTED, first)
    assert service.ended(first).status is EditStatus.SUPERSEDED
    wait_until(lambda: list(service.history.head.live) == [second.id], _WAIT_S)
    assert list(service.history.head.keys) == [second.id]


def test_edits_of_one_fact_are_not_solved_together(service: Service) -> None:
    ids = [service.submit("France"), service.submit("Italy"), service.submit("France")]
    assert {service.ended(id).status for id in ids} <= {
        EditStatus.COMMITTED,
        EditStatus.SUPERSEDED,
    }
    with service.database.read() as session:
        made = {id: edits.get(session, id).operation.revision for id in ids}
    assert made[ids[0]] != made[ids[2]]


def test_facts_of_one_subject_may_be_solved_together(service: Service) -> None:
    with service.database.write() as session:  # so that the worker finds both at once
        ids = [
            service.accept(session, "France", prompt=prompt)
            for prompt in ("The capital of {} is", "{} is a part of")
        ]
    service.doorbell.ring(ids[0])
    assert {service.ended(id).status for id in ids} == {EditStatus.COMMITTED}
    assert len({service.ended(id).operation.revision for id in ids}) == 1


def test_a_second_fact_of_a_subject_is_solved_beside_the_first(
    service: Service, tiny_model: LoadedModel, editor_of: Callable[[], Editor]
) -> None:
    prompts = ("The capital of {} is", "{} is a part of")
    ids = [service.ended(service.submit("France", prompt=prompt)).id for prompt in prompts]
    facts = [Edit(id, "France", p, "Rome") for id, p in zip(ids, prompts, strict=True)]
    weight_of, view_with = tiny_model.architecture.weight_of, tiny_model.architecture.view_with
    layers = default_layers(tiny_model)
    weights = Weights({layer: weight_of(tiny_model.model, layer) for layer in layers})
    for done, fact in enumerate(facts):
        view = view_with(tiny_model.model, weights.materialise())
        found = editor_of().solve(view, [fact], method="alphaedit+sphere", beside=facts[:done])
        weights = weights.changed(add=[found.delta])
    assert weights_digest(service.history.materialise(2)) == weights_digest(weights.materialise())


def test_reported_energies_are_those_of_the_weights(service: Service) -> None:
    ids = [service.submit(name, method="memit") for name in ("France", "Italy")]
    ids.append(service.submit("France", method="memit", target="Paris"))  # supersedes the first
    ids.append(service.submit("Spain", method="ft"))
    for id in ids:
        edit = service.ended(id)
        revision = edit.operation.revision
        assert revision is not None
        assert edit.report is not None
        found = EditReport.model_validate(edit.report)
        before = service.history.materialise(revision - 1)
        after = service.history.materialise(revision)
        for layer in found.layers:
            pair = (layer.energy_before, layer.energy_after)
            expected = [hyperspherical_energy(w[layer.layer]) for w in (before, after)]
            assert pair == pytest.approx(expected, rel=1e-6)


def test_what_is_served_and_what_is_recorded_are_the_same_weights(service: Service) -> None:
    for subject in ("France", "Italy", "Spain"):
        assert service.ended(service.submit(subject)).status is EditStatus.COMMITTED
    head = 3
    wait_until(lambda: service.resident.head == head, _WAIT_S)
    with service.database.read() as session:
        recorded = {n: revisions.get(session, n).weights_digest for n in range(head + 1)}
    for number, digest in recorded.items():
        assert weights_digest(service.history.materialise(number)) == digest
