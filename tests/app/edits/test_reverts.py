"""Undoing one fact leaves the others of its subject as they were, and tells what it changes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.database.tables.edits import Edit, EditStatus
from app.database.tables.operations import Operation, OperationStatus
from app.database.tables.withdrawals import Why
from app.deps.operation import OperationResource
from app.edits.revert_service import Wanted
from app.edits.service import erase
from app.edits.withdrawal_service import withdraw
from app.errors import SiblingsUnknown
from app.evidence.recount import Recount
from app.facts.edit_report import EditReport, FactReport, Said
from app.facts.revert_report import RevertReport
from app.ledger import repository as ledger
from app.ledger.records import RevisionRecord, read
from app.operations import edits, revisions
from app.operations import repository as operations
from app.operations.live import live_edits
from app.revisions.endpoints import revision_resources
from app.revisions.schemas import RevisionResource
from tests.fuzz.site import Site
from tests.support.tampering import tampering

CAPITAL = ("France", "The capital of {} is", "Rome")
PART = ("France", "{} is a part of", "Italy")
RIVER = ("France", "The river of {} is", "Paris")
PLAIN = Wanted()
FORCED = Wanted(force=True)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path)
    yield found
    with found.database.read() as session:
        assert [*found.head.live.values()] == live_edits(session, found.head.revision)
    assert found.audit().ok
    recount = Recount()
    with found.database.read() as session:
        for entry in ledger.links(session):
            recount.take(read(entry))
    assert recount.live == found.placements(_head(found).number)
    found.close()


def _together(site: Site, *facts: tuple[str, str, str]) -> list[str]:
    """Edits of one batch."""
    ids = [site.submit(*fact) for fact in facts]
    site.turn()
    return ids


def _undo(site: Site, edit_id: str, wanted: Wanted = PLAIN) -> Operation:
    operation_id = site.revert(edit_id, wanted)
    site.turn()
    with site.database.read() as session:
        found = operations.get(session, operation_id)
        OperationResource.of(found)  # it can be shown, whatever became of it
        return found


def _report(operation: Operation) -> RevertReport:
    assert operation.revert is not None
    return RevertReport.model_validate(operation.revert.report)


def _head(site: Site) -> RevisionResource:
    with site.database.read() as session:
        newest = revisions.newest(session)
        assert newest is not None
        return revision_resources(session, [newest])[0]


def _digest(site: Site, number: int) -> str:
    with site.database.read() as session:
        return revisions.get(session, number).weights_digest


def _edit(site: Site, edit_id: str) -> Edit:
    with site.database.read() as session:
        return edits.get(session, edit_id)


def _erase(site: Site, edit_id: str) -> None:
    with site.database.write() as session:
        erase(session, edit_id, actor="client", now=site.clock())


def test_the_other_fact_of_a_batch_is_solved_again_as_if_it_had_been_alone(site: Site) -> None:
    capital, part = _together(site, CAPITAL, PART)
    found = _undo(site, capital)
    head = _head(site)
    assert (head.number, head.removed, head.resolved, head.edits) == (2, [capital], [part], [])
    assert head.weights_digest == site.alone(*PART)
    report = _report(found)
    assert [fact.edit for fact in report.siblings] == [part]
    assert (report.solved_again, report.lost, report.refused) == (True, [], None)
    assert report.undone.before is not None
    assert report.undone.before != report.undone.after
    assert _edit(site, part).status is EditStatus.COMMITTED


def test_a_fact_beneath_another_goes_and_the_later_one_stays(site: Site) -> None:
    capital, part = [_together(site, fact)[0] for fact in (CAPITAL, PART)]
    _undo(site, capital)
    assert list(site.head_live) == [part]
    assert _head(site).weights_digest == site.alone(*PART)


def test_undoing_the_newest_fact_of_a_subject_gives_back_the_bits_before_it(site: Site) -> None:
    (capital,), (part,) = _together(site, CAPITAL), _together(site, PART)
    report = _report(_undo(site, part))
    assert (_head(site).weights_digest, _head(site).resolved) == (_digest(site, 1), [])
    assert (report.solved_again, [fact.edit for fact in report.siblings]) == (False, [capital])


def test_other_subjects_keep_their_factors(site: Site) -> None:
    _, part, other = _together(site, CAPITAL, PART, ("Italy", "{} is", "Rome"))
    before = site.placements(1)
    _undo(site, _together(site, RIVER)[0])
    _undo(site, part)
    assert site.placements(4)[other] == before[other]


def test_a_rollback_takes_up_the_factors_of_its_goal_and_another_those_after_it(
    site: Site,
) -> None:
    capital, part = _together(site, CAPITAL, PART)
    _undo(site, capital)
    for goal in (1, 2, 1):
        site.rollback(goal)
        site.turn()
        assert _head(site).weights_digest == _digest(site, goal)
        assert site.placements(_head(site).number) == site.placements(goal)
    site.restart()
    assert set(site.head_live) == {capital, part}
    _undo(site, capital)  # solved again on the same weights: the same factors, one artefact
    assert site.placements(6) == site.placements(2)
    assert _head(site).artefact_digest is not None


def test_a_fact_that_was_solved_again_may_be_superseded_and_come_back(site: Site) -> None:
    capital, part = _together(site, CAPITAL, PART)
    _undo(site, capital)
    (corrected,) = _together(site, (*PART[:2], "Paris"))
    _undo(site, corrected)
    assert list(site.head_live) == [part]
    assert _head(site).weights_digest == _digest(site, 2)


def test_undoing_a_correction_gives_back_what_it_corrected(site: Site) -> None:
    (first,) = _together(site, CAPITAL)
    (second,) = _together(site, (*CAPITAL[:2], "Paris"))
    assert _edit(site, first).superseded_by == second
    report = _report(_undo(site, second))
    assert report.restored is not None
    assert (report.restored.edit, _head(site).edits) == (first, [first])
    assert _head(site).weights_digest == _digest(site, 1)
    assert (_edit(site, first).status, _edit(site, first).superseded_by) == (
        EditStatus.COMMITTED,
        None,
    )
    assert _edit(site, second).status is EditStatus.REVERTED


def test_undoing_a_correction_without_restoring_leaves_neither_and_both_say_so(
    site: Site,
) -> None:
    (first,) = _together(site, CAPITAL)
    (second,) = _together(site, (*CAPITAL[:2], "Paris"))
    _undo(site, second, Wanted(restore=False))
    assert _head(site).weights_digest == _digest(site, 0)
    for id in (first, second):
        assert (_edit(site, id).status, _edit(site, id).superseded_by) == (
            EditStatus.REVERTED,
            None,
        )


def test_a_rollback_to_before_a_chain_of_corrections_leaves_none_of_it_superseded(
    site: Site,
) -> None:
    chain = [_together(site, (*CAPITAL[:2], target))[0] for target in ("Rome", "Paris", "Italy")]
    assert [_edit(site, id).superseded_by for id in chain] == [*chain[1:], None]
    site.rollback(0)
    site.turn()
    assert {_edit(site, id).status for id in chain} == {EditStatus.REVERTED}
    site.rollback(3)
    site.turn()
    assert [_edit(site, id).superseded_by for id in chain] == [*chain[1:], None]


def test_what_comes_back_is_solved_again_where_its_neighbour_has_gone(site: Site) -> None:
    capital, part = _together(site, CAPITAL, PART)
    (corrected,) = _together(site, (*CAPITAL[:2], "Paris"))
    _undo(site, part)
    _undo(site, corrected)
    assert list(site.head_live) == [capital]
    assert _head(site).weights_digest == site.alone(*CAPITAL)


def test_what_was_withdrawn_does_not_come_back(site: Site) -> None:
    (first,) = _together(site, CAPITAL)
    (second,) = _together(site, (*CAPITAL[:2], "Paris"))
    with site.database.write() as session:
        withdraw(session, first, Why.HARM, actor="client", now=site.clock())
    report = _report(_undo(site, second))
    assert (report.restored, list(site.head_live)) == (None, [])


def test_what_another_edit_states_by_now_does_not_come_back(site: Site) -> None:
    (first,) = _together(site, CAPITAL)
    (second,) = _together(site, (*CAPITAL[:2], "Paris"))
    _erase(site, second)  # so that the next edit of the fact does not supersede it
    (third,) = _together(site, (*CAPITAL[:2], "Italy"))
    report = _report(_undo(site, second))
    assert (report.restored, list(site.head_live)) == (None, [third])
    assert _edit(site, first).status is EditStatus.REVERTED


def test_a_dry_run_measures_and_changes_nothing(site: Site) -> None:
    capital, part = _together(site, CAPITAL, PART)
    tried = _undo(site, capital, Wanted(dry_run=True))
    assert (tried.status, _head(site).number) == (OperationStatus.TRIED, 1)
    assert _report(tried) == _report(_undo(site, capital))
    assert list(site.head_live) == [part]


def test_a_revert_whose_new_factors_fail_a_gate_is_refused_unless_forced(site: Site) -> None:
    capital, part = _together(site, CAPITAL, PART)
    site.limits = site.limits.model_copy(update={"perplexity_ratio": 0.0})
    site.restart()
    refused = _undo(site, capital)
    reason = "gate_perplexity_too_high"
    assert (refused.status, refused.reason) == (OperationStatus.REJECTED, reason)
    assert (_report(refused).refused, _head(site).number) == (reason, 1)
    assert _undo(site, capital, FORCED).status is OperationStatus.COMMITTED
    assert list(site.head_live) == [part]


def test_facts_without_words_that_share_the_value_are_told_of_before_anything_happens(
    site: Site,
) -> None:
    capital, part = _together(site, CAPITAL, PART)
    _erase(site, part)
    with pytest.raises(SiblingsUnknown, match=part) as refusal:
        site.revert(capital, PLAIN)
    assert refusal.value.status == 409
    tried = _report(_undo(site, capital, Wanted(dry_run=True)))
    assert (tried.lost, tried.unsolvable, tried.refused) == ([part], "erased", "siblings_lost")
    assert tried.siblings[0].before is None
    assert _undo(site, capital, FORCED).status is OperationStatus.COMMITTED
    assert list(site.head_live) == [part]


def test_the_facts_of_an_erased_edit_are_found_by_its_report(site: Site) -> None:
    capital, part = _together(site, CAPITAL, PART)
    _erase(site, capital)
    report = _report(_undo(site, capital))
    assert ([fact.edit for fact in report.siblings], report.undone.before) == ([part], None)
    assert _head(site).weights_digest == site.alone(*PART)


@pytest.mark.parametrize(
    ("before", "after", "is_lost"),
    [
        (Said(p_target=0.9, match=True), Said(p_target=0.8, match=True), False),
        (Said(p_target=0.9, match=True), Said(p_target=0.4, match=True), True),
        (Said(p_target=0.9, match=True), Said(p_target=0.6, match=False), True),
        (Said(p_target=0.1, match=False), Said(p_target=0.0, match=False), False),
        (None, None, True),
    ],
)
def test_a_fact_is_lost_that_is_said_no_more_or_half_as_surely(
    before: Said | None, after: Said | None, is_lost: bool
) -> None:
    assert FactReport(edit="a", before=before, after=after).is_lost is is_lost


def test_all_live_facts_of_a_subject_are_solved_beside_and_measured(site: Site) -> None:
    facts = [("France", f"Fact {number} of {{}} is", "Rome") for number in range(10)]
    ids = [site.submit(*fact) for fact in facts]
    for _ in range(4):
        site.turn()
    report = EditReport.model_validate(_edit(site, ids[-1]).report)
    assert {fact.edit for fact in report.siblings} == set(ids[:-1])


def test_a_subject_that_is_full_takes_no_further_fact_but_corrections(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.worker.intake.MOST_FACTS", 2)
    ids = _together(site, CAPITAL, PART, RIVER)
    assert [_edit(site, id).status for id in ids] == [EditStatus.COMMITTED] * 2 + [
        EditStatus.REJECTED
    ]
    full = _edit(site, ids[2])
    assert full.operation.reason == "subject_full"
    assert "live facts" in str(EditReport.model_validate(full.report).error)
    (corrected,) = _together(site, (*PART[:2], "Paris"))
    assert _edit(site, corrected).status is EditStatus.COMMITTED


@pytest.mark.parametrize(
    ("change", "table", "id"),
    [
        ("UPDATE reverts SET force = 1", "reverts", "{revert}"),
        ("UPDATE reverts SET restore = 0", "reverts", "{revert}"),
        ("UPDATE reverts SET dry_run = 1", "reverts", "{revert}"),
        ("DELETE FROM reverts", "reverts", "{revert}"),
        ("DELETE FROM revision_changes WHERE change = 0", "revision_changes", "2"),
        (
            "UPDATE revision_changes SET artefact = (SELECT artefact_digest FROM revisions "
            "WHERE number = 1) WHERE change = 0",
            "revision_changes",
            "2",
        ),
        (
            "UPDATE edits SET status = 'superseded', superseded_by = '{part}' "
            "WHERE id = '{capital}'",
            "edits",
            "{capital}",
        ),
    ],
)
def test_a_row_of_a_revert_that_is_not_what_the_ledger_says_is_named(
    tmp_path: Path, change: str, table: str, id: str
) -> None:
    site = Site(tmp_path)
    capital, part = _together(site, CAPITAL, PART)
    names = {"capital": capital, "part": part, "revert": _undo(site, capital).id}
    assert site.audit().ok
    with tampering(site.database) as execute:
        execute(change.format(**names))
    row = site.audit().bad_row
    assert row is not None
    assert (row.table, row.id) == (table, id.format(**names))
    site.close()


_FORGED = [
    ({"factors": {}}, "artefact"),
    ({"factors": {"{part}": ["0" * 64, 0]}}, "never had the factors"),
    ({"factors": {"{part}": ["{artefact}", 0], "{capital}": ["{artefact}", 1]}}, "goes and has"),
    ({"removed": ["{capital}", "{part}"]}, "alone|goes and has"),
    ({"added": ["{capital}"], "removed": []}, "live already"),
]


@pytest.mark.parametrize(("forged", "why"), _FORGED)
def test_a_record_of_a_revert_that_does_not_follow_is_a_bad_entry(
    tmp_path: Path, forged: dict[str, object], why: str
) -> None:
    site = Site(tmp_path)
    capital, part = _together(site, CAPITAL, PART)
    _undo(site, capital)
    names = {"{capital}": capital, "{part}": part, "{artefact}": _head(site).artefact_digest or ""}
    recount = Recount()
    with site.database.read() as session:
        *before, last = ledger.links(session)
    for entry in before:
        recount.take(read(entry))
    text = json.dumps(json.loads(last.payload) | forged)
    for name, value in names.items():
        text = text.replace(name, value)
    with pytest.raises(ValueError, match=why):
        recount.take(RevisionRecord.model_validate_json(text))
    site.close()
