"""A database that is there and answers too slowly, or not at all, lets nobody in."""

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pysqlite3
import pytest
from sqlalchemy import make_url, text
from starlette.testclient import TestClient

from app.access import repository
from app.access.doorkeeper import Doorkeeper
from app.access.scopes import Scope
from app.access.service import NewApiKey, create, revoke
from app.database.database import Database
from app.database.migration import upgrade
from app.deps.services import Services
from app.errors import DatabaseAway, DatabaseOverloaded, KeyExpired, KeyRevoked
from app.keys.bootstrap import revoke_key
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.keyed import SetClock, bearer, first_key, keyed, kid
from tests.support.postgres import crash, new_schema, running_postgres
from tests.support.service import running

_LOCK_S = 0.05

Overload = Callable[[Doorkeeper, Database], AbstractContextManager[None]]


@contextmanager
def _pool_used_up(doorkeeper: Doorkeeper, _: Database) -> Iterator[None]:
    """Every connection that the doorkeeper has is busy."""
    with ExitStack() as stack:
        for _connection in range(4):
            session = stack.enter_context(doorkeeper._reader.read())
            session.connection()
        yield


@contextmanager
def _locked(doorkeeper: Doorkeeper, database: Database) -> Iterator[None]:
    """Somebody has the whole file to themselves."""
    doorkeeper._last_use.close()  # no connection of ours is open any more
    database.close()
    path = database.engine.url.database
    assert path is not None
    other = pysqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def _no_descriptors(_: Doorkeeper, database: Database) -> Iterator[None]:
    """The process may open nothing more."""
    database.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def impatient(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database that is not waited for."""
    monkeypatch.setattr("app.database.engine.LOCK_TIMEOUT_S", _LOCK_S)
    settings.data_dir.mkdir()
    database = Database(settings.database_url)
    upgrade(database)
    yield database
    database.close()


@only_sqlite
@pytest.mark.parametrize("overload", [_pool_used_up, _locked, _no_descriptors])
@pytest.mark.parametrize("flaw", ["none", "revoked", "expired"])
def test_overload_readmits_nobody_whatever_the_key_and_its_scope(
    settings: Settings, impatient: Database, clock: SetClock, overload: Overload, flaw: str
) -> None:
    doorkeeper = Doorkeeper(settings, impatient, clock)
    headers = {scope: _confirmed(doorkeeper, settings, impatient, clock, scope) for scope in Scope}
    if flaw == "revoked":
        with impatient.write() as session:
            for key in repository.page(session, after=None, limit=None):
                revoke(session, key.id, actor="test", now=clock())
    elif flaw == "expired":
        clock.pass_by(timedelta(seconds=30))
    with overload(doorkeeper, impatient):
        for header in headers.values():
            with pytest.raises(DatabaseOverloaded) as refused:
                doorkeeper.admit(header)
            assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "5"})
    answers = {"revoked": KeyRevoked, "expired": KeyExpired}
    for scope, header in headers.items():
        if flaw in answers:
            with pytest.raises(answers[flaw]):
                doorkeeper.admit(header)
        else:
            assert doorkeeper.admit(header).scopes == {scope}
    doorkeeper.close()


def _confirmed(
    doorkeeper: Doorkeeper, settings: Settings, database: Database, clock: SetClock, scope: Scope
) -> str:
    """The header of a key that lasts half a minute and was just let in."""
    new = NewApiKey([scope], expires_at=clock() + timedelta(seconds=30))
    with database.write() as session:
        _, token = create(session, settings, new, actor="test", now=clock())
    header = f"Bearer {token.text}"
    assert doorkeeper.admit(header).scopes == {scope}
    return header


@only_sqlite
@pytest.mark.parametrize("overload", [_pool_used_up, _locked, _no_descriptors])
def test_overload_lets_nobody_in_where_no_key_was_made_either(
    settings: Settings, impatient: Database, clock: SetClock, overload: Overload
) -> None:
    doorkeeper = Doorkeeper(settings, impatient, clock)
    doorkeeper.admit(None)
    with overload(doorkeeper, impatient), pytest.raises(DatabaseOverloaded):
        doorkeeper.admit(None)
    doorkeeper.close()


def test_a_revoked_administrator_is_not_let_in_while_every_connection_is_busy(
    settings: Settings,
) -> None:
    with keyed(settings) as service:
        leaver = service.key("admin")
        assert service.client.get("/v1/keys", headers=bearer(leaver)).status_code == 200
        revoke_key(settings, kid(leaver))
        with _all_busy(_services(service.client).database):
            response = service.client.post(
                "/v1/keys", json={"scopes": ["admin"]}, headers=bearer(leaver)
            )
            assert (response.status_code, response.json()["error"]["code"]) == (401, "key_revoked")
            # Whoever has a key that counts is let in all the same: nothing starves the door.
            nowhere = service.client.get("/v1/nothing", headers=bearer(service.admin))
            assert nowhere.status_code == 404
        listed = service.client.get("/v1/keys", headers=bearer(service.admin)).json()["items"]
        assert len(listed) == 2


def _services(client: TestClient) -> Services:
    services: Services = client.app_state["services"]
    return services


@contextmanager
def _all_busy(database: Database) -> Iterator[None]:
    """Every connection that requests read over is taken, as by 15 slow requests."""
    with ExitStack() as stack:
        for _ in range(15):
            stack.enter_context(database.read()).execute(text("SELECT 1"))
        yield


@only_sqlite
def test_what_needs_more_than_a_query_is_not_refused_for_good_while_the_database_is_away(
    settings: Settings,
) -> None:
    with running(settings) as client:
        admin = first_key(settings)
        assert client.get("/v1/edits", headers=bearer(admin)).status_code == 200
        _services(client).database.close()
        path = Path(settings.database_url.removeprefix("sqlite:///"))
        path.rename(path.with_suffix(".away"))
        path.mkdir()
        answers = [
            client.get("/v1/models", headers=bearer(admin)),  # without a model in this test
            client.post("/v1/keys", json={"scopes": ["admin"]}, headers=bearer(admin)),
        ]
        path.rmdir()
        path.with_suffix(".away").rename(path)
    codes = [(answer.status_code, answer.json()["error"]["code"]) for answer in answers]
    assert codes == [(503, "model_not_ready"), (503, "database_unavailable")]


@pytest.mark.postgres
def test_too_many_clients_of_postgresql_are_no_absence(postgres_server: Any) -> None:
    url = make_url(new_schema(postgres_server)).set(drivername="postgresql+psycopg")
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as owner:
        owner.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
        crowded = Database(url.set(username="crowded").render_as_string(hide_password=False))
        with pytest.raises(DatabaseOverloaded, match="too many connections"):
            crowded.ping()
        owner.execute("DROP ROLE crowded")
    crowded.close()


@pytest.mark.postgres
def test_a_statement_that_waits_for_a_lock_is_no_absence(
    postgres_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.database.engine.LOCK_TIMEOUT_S", _LOCK_S)
    database = Database(new_schema(postgres_server))
    with database.write() as session:
        session.execute(text("CREATE TABLE wanted (id integer)"))
    reader = database.reader(1)
    with database.write() as session:
        session.execute(text("LOCK TABLE wanted"))
        with pytest.raises(DatabaseOverloaded, match="statement timeout"), reader.read() as reading:
            reading.execute(text("SELECT * FROM wanted"))
    database.close()


@pytest.mark.postgres
def test_a_postgresql_that_ended_is_away_for_old_connections_and_for_new_ones() -> None:
    with running_postgres() as server:
        database = Database(new_schema(server).replace("postgresql:", "postgresql+psycopg:", 1))

        def ask_on() -> None:
            with database.read() as session:
                session.execute(text("SELECT 1"))
                crash(server)
                session.execute(text("SELECT 1"))

        with pytest.raises(DatabaseAway):
            ask_on()
        with pytest.raises(DatabaseAway):
            database.ping()
        database.close()
        server.ensure_postgres_running()
