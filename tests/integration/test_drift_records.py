"""What drift tells of revisions that were made before revisions kept a report of their own."""

from app.database.database import Database
from app.database.migration import downgrade, upgrade
from app.facts.revision_report import LayerDrift
from app.kit.canonical import JsonObject
from app.lookback.drift import drift
from app.lookback.schemas import DriftPage
from app.operations import revisions as repository
from tests.integration.history import REPORT, History

_LAYER: JsonObject = {
    "layer": 4,
    "delta_norm": 0.5,
    "achieved_fraction": None,
    "energy_before": 1.0,
}


def _page(database: Database, *, limit: int = 10) -> DriftPage:
    with database.read() as session:
        return drift(session, first=0, last=9, limit=limit)


def _edit(history: History, edit_id: str, energy: float) -> None:
    history.accept(edit_id)
    history.claim()
    report: JsonObject = REPORT | {"layers": [_LAYER | {"energy_after": energy}]}
    history.commit_edits([edit_id], report=report)


def test_the_energy_that_an_edit_measured_is_told_and_the_rest_is_null(history: History) -> None:
    _edit(history, "a", 1.25)
    base, row = _page(history.database).items
    assert row.layers == [LayerDrift(layer=4, energy=1.25, delta_norm=None, key_collision=None)]
    assert (row.perplexity, base.perplexity, base.layers) == (None, None, [])


def test_an_undoing_without_a_report_tells_nothing(history: History) -> None:
    _edit(history, "a", 1.25)
    _edit(history, "b", 1.5)
    history.undo("rollback", 1, removed=["b"])
    rows = _page(history.database).items
    assert [row.kind.value for row in rows] == ["base", "edit", "edit", "rollback"]
    assert [[found.energy for found in row.layers] for row in rows] == [[], [1.25], [1.5], []]


def test_a_restored_edit_does_not_tell_of_the_revision_that_restored_it(history: History) -> None:
    _edit(history, "a", 1.25)
    history.undo("back", 0, removed=["a"])
    history.undo("forth", 1, restored=["a"])
    assert _page(history.database).items[3].layers == []


def test_energies_outlive_the_words_of_an_edit(history: History) -> None:
    _edit(history, "a", 1.25)
    history.erase("a")
    assert _page(history.database).items[1].layers[0].energy == 1.25


def test_a_page_ends_with_where_the_next_one_begins(history: History) -> None:
    for number in range(3):
        history.edit(f"edit-{number}")
    page = _page(history.database, limit=2)
    assert ([row.revision for row in page.items], page.next) == ([0, 1], 2)
    assert _page(history.database, limit=4).next is None


def test_a_database_from_before_reports_keeps_its_revisions(history: History) -> None:
    _edit(history, "a", 1.25)
    downgrade(history.database, "0006")
    upgrade(history.database)
    assert [row.revision for row in _page(history.database).items] == [0, 1]
    with history.database.read() as session:
        assert repository.get(session, 1).report is None
