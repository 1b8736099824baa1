from datetime import timedelta

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DatabaseError, IntegrityError

from app.database.database import Database
from app.database.migration import downgrade, drift, upgrade
from app.edits import repository as edits
from app.edits.models import EditStatus
from app.errors import IdempotencyMismatch
from app.events import repository as events
from app.idempotency.once import Once, digest_of
from app.operations.service import try_out
from app.revisions.live import live_edits
from app.revisions.placements import Placement
from app.snapshots.service import add_label
from tests.chain import check_chain
from tests.integration.history import History


def test_the_migrated_schema_is_the_one_the_models_describe(database: Database) -> None:
    assert drift(database) == []


def test_upgrading_twice_changes_nothing(history: History) -> None:
    history.edit("a")
    upgrade(history.database)
    assert history.head() == 1


def test_a_ledger_from_before_snapshots_is_kept_guarded_and_may_record_them(
    history: History,
) -> None:
    database = history.database
    history.edit("a", "b")
    downgrade(database, "0001")
    upgrade(database)
    with database.write() as session:
        add_label(session, 1, "release", "digest", actor="client", now=history.clock())
    history.edit("c")
    with database.read() as session:
        verdict = check_chain(session)
    assert (verdict.ok, verdict.entries) == (True, 7)
    for write in ("UPDATE ledger_entries SET actor = 'x'", "DELETE FROM ledger_entries"):
        with (
            pytest.raises(DatabaseError, match="never changed or removed"),
            database.write() as session,
        ):
            session.execute(text(write))
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(
            text("INSERT INTO ledger_entries VALUES (7, 'forged', '{}', 'x', 'now', 'x', 'x')")
        )


def test_migrations_run_up_down_and_up_again_with_data(history: History) -> None:
    history.edit("a", "b")
    downgrade(history.database, "base")
    with history.database.read() as session:
        assert inspect(session.connection()).get_table_names() == ["alembic_version"]
    upgrade(history.database)
    again = History(history.database)
    assert again.edit("c").number == 1
    assert drift(history.database) == []
    with history.database.read() as session:
        assert check_chain(session).ok


def test_what_was_tried_is_withdrawn_where_nobody_knows_of_trying(history: History) -> None:
    history.accept("a", dry_run=True)
    history.claim()
    with history.database.write() as session:
        try_out(session, "a", now=history.clock(), actor="worker", report={})
    downgrade(history.database, "0001")
    with history.database.read() as session:
        both = text("SELECT status FROM operations UNION ALL SELECT status FROM edits")
        assert session.scalars(both).all() == ["cancelled"] * 2
    upgrade(history.database)
    assert history.status("a") is EditStatus.CANCELLED
    assert drift(history.database) == []


@pytest.mark.parametrize(
    "statement",
    ["UPDATE operations SET status = 'nonsense'", "UPDATE edits SET status = 'nonsense'"],
)
def test_a_status_that_nobody_knows_is_refused_by_the_database(
    history: History, statement: str
) -> None:
    history.accept("a")
    with pytest.raises(IntegrityError), history.database.write() as session:
        session.execute(text(statement))


def test_the_events_of_older_edits_begin_with_what_they_are(history: History) -> None:
    history.edit("a")
    history.edit("b", supersedes="a")
    history.accept("c")
    downgrade(history.database, "0007")
    upgrade(history.database)
    history.claim()
    with history.database.read() as session:
        found = [(e.edit_id, e.status, e.revision) for e in events.after(session, 0, limit=9)]
    assert found == [
        ("a", "superseded", 1),
        ("b", "committed", 2),
        ("c", "accepted", None),
        ("c", "running", None),
    ]


def test_edits_of_older_schemas_are_found_in_every_spelling_and_by_their_look(
    history: History,
) -> None:
    history.edit("a", subject="Andre\u0301")
    history.edit("b", subject="P\u0430ris")
    history.edit("c")
    history.erase("c")
    downgrade(history.database, "0009")
    with history.database.write() as session:
        session.execute(text("UPDATE edit_texts SET fact_digest = edit_id, subject_digest = 'x'"))
    upgrade(history.database)
    assert drift(history.database) == []
    history.accept("d", subject="Paris")
    with history.database.read() as session:
        assert edits.live_edit_of_fact(session, "ANDR\u00c9", "{} is") == "a"
        assert list(edits.look_alikes(session, edits.get(session, "d"), 9)) == ["b"]
        assert list(edits.look_alikes(session, edits.get(session, "b"), 9)) == ["d"]
        assert edits.look_alikes(session, edits.get(session, "c"), 9) == {}


