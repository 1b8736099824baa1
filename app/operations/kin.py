"""The facts that a revert concerns: what it undoes, what comes back, and what must stay.

Edits of one subject share a value, or were solved beside each other, so that the factors of one
say little without those of the others.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.database.tables.edits import Edit
from app.facts.edit_report import EditReport
from app.facts.placements import Placement
from app.facts.text import EditText
from app.operations import edits, revisions
from app.operations.withdrawals import of_edit


@dataclass(frozen=True)
class KinEdit:
    """One of the facts.

    Attributes:
        id: Its edit.
        method: How that was computed.
        text: Its words, unless they were erased.
        placements: The factors it has, or else had; the newest last.
    """

    id: str
    method: str
    text: EditText | None
    placements: Sequence[Placement]


@dataclass(frozen=True)
class Kin:
    """The facts of one subject around a revert.

    Attributes:
        undone: What is reverted.
        siblings: The other live facts of the subject, in the order they were accepted.
        restored: The edit that the undone one superseded, where it is to be live again.
        factors: Which of its factors it is to have again.
        is_exact: Whether the factors that stay are all that the subject had in some revision, so
            that they say what they said there.
    """

    undone: KinEdit
    siblings: tuple[KinEdit, ...]
    restored: KinEdit | None
    factors: Placement | None
    is_exact: bool

    @property
    def staying(self) -> tuple[KinEdit, ...]:
        """The facts of the subject afterwards."""
        return self.siblings if self.restored is None else (self.restored, *self.siblings)


def kin_of(session: Session, edit_id: str, *, restore: bool) -> Kin:
    """The facts around the revert of a live edit.

    Args:
        session: A transaction.
        edit_id: The edit.
        restore: Whether what it superseded is to be live again, if it may.
    """
    undone = edits.get(session, edit_id)
    restored = _predecessor(session, undone) if restore else None
    subjects, siblings = _siblings(session, [undone, *([restored] if restored else [])])
    ids = [edit.id for edit in (undone, *siblings, *([restored] if restored else []))]
    had = revisions.placements(session, ids)
    held = {had[edit.id][-1] for edit in siblings}
    states = _states(session, {*ids, *_of_subjects(session, subjects)})
    ways: Sequence[Placement | None] = [None] if restored is None else had[restored.id][::-1]
    known = [way for way in ways if held | {way} - {None} in states]
    return Kin(
        undone=_kin_edit(undone, had),
        siblings=tuple(_kin_edit(edit, had) for edit in siblings),
        restored=None if restored is None else _kin_edit(restored, had),
        factors=known[0] if known else ways[0],
        is_exact=bool(known),
    )


def _kin_edit(edit: Edit, had: Mapping[str, Sequence[Placement]]) -> KinEdit:
    text = None if edit.text is None else EditText.from_json(edit.text.content)
    return KinEdit(edit.id, edit.method, text, had[edit.id])


def _predecessor(session: Session, undone: Edit) -> Edit | None:
    """What an edit superseded, unless it was withdrawn or another edit states its fact by now."""
    if undone.supersedes is None or of_edit(session, undone.supersedes):
        return None
    text = edits.text_of(session, undone.supersedes)
    if text is not None:
        live = edits.live_edit_of_fact(session, text.subject, text.template)
        if live not in (None, undone.id):
            return None
    return edits.get(session, undone.supersedes)


def _siblings(session: Session, moving: Sequence[Edit]) -> tuple[set[str], list[Edit]]:
    """The subjects of edits that come or go, and the other live edits of these subjects.

    Of those whose words were erased, reports still tell what they were solved with.
    """
    own, told = {edit.id for edit in moving}, {id for edit in moving for id in _joined(edit)}
    erased = edits.erased_live_edits(session)
    near = told | {edit.id for edit in erased if _joined(edit) & own}
    texts = [edits.text_of(session, id) for id in own | near]
    subjects = {text.subject for text in texts if text is not None}
    found = {id for name in subjects for id in edits.live_edits_of_subject(session, name)}
    found |= {edit.id for edit in erased if edit.id in near or _joined(edit) & found}
    siblings = [edits.get(session, id) for id in found - own]
    return subjects, sorted(siblings, key=lambda edit: edit.operation.seq)


def _joined(edit: Edit) -> set[str]:
    """Edits that one was solved with, or beside, as its report has it."""
    if edit.report is None:
        return set()
    return {found.edit for found in EditReport.model_validate(edit.report).siblings}


def _of_subjects(session: Session, subjects: Set[str]) -> set[str]:
    return {id for subject in subjects for id in edits.edits_of_subject(session, subject)}


def _states(session: Session, ids: Set[str]) -> list[Set[Placement]]:
    """Every set of factors that some edits had in a revision, the empty one among them."""
    held, states = dict[str, Placement](), list[Set[Placement]]([set()])
    for step in revisions.history_of(session, ids):
        for id, placement in step.items():
            held.pop(id, None)
            if placement is not None:
                held[id] = placement
        states.append(set(held.values()))
    return states
