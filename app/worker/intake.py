"""From claimed edits to a task: their words, what the head says of them, what they supersede."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from app.database.database import Database
from app.database.tables.edits import Edit as StoredEdit
from app.errors import InvalidField
from app.facts.control import refuse_control_tokens
from app.facts.edit_report import EditReport
from app.facts.gate_limits import Limits
from app.facts.subjects import MOST_FACTS
from app.facts.text import EditText
from app.operations import batches, edits
from app.resident.resident import Resident
from app.worker.measuring import Measurement, first_report, measure, warnings_of
from app.worker.task import BATCH_REJECTED, Rejection, Request, Task, core_edit
from editing_core.control import ControlTokens
from editing_core.edit import SLOT, Edit
from editing_core.errors import InvalidEdit
from editing_core.giving_way import GiveWay, go_on
from editing_core.reach import Reach
from editing_core.statement import tokens_of

_FULL = (
    f"the subject has {MOST_FACTS} live facts, the most that one value is made to suit; revert "
    "one of them first"
)


@dataclass(frozen=True)
class Intake:
    """Reads what claimed edits ask for.

    Attributes:
        limits: What the operator's gates allow.
        contexts: Gives the texts that edits are written in, with `{}` for the prompt.
    """

    database: Database
    resident: Resident
    limits: Limits
    contexts: Callable[[], Sequence[str]] = lambda: (SLOT,)

    def task(self, ids: Sequence[str], between: GiveWay = go_on) -> tuple[Task, list[Rejection]]:
        """What is to be solved, and those for whom there is nothing to do.

        An atomic batch is taken as a whole: what is true already is solved with the rest, for it
        might not stay true; if an edit's words were erased or are control tokens, all are rejected.
        ``between`` is called between two steps of what is measured, and may end it.
        """
        with self.database.read() as session:
            stored = [edits.get(session, id) for id in ids]
            texts = {edit.id: edits.text_of(session, edit.id) for edit in stored}
            atomic = bool(batches.atomic_among(session, stored[:1]))
            superseded = {
                id: edits.live_edit_of_fact(session, text.subject, text.template)
                for id, text in texts.items()
                if text is not None
            }
        rejected = [
            found for id, text in texts.items() if (found := self._unfit(id, text)) is not None
        ]
        unfit = {found.id for found in rejected}
        present = [
            (edit, text)
            for edit in stored
            if edit.id not in unfit and (text := texts[edit.id]) is not None
        ]
        if atomic and rejected:
            rejected += [Rejection(edit.id, BATCH_REJECTED) for edit, _ in present]
            present = []
        requests = []
        for edit, text, before in self._measured(present, between):
            if before.prompt.match and not (edit.force or atomic):
                report = EditReport(
                    before=before.standing,
                    warnings=warnings_of(text, before),
                    first_in_text=first_report(before, before),
                )
                rejected.append(Rejection(edit.id, "already_true", report))
            else:
                limits = self.limits.tightened(edit.gates)
                requests.append(
                    Request(edit.id, text, before, superseded[edit.id], limits, edit.force)
                )
        task = Task(tuple(requests), stored[0].method, atomic, stored[0].dry_run)
        crowded = self._crowded(task)
        return task.without({found.id for found in crowded}), [*rejected, *crowded]

    def beside(self, task: Task) -> list[Edit]:
        """Live edits of the subjects of a task that none of its edits supersedes."""
        superseded = {r.supersedes for r in task.requests if r.supersedes is not None}
        with self.database.read() as session:
            found = [
                (core_edit(id, text), subject)
                for subject in sorted({request.edit.subject for request in task.requests})
                for id, text in edits.live_edits_of_subject(
                    session, subject, but=superseded
                ).items()
            ]
        # In other letters it has another key.
        return [edit for edit, subject in found if edit.subject == subject]

    def _crowded(self, task: Task) -> list[Rejection]:
        """Edits for which their subject has no place left; of an atomic batch, all or none."""
        facts, rejected = Counter(edit.subject for edit in self.beside(task)), list[Rejection]()
        for request in task.requests:
            facts[request.edit.subject] += 1
            if facts[request.edit.subject] > MOST_FACTS:
                facts[request.edit.subject] -= 1
                report = EditReport(before=request.before.standing, error=_FULL)
                rejected.append(Rejection(request.id, "subject_full", report))
        return task.with_others(rejected)

    def _unfit(self, id: str, text: EditText | None) -> Rejection | None:
        """Why nothing is to be written for an edit; None if something may be.

        What is said here is refused when an edit is posted, but for one that was posted before
        the model was loaded, or for another model's words.
        """
        if text is None:
            return Rejection(id, "erased")
        try:
            self._require_readable(text)
        except InvalidField as error:
            return Rejection(id, "control_token", self._unread(text, error))
        except InvalidEdit as error:
            return Rejection(id, f"unreadable_{error.field}", self._unread(text, error))
        return None

    def _require_readable(self, text: EditText) -> None:
        tokenizer, reach = self.resident.tokenizer, Reach.of(self.resident.base.model)
        refuse_control_tokens(self._control, tokenizer, text.as_edited())
        for _, statement in text.as_edited().statements:
            tokens = tokens_of(tokenizer, statement)
            tokens.require_boundary()
            reach.check(tokens.prompt + tokens.target, "prompt")
        reach.check_edit(tokenizer, text.edit(""), self.contexts())

    def _unread(self, text: EditText, error: Exception) -> EditReport | None:
        """What the head says of the fact alone, and why it is not edited; None if it cannot say."""
        alone = replace(text, paraphrases=(), neighbours=())
        try:
            with self.resident.view() as view:
                (found,) = measure(view.model, self.resident.tokenizer, [alone])
        except InvalidEdit:
            return None
        return EditReport(
            before=found.standing,
            error=str(error),
            warnings=warnings_of(text, found),
            first_in_text=first_report(found, found),
        )

    @cached_property
    def _control(self) -> ControlTokens:
        return ControlTokens.of(self.resident.tokenizer)

    def _measured(
        self, present: Sequence[tuple[StoredEdit, EditText]], between: GiveWay
    ) -> list[tuple[StoredEdit, EditText, Measurement]]:
        texts = [text for _, text in present]
        with self.resident.view() as view:
            found = measure(view.model, self.resident.tokenizer, texts, between)
        return [(edit, text, before) for (edit, text), before in zip(present, found, strict=True)]