def test_a_status_that_lied_is_what_is_true_after_the_upgrade(history: History) -> None:
    history.edit("a")
    history.edit("b", supersedes="a")
    history.undo("back", 0, removed=["b"])
    history.edit("c")
    downgrade(history.database, "0016")
    with history.database.write() as session:  # as releases before left it
        session.execute(
            text("UPDATE edits SET status = 'superseded', superseded_by = 'b' WHERE id = 'a'")
        )
    upgrade(history.database)
    with history.database.read() as session:
        found = edits.get(session, "a")
        told = events.after(session, 0, limit=99, edit_id="a")
        live = [edit.placement for edit in live_edits(session, 4)]
    assert (found.status, found.superseded_by) == (EditStatus.REVERTED, None)
    assert (told[-1].status, told[-1].revision) == (EditStatus.REVERTED, 4)
    assert live == [Placement("c", "artefact-4", 0)]


def test_an_erasure_survives_going_back_and_forth(history: History) -> None:
    history.edit("a")
    history.erase("a")
    downgrade(history.database, "0001")
    with history.database.read() as session:
        columns = {column["name"] for column in inspect(session.connection()).get_columns("edits")}
        assert "erased_at" not in columns
        assert session.scalar(text("SELECT count(*) FROM ledger_entries")) == 4
    with history.database.write() as session:
        session.execute(text("UPDATE revisions SET live_edits = live_edits"))  # as it was before
    upgrade(history.database)
    assert drift(history.database) == []
    with history.database.read() as session:
        assert check_chain(session).ok
    for table in ("ledger_entries", "revisions"):
        with (
            pytest.raises(DatabaseError, match="never changed or removed"),
            history.database.write() as session,
        ):
            session.execute(text(f"DELETE FROM {table}"))  # noqa: S608
    assert history.edit("b").number == 2


def _once(history: History, actor: str, route: str, asked: str = "") -> Once:
    once = Once(actor, route, "once", history.clock, timedelta(days=7))
    return once.asking({"asked": asked} if asked else None)


def test_an_idempotency_key_goes_on_for_whoever_sent_it(history: History) -> None:
    database, route = history.database, "POST /v1/edits"
    history.accept("a")
    downgrade(database, "0011")
    digest = digest_of("{}")
    with database.write() as session:
        insert = "INSERT INTO idempotency_keys (key, body_digest, operation_id, created_at) "
        values = {"digest": digest, "at": f"{history.clock():%Y-%m-%d %H:%M:%S}"}
        session.execute(text(insert + "VALUES ('once', :digest, 'a', :at)"), values)
    upgrade(database)
    with database.write() as session:
        assert _once(history, "client", route).recall(session) == "a"
        with pytest.raises(IdempotencyMismatch):
            _once(history, "client", route, "else").recall(session)
        assert _once(history, "key:other", route).recall(session) is None
        assert _once(history, "client", "POST /v1/rollbacks").recall(session) is None
        _once(history, "key:other", route, "else").keep(session, "a")
        _once(history, "client", "POST /v1/rollbacks").keep(session, "rollback_1")
    downgrade(database, "0011")
    with database.read() as session:
        kept = session.execute(text("SELECT key, body_digest FROM idempotency_keys")).all()
    assert kept == [(f"erased {digest_of('once')}", digest)]
    upgrade(database)
    assert drift(database) == []
    with database.read() as session:
        assert _once(history, "client", route).recall(session) == "a"


def test_the_key_of_a_batch_goes_on_with_the_batch(history: History) -> None:
    database, route = history.database, "POST /v1/edit-batches"
    batch = history.open_batch("batch_1", atomic=False)
    history.accept("a", batch_id=batch)
    history.accept("b", batch_id=batch)
    with database.write() as session:
        _once(history, "client", route).keep(session, batch)
    downgrade(database, "0016")
    with database.read() as session:
        assert session.scalar(text("SELECT operation_id FROM idempotency_keys")) == "a"
    upgrade(database)
    with database.read() as session:
        assert _once(history, "client", route).recall(session) == batch
