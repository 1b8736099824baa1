"""PostgreSQL behind PgBouncer, where every transaction may meet another session of the server."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.database import Database
from app.database.migration import drift, upgrade
from app.errors import DatabaseAway, DatabaseOverloaded, DatabaseUnavailable
from app.operations import edits
from app.settings import Settings
from tests.support.history import History
from tests.support.pgbouncer import pooled
from tests.support.service import FACT, running

pytestmark = pytest.mark.postgres

_TIMEOUTS = ("lock_timeout", "idle_in_transaction_session_timeout", "statement_timeout")


@pytest.fixture
def url(postgres_server: Any) -> Iterator[str]:
    name = f"errata_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    with pooled(postgres_server, name) as url:
        yield url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    upgrade(database)
    yield database
    database.close()


def _read_and_write(database: Database) -> int:
    for _ in range(20):
        with database.read() as session:
            edits.live_edit_of_fact(session, "France", "The capital of {} is")
        with database.write() as session:
            edits.live_edit_of_fact(session, "France", "The capital of {} is")
    return 20


def test_several_processes_share_a_pool_of_sessions(url: str, database: Database) -> None:
    others = [Database(url) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(_read_and_write, [database, *others, database])) == [20] * 4
    for other in others:
        other.close()
    assert drift(database) == []
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0


def _shown(connection: Any) -> list[str]:
    return [connection.execute(f"SHOW {name}").fetchone()[0] for name in _TIMEOUTS]


def test_nothing_that_is_set_outlasts_its_transaction(url: str, database: Database) -> None:
    admitting = database.reader(1)
    with database.write() as session:
        assert session.scalar(text("SHOW lock_timeout")) == "5s"
        assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "15s"
    with admitting.read() as session:
        assert session.scalar(text("SHOW statement_timeout")) == "5s"
    assert not database.purge("1", within_s=0.001) or database.purge("1")
    plain = url.replace("+psycopg", "")
    for _ in range(4):  # every session of the pool, sooner or later
        with psycopg.connect(plain, autocommit=True, prepare_threshold=None) as other:
            assert _shown(other) == ["0", "0", "0"]


def test_writers_are_one_after_another(database: Database, url: str) -> None:
    other = Database(url)
    with database.write() as session:
        session.execute(text("SELECT 1"))
        with pytest.raises(DatabaseOverloaded), other.write() as kept_out:
            kept_out.execute(text("SELECT 1"))
    other.close()


def test_a_service_works_behind_it(url: str, tmp_path: Any) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url=url)
    with running(settings) as client:
        posted = [_post(client, number) for number in range(5)]
        assert len(set(posted)) == 5
        database = Database(url)
        History(database)
        listed = client.get("/v1/edits").json()["items"]
        assert [edit["id"] for edit in listed] == posted
        assert client.delete(f"/v1/edits/{posted[0]}").status_code == 200
        assert client.post(f"/v1/edits/{posted[0]}/erase").status_code == 200
        assert client.get("/v1/ledger/verify").json()["ok"]
        database.close()


def _post(client: TestClient, number: int) -> str:
    answer = client.post("/v1/edits", json=FACT | {"subject": f"Subject {number}"})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_a_session_that_was_mixed_up_is_an_outage_and_no_bug(database: Database) -> None:
    statements = {
        "42P05": "PREPARE taken AS SELECT 1; PREPARE taken AS SELECT 1",
        "26000": "EXECUTE never_prepared",
    }
    for sqlstate, statement in statements.items():
        with pytest.raises(DatabaseUnavailable) as told, database.write() as session:
            _run(session, statement)
        assert isinstance(told.value.__cause__, ProgrammingError)
        assert getattr(told.value.__cause__.orig, "sqlstate", None) == sqlstate
        assert not isinstance(told.value, DatabaseAway)


def _run(session: Session, statement: str) -> None:
    connection = session.connection()
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
