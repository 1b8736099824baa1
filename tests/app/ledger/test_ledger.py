import json
from pathlib import Path

import pysqlite3
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from app.database.database import Database
from app.database.tables.ledger import EntryKind
from app.evidence.verification import verify_bundle
from app.ledger import repository, service
from app.ledger.artefacts import ArtefactStore
from app.ledger.chain import GENESIS, Verdict
from app.operations.labels import add_label
from app.operations.lifecycle import reject
from app.settings import Settings
from tests.support.chain import check_chain
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.service import running
from tests.support.tampering import tampering

COLUMNS = ("kind", "payload", "actor", "at", "prev_hash", "hash")


def _check(database: Database) -> Verdict:
    with database.read() as session:
        return check_chain(session)


@pytest.fixture
def recorded(database: Database, artefacts: ArtefactStore) -> History:
    """Eight entries: base, two edits, a revision, an edit, a revision, an edit, a verdict."""
    history = History(database, artefacts)
    history.edit("a", "b")
    history.edit("c")
    history.accept("d")
    history.claim()
    with history.database.write() as session:
        reject(session, "d", "already_true", now=history.clock(), actor="worker")
    return history


def test_an_untouched_ledger_holds(recorded: History) -> None:
    verdict = _check(recorded.database)
    assert (verdict.ok, verdict.entries, verdict.first_bad) == (True, 8, None)
    with recorded.database.read() as session:
        newest = repository.last(session)
        oldest = repository.get(session, 0)
    assert newest is not None
    assert verdict.head_hash == newest.hash
    assert oldest.prev_hash == GENESIS


@pytest.mark.parametrize(
    "write", ["UPDATE ledger_entries SET actor = 'x'", "DELETE FROM ledger_entries"]
)
def test_the_database_refuses_to_change_the_ledger(recorded: History, write: str) -> None:
    with (
        pytest.raises(DatabaseError, match="never changed or removed"),
        recorded.database.write() as session,
    ):
        session.execute(text(write))
    assert _check(recorded.database).ok


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_character_is_named_whatever_the_column(recorded: History, column: str) -> None:
    for index in range(8):
        with recorded.database.read() as session:
            before = session.execute(
                text(f'SELECT {column} FROM ledger_entries WHERE "index" = :index'),  # noqa: S608
                {"index": index},
            ).scalar_one()
        place = (5 * index + 3) % len(before)
        flipped = chr(ord(before[place]) ^ 1)
        after = before[:place] + flipped + before[place + 1 :]
        update = f'UPDATE ledger_entries SET {column} = :value WHERE "index" = :index'  # noqa: S608
        with tampering(recorded.database) as execute:
            execute(update, value=after, index=index)
        assert _check(recorded.database).first_bad == index
        with tampering(recorded.database) as execute:
            execute(update, value=before, index=index)
        assert _check(recorded.database).ok


@pytest.mark.parametrize(
    "respelled", [' {"x":1}', '{"x": 1}', '{"x":1.0}', "{", "[" * 5_000, "1e999"]
)
def test_another_spelling_of_a_payload_is_found(recorded: History, respelled: str) -> None:
    with tampering(recorded.database) as execute:
        execute('UPDATE ledger_entries SET payload = :value WHERE "index" = 3', value=respelled)
    assert _check(recorded.database).first_bad == 3


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ('DELETE FROM ledger_entries WHERE "index" = 0', 0),
        ('DELETE FROM ledger_entries WHERE "index" = 4', 4),
        ('DELETE FROM ledger_entries WHERE "index" >= 7', 7),
        ('DELETE FROM ledger_entries WHERE "index" >= 2', 2),
        ("DELETE FROM ledger_entries", 0),
        ('UPDATE ledger_entries SET "index" = 70 WHERE "index" = 5', 5),
        ('UPDATE ledger_entries SET "index" = 8 WHERE "index" = 7', 7),
    ],
)
def test_a_removed_or_moved_entry_is_named(
    recorded: History, statement: str, first_bad: int
) -> None:
    with tampering(recorded.database) as execute:
        execute(statement)
    assert _check(recorded.database).first_bad == first_bad


def test_a_chain_that_was_cut_after_a_label_was_given_is_found(recorded: History) -> None:
    with recorded.database.write() as session:
        add_label(session, 1, "release", "digest", actor="client", now=recorded.clock())
    assert _check(recorded.database).entries == 9
    with tampering(recorded.database) as execute:
        execute('DELETE FROM ledger_entries WHERE "index" = 8')
    assert _check(recorded.database).first_bad == 8


def test_swapped_entries_are_named(recorded: History) -> None:
    with tampering(recorded.database) as execute:
        for old, new in ((2, 90), (5, 2), (90, 5)):
            execute(
                'UPDATE ledger_entries SET "index" = :new WHERE "index" = :old', old=old, new=new
            )
    assert _check(recorded.database).first_bad == 2


@only_sqlite
def test_bytes_that_are_not_even_text_are_named(recorded: History, settings: Settings) -> None:
    path = settings.database_url.removeprefix("sqlite:///")
    connection = pysqlite3.connect(path)
    connection.execute("DROP TRIGGER ledger_entries_refuse_update")
    connection.execute(
        "UPDATE ledger_entries SET payload = CAST(x'7bff7d' AS TEXT) WHERE \"index\" = 6"
    )
    connection.commit()
    connection.close()
    assert _check(recorded.database).first_bad == 6


@only_sqlite
@pytest.mark.parametrize(
    "change",
    [
        "payload = CAST(x'7bff7d' AS TEXT)",
        "payload = '{\"x\": NaN}'",
        "payload = '1e999'",
        "kind = 'forged'",
        "hash = x'00ff'",
        "payload = '\"\\ud800\"'",
    ],
)
def test_a_ledger_that_was_tampered_with_can_still_be_read(
    recorded: History, settings: Settings, change: str, tmp_path: Path
) -> None:
    with tampering(recorded.database) as execute:
        execute(f'UPDATE ledger_entries SET {change} WHERE "index" = 6')  # noqa: S608
    with running(settings) as client:
        assert client.get("/v1/ledger/verify").json()["first_bad"] == 6
        response = client.get("/v1/ledger", params={"after": 4})
        assert [entry["index"] for entry in response.json()["items"]] == [5, 6, 7]
        lines = client.get("/v1/ledger/export").text.splitlines()
        assert [json.loads(line)["index"] for line in lines] == list(range(8))
        path = tmp_path / "bundle.tar"
        path.write_bytes(client.get("/v1/ledger/bundle").content)
    verdict = verify_bundle(path)
    assert verdict.first_bad is not None
    assert (verdict.first_bad.part, verdict.first_bad.name) == ("entry", 6)


@pytest.mark.parametrize("table", ["revisions", "revision_changes"])
@pytest.mark.parametrize("write", ["UPDATE {} SET {} = 0", "DELETE FROM {}"])
def test_the_database_refuses_to_change_revisions(
    recorded: History, table: str, write: str
) -> None:
    column = {"revisions": "live_edits", "revision_changes": "change"}[table]
    with (
        pytest.raises(DatabaseError, match="revisions are never changed or removed"),
        recorded.database.write() as session,
    ):
        session.execute(text(write.format(table, column)))
    assert recorded.head() == 2


def test_an_append_that_is_rolled_back_leaves_no_gap(history: History) -> None:
    def fail_after_appending() -> None:
        with history.database.write() as session:
            service.append(session, EntryKind.VERDICT, {}, actor="worker", now=history.clock())
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail_after_appending()
    history.accept("a")
    assert _check(history.database) == Verdict(2, _check(history.database).head_hash, None)
