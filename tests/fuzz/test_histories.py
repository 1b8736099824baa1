"""Any history of submits, cancels, reverts, rollbacks, crashes and restarts against a small model.

The real ledger, worker and editor on a tiny model; a crash is a clock that ends the process, as far
as memory goes, in the middle of a transaction (`tests/crash` has the real SIGKILLs).
"""

import random
import shutil
import tempfile
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from sqlalchemy import select

from app.database.tables.edits import Edit, EditStatus
from app.database.tables.operations import Operation, OperationStatus
from app.edits.revert_service import Wanted
from app.errors import WrongState
from app.evidence.recount import Recount
from app.facts.placements import Placement
from app.ledger import repository as ledger
from app.ledger.records import read
from app.operations import edits, events, revisions
from app.operations import repository as operations
from editing_core.weights.delta import Weights
from editing_core.weights.digest import weights_digest
from tests.fuzz.site import Crash, Site
from tests.support.chain import check_chain

_FACTS = [(subject, prompt) for subject in ("France", "Italy") for prompt in ("{} is", "In {},")]
_MOST_ATTEMPTS = 3


@dataclass
class Asked:
    """An operation that waits, as the model has it."""

    id: str
    fact: tuple[str, str] | None = None
    undoes: str | None = None
    wanted: Wanted | None = None
    goes_to: int | None = None
    attempts: int = 0


@dataclass
class Model:
    """What the ledger should say: the live edits of each revision, in order, and who waits.

    Reverts and rollbacks wait before edits.
    """

    revisions: list[dict[str, tuple[str, str]]] = field(default_factory=lambda: [{}])
    waiting: list[Asked] = field(default_factory=list)
    superseded: dict[str, str] = field(default_factory=dict)

    @property
    def live(self) -> dict[str, tuple[str, str]]:
        """Edit id → fact, of the head."""
        return self.revisions[-1]

    def ask_to_undo(self, asked: Asked) -> None:
        """Have it wait behind the others that undo, and before every edit."""
        undoing = [found for found in self.waiting if found.fact is None]
        self.waiting.insert(len(undoing), asked)

    def commit(self, done: list[Asked]) -> None:
        """One revision by these operations."""
        live = dict(self.live)
        for asked in done:
            if asked.goes_to is not None:
                live = dict(self.revisions[asked.goes_to])
            elif asked.undoes is not None:
                fact, before = live.pop(asked.undoes), self.superseded.get(asked.undoes)
                if asked.wanted is not None and asked.wanted.restore and before is not None:
                    live[before] = fact
            elif asked.fact is not None:
                for id in [id for id, fact in live.items() if fact == asked.fact]:
                    del live[id]
                    self.superseded[asked.id] = id
                live[asked.id] = asked.fact
        self.revisions.append(live)

    def stands(self, id: str) -> bool:
        """Whether an edit is live, or what took its place stands."""
        after = [newer for newer, older in self.superseded.items() if older == id]
        return id in self.live or any(map(self.stands, after))


pytestmark = pytest.mark.timeout(900)  # three minutes of processor time


