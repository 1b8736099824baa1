"""What drift tells of revisions: what was measured when each was made, and nothing else."""

from app.database.database import Database
from app.lookback.drift import drift
from app.lookback.schemas import DriftPage
from tests.support.history import History


def _page(database: Database, *, limit: int = 10) -> DriftPage:
    with database.read() as session:
        return drift(session, first=0, last=9, limit=limit)


def test_each_revision_tells_what_was_measured_of_it(history: History) -> None:
    history.edit("a")
    history.edit("b")
    history.undo("rollback", 1, removed=["b"])
    rows = _page(history.database).items
    assert [row.kind.value for row in rows] == ["base", "edit", "edit", "rollback"]
    assert [[found.energy for found in row.layers] for row in rows] == [
        [1.0],
        [1.125],
        [1.25],
        [1.125],
    ]
    assert {(row.perplexity, row.perplexity_tokens) for row in rows} == {(20.0, 128)}


def test_numbers_outlive_the_words_of_an_edit(history: History) -> None:
    history.edit("a")
    before = _page(history.database)
    history.erase("a")
    assert _page(history.database) == before


def test_a_page_ends_with_where_the_next_one_begins(history: History) -> None:
    for number in range(3):
        history.edit(f"edit-{number}")
    page = _page(history.database, limit=2)
    assert ([row.revision for row in page.items], page.next) == ([0, 1], 2)
    assert _page(history.database, limit=4).next is None
