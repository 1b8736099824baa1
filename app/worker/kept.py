"""What was computed on the head and is not committed, for as long as the head stays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.worker.solving import SolvedBatch
from app.worker.task import Task
from editing_core.edit import Edit
from editing_core.values import Value

Start = tuple[int, frozenset[str]]
"""Weights that edits are solved on: the head's number, and the edits that are superseded."""


@dataclass(frozen=True)
class _KeptValue:
    """A value, and the facts of its subject that it suits."""

    value: Value
    facts: frozenset[str]


@dataclass(frozen=True)
class _Asked:
    """What a batch was solved for."""

    edits: tuple[str, ...]
    beside: tuple[str, ...]
    method: str

    @classmethod
    def of(cls, task: Task, beside: Sequence[Edit]) -> "_Asked":
        edits = tuple(request.id for request in task.requests)
        return cls(edits, tuple(edit.id for edit in beside), task.method)


@dataclass
class Kept:
    """Values and the newest batch.

    The rest of a batch need not find its values again without the edits that failed, and a batch
    that could not be stored need not be solved again.
    """

    _start: Start | None = None
    _values: dict[tuple[str, str], _KeptValue] = field(default_factory=dict)
    _batch: tuple[_Asked, SolvedBatch] | None = None

    def values(self, head: int, task: Task, beside: Sequence[Edit]) -> list[Value] | None:
        """The values of all edits of a task, in order; None if one of them is not known."""
        if self._start != _start_of(head, task):
            return None
        facts = _facts(task, beside)
        found = [self._values.get((request.id, task.method)) for request in task.requests]
        known = [
            kept.value
            for kept, request in zip(found, task.requests, strict=True)
            if kept is not None and kept.facts == facts[request.text.subject]
        ]
        return known if len(known) == len(found) else None

    def batch(self, head: int, task: Task, beside: Sequence[Edit]) -> SolvedBatch | None:
        """What came of this very task on this head; None if it was not solved."""
        if self._batch is None or self._start != _start_of(head, task):
            return None
        asked, batch = self._batch
        return batch if asked == _Asked.of(task, beside) else None

    def keep(self, head: int, task: Task, beside: Sequence[Edit], batch: SolvedBatch) -> None:
        """Remember what came of a task."""
        if self._start != _start_of(head, task):
            self.clear()
        self._start = _start_of(head, task)
        self._batch = (_Asked.of(task, beside), batch)
        facts = _facts(task, beside)
        for request, value in zip(task.requests, batch.solution.values, strict=False):
            kept = _KeptValue(value, facts[request.text.subject])
            self._values[request.id, task.method] = kept

    def clear(self) -> None:
        """Forget everything: the head is another."""
        self._start, self._batch = None, None
        self._values.clear()


def _start_of(head: int, task: Task) -> Start:
    superseded = frozenset(r.supersedes for r in task.requests if r.supersedes is not None)
    return head, superseded


def _facts(task: Task, beside: Sequence[Edit]) -> Mapping[str, frozenset[str]]:
    """Subject → ids of the facts that its value must suit."""
    facts = dict[str, set[str]]()
    for subject, id in (
        *((request.text.subject, request.id) for request in task.requests),
        *((edit.subject, edit.id) for edit in beside),
    ):
        facts.setdefault(subject, set()).add(id)
    return {subject: frozenset(ids) for subject, ids in facts.items()}