class Histories(RuleBasedStateMachine):
    """A service without HTTP, and the model beside it."""

    @initialize(dtype=st.sampled_from([torch.float32, torch.bfloat16]))
    def start(self, dtype: torch.dtype) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="errata-histories-"))
        self.dtype = dtype
        self.model = Model()
        self.names = count()
        self.site = Site(self.folder, dtype=dtype)

    def teardown(self) -> None:
        if not hasattr(self, "site"):
            return
        self._every_revision_has_the_bits_of_its_live_edits()
        self._the_ledger_tells_the_same()
        self.site.close()
        shutil.rmtree(self.folder)

    @rule(fact=st.sampled_from(_FACTS), says=st.sampled_from(["Rome", "Paris"]))
    def submit(self, fact: tuple[str, str], says: str) -> None:
        id = self.site.submit(*fact, says)
        self.model.waiting.append(Asked(id, fact=fact))

    @precondition(lambda self: self.model.waiting)
    @rule()
    def cancel_the_last(self) -> None:
        last = self.model.waiting[-1]
        with self.site.database.read() as session:
            is_in_hand = operations.get(session, last.id).status is OperationStatus.RUNNING
        if is_in_hand:  # of a process that crashed
            with pytest.raises(WrongState):
                self.site.cancel(last.id)
        else:
            self.site.cancel(self.model.waiting.pop().id)

    @precondition(lambda self: self.model.live)
    @rule(data=st.data())
    def revert(self, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from(list(self.model.live)))
        force, restore = data.draw(st.booleans()), data.draw(st.booleans())
        dry_run = data.draw(st.sampled_from([False, False, True]))
        wanted = Wanted(force=force, restore=restore, dry_run=dry_run)
        operation = self.site.revert(target, wanted)
        self.model.ask_to_undo(Asked(operation, undoes=target, wanted=wanted))

    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        goal = data.draw(st.integers(0, len(self.model.revisions) - 1))
        self.model.ask_to_undo(Asked(self.site.rollback(goal), goes_to=goal))

    @rule()
    def work(self) -> None:
        self.site.turn()
        self._settle()

    @precondition(lambda self: self.model.waiting)
    @rule(passes=st.integers(0, 3))
    def crash(self, passes: int) -> None:
        try:
            self.site.turn(crash_after=passes)
        except Crash:
            self.site.restart(crashed=True)
        self._settle()

    @rule()
    def restart(self) -> None:
        self.site.restart()
        self._head_agrees()

    @invariant()
    def the_chain_holds(self) -> None:
        if hasattr(self, "site"):
            with self.site.database.read() as session:
                assert check_chain(session).ok

    @invariant()
    def the_last_event_of_every_operation_is_its_status(self) -> None:
        if hasattr(self, "site"):
            with self.site.database.read() as session:
                told = {e.operation_id: e.status for e in events.after(session, 0, limit=10_000)}
                all_of_them = session.execute(select(Operation.id, Operation.status)).all()
                edits_of_them = session.execute(select(Edit.id, Edit.status)).all()
                assert told == {**dict(all_of_them), **dict(edits_of_them)}

    def _settle(self) -> None:
        """What the worker has ended leaves the model's queue, from the front, and changes it."""
        with self.site.database.read() as session:
            found = {a.id: operations.get(session, a.id) for a in self.model.waiting}
        done: list[Asked] = []
        ended = [a for a in self.model.waiting if found[a.id].finished_at is not None]
        assert ended == self.model.waiting[: len(ended)]  # in order
        for asked in ended:
            status = found[asked.id].status
            if status is OperationStatus.COMMITTED:
                done.append(asked)
            elif status is OperationStatus.DEAD:
                assert found[asked.id].attempts == _MOST_ATTEMPTS
            elif status is OperationStatus.TRIED:
                assert asked.wanted is not None
                assert asked.wanted.dry_run
            else:
                assert status is OperationStatus.REJECTED
                assert asked.undoes is not None
                assert asked.wanted is not None
                if found[asked.id].reason == "siblings_lost":
                    assert not asked.wanted.force
                else:
                    assert asked.undoes not in self._live_with(done)
        for asked in self.model.waiting:
            asked.attempts = found[asked.id].attempts
        self.model.waiting = self.model.waiting[len(ended) :]
        if done:
            assert len({found[a.id].revision for a in done}) == 1
            self.model.commit(done)
        self._head_agrees()

    def _live_with(self, done: list[Asked]) -> dict[str, tuple[str, str]]:
        """What the head holds once ``done`` is committed."""
        after = Model(revisions=list(self.model.revisions), superseded=dict(self.model.superseded))
        after.commit(done)
        return after.live

    def _head_agrees(self) -> None:
        assert list(self.site.head_live) == sorted(self.model.live, key=self.site.seq)
        with self.site.database.read() as session:
            recorded = revisions.newest(session)
            assert recorded is not None
            assert recorded.number == len(self.model.revisions) - 1
            known = {id for live in self.model.revisions for id in live}
            for id in known:
                edit = edits.get(session, id)
                if id in self.model.live:
                    assert edit.status is EditStatus.COMMITTED
                elif self.model.stands(id):
                    assert edit.status is EditStatus.SUPERSEDED
                    assert edit.superseded_by is not None
                    assert self.model.stands(edit.superseded_by)
                else:
                    assert (edit.status, edit.superseded_by) == (EditStatus.REVERTED, None)

    def _every_revision_has_the_bits_of_its_live_edits(self) -> None:
        """In any order of factors, at one thread and at two, and on the way of history."""
        threads = torch.get_num_threads()
        walk = Weights(self.site.base)
        before = set[Placement]()
        for number, live in enumerate(self.model.revisions):
            with self.site.database.read() as session:
                recorded = revisions.get(session, number).weights_digest
            placements = self.site.placements(number)
            assert placements.keys() == live.keys()
            held = set(placements.values())
            walk = walk.changed(
                add=[self.site.delta(one) for one in held - before],
                subtract=[self.site.delta(one) for one in before - held],
            )
            shuffled = [self.site.delta(one) for one in placements.values()]
            random.Random(number).shuffle(shuffled)
            found = {weights_digest(walk.materialise())}
            for used in (1, 2):
                torch.set_num_threads(used)
                fresh = Weights(self.site.base).changed(add=shuffled)
                found.add(weights_digest(fresh.materialise()))
            assert found == {recorded}
            before = held
        torch.set_num_threads(threads)

    def _the_ledger_tells_the_same(self) -> None:
        """Every row follows from the ledger, and the ledger alone gives the factors of the head."""
        assert self.site.audit().ok
        recount = Recount()
        with self.site.database.read() as session:
            for entry in ledger.links(session):
                recount.take(read(entry))
        assert recount.live == self.site.placements(len(self.model.revisions) - 1)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
