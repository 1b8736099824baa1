"""Recognising keys without HTTP: start, outages of the database, and what is noted aside."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from app.access.acquaintances import Acquaintances
from app.access.doorkeeper import Doorkeeper, check_guarded
from app.access.last_use import LastUse
from app.access.scopes import LOCAL, Caller, Scope
from app.access.service import NewApiKey, create, revoke
from app.access.token import Token
from app.database.database import Database
from app.errors import (
    DatabaseAway,
    KeyExpired,
    KeyInvalid,
    KeyNeeded,
    KeyRevoked,
    Unguarded,
)
from app.main import Components
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.keyed import SetClock
from tests.support.service import load_nothing, running
from tests.support.waiting import wait_until

_WAIT_S = 10.0
_EVERYBODY = "0.0.0.0"  # noqa: S104


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def network(settings: Settings) -> Settings:
    settings.data_dir.mkdir()
    return settings.model_copy(update={"host": _EVERYBODY})


@pytest.fixture
def doorkeeper(network: Settings, database: Database, clock: SetClock) -> Iterator[Doorkeeper]:
    doorkeeper = Doorkeeper(network.model_copy(update={"host": "127.0.0.1"}), database, clock)
    yield doorkeeper
    doorkeeper.close()


def _make(
    settings: Settings,
    database: Database,
    clock: SetClock,
    lasting: timedelta | None = None,
    scope: Scope = Scope.QUERY,
) -> tuple[str, str]:
    """Id and header of a new key."""
    new = NewApiKey([scope], expires_at=None if lasting is None else clock() + lasting)
    with database.write() as session:
        key, token = create(session, settings, new, actor="test", now=clock())
    return key.id, f"Bearer {token.text}"


def _take_away(database: Database, folder: Path) -> None:
    """Have every new connection fail."""
    database.close()
    for file in folder.glob("errata.db*"):
        file.unlink()
    (folder / "errata.db").mkdir()


def test_a_service_that_others_reach_does_not_start_without_a_live_key(
    network: Settings, database: Database, clock: SetClock
) -> None:
    def start() -> None:
        check_guarded(network, database, clock())

    told = rf"'{_EVERYBODY}' can be reached by others.*errata keys create --scope admin"
    with pytest.raises(Unguarded, match=told):
        start()
    key_id, _ = _make(network, database, clock)
    start()
    with database.write() as session:
        revoke(session, key_id, actor="test", now=clock())
    with pytest.raises(Unguarded):
        start()
    _make(network, database, clock, timedelta(hours=1))
    start()
    clock.pass_by(timedelta(hours=1))
    with pytest.raises(Unguarded):
        start()


def test_the_application_itself_refuses_too_however_it_is_started(
    network: Settings, database: Database, clock: SetClock
) -> None:
    components = Components(clock=clock, start_runtime=load_nothing)
    with pytest.raises(Unguarded), running(network, components):
        pass
    _, header = _make(network, database, clock)
    with running(network, components) as client:
        assert client.get("/v1/edits").status_code == 401
        assert client.get("/v1/edits", headers={"Authorization": header}).status_code == 403


def test_the_bound_address_decides_and_not_who_asks(
    network: Settings, database: Database, clock: SetClock
) -> None:
    everybody = Doorkeeper(network, database, clock)
    with pytest.raises(KeyNeeded):
        everybody.admit(None)
    assert not everybody.is_open
    everybody.close()


def test_a_key_made_elsewhere_closes_the_door_at_the_next_request(
    network: Settings, database: Database, clock: SetClock, doorkeeper: Doorkeeper
) -> None:
    assert doorkeeper.admit(None) is LOCAL
    assert doorkeeper.admit("Bearer anything") is LOCAL
    key_id, header = _make(network, database, clock)
    assert not doorkeeper.is_open
    with pytest.raises(KeyNeeded):
        doorkeeper.admit(None)
    assert doorkeeper.admit(header).actor == f"key:{key_id}"


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER  {} "])
def test_the_header_is_read_as_the_standard_says(
    network: Settings, database: Database, clock: SetClock, doorkeeper: Doorkeeper, form: str
) -> None:
    key_id, header = _make(network, database, clock)
    key = header.removeprefix("Bearer ")
    assert doorkeeper.admit(form.format(key)).actor == f"key:{key_id}"


def test_keys_made_at_once_are_all_recognised(
    network: Settings, database: Database, clock: SetClock, doorkeeper: Doorkeeper
) -> None:
    start = threading.Barrier(4)

    def make(_: int) -> tuple[str, str]:
        start.wait()
        return _make(network, database, clock)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(make, range(4)))
    assert [doorkeeper.admit(header).actor for _, header in made] == [
        f"key:{key_id}" for key_id, _ in made
    ]


@only_sqlite
@pytest.mark.parametrize("scope", Scope)
def test_while_the_database_is_away_keys_confirmed_lately_may_query_and_no_more(
    network: Settings,
    database: Database,
    clock: SetClock,
    doorkeeper: Doorkeeper,
    tmp_path: Path,
    scope: Scope,
) -> None:
    key_id, header = _make(network, database, clock, scope=scope)
    assert doorkeeper.admit(header).scopes == {scope}
    _take_away(database, tmp_path)
    clock.pass_by(timedelta(seconds=59))
    if scope not in (Scope.QUERY, Scope.ADMIN):
        with pytest.raises(DatabaseAway):
            doorkeeper.admit(header)
        return
    caller = doorkeeper.admit(header)
    assert caller == Caller(f"key:{key_id}", frozenset({Scope.QUERY}), without_database=True)
    clock.pass_by(timedelta(seconds=1))
    with pytest.raises(DatabaseAway):
        doorkeeper.admit(header)


@only_sqlite
def test_while_the_database_is_away_who_is_not_known_stays_out(
    network: Settings,
    database: Database,
    clock: SetClock,
    doorkeeper: Doorkeeper,
    tmp_path: Path,
) -> None:
    _, known = _make(network, database, clock, timedelta(seconds=30))
    _, unseen = _make(network, database, clock)
    doorkeeper.admit(known)
    _take_away(database, tmp_path)
    doorkeeper.admit(known)
    with pytest.raises(DatabaseAway):
        doorkeeper.admit(unseen)
    with pytest.raises(DatabaseAway):
        doorkeeper.admit(f"Bearer {Token(Token.parse(known[7:]).kid, Token.draw().secret).text}")
    with pytest.raises(KeyNeeded):
        doorkeeper.admit(None)
    with pytest.raises(KeyInvalid):
        doorkeeper.admit(known[:-1])
    clock.pass_by(timedelta(seconds=30))
    with pytest.raises(KeyExpired):
        doorkeeper.admit(known)
    clock.pass_by(-timedelta(hours=1))  # a clock that was set back makes nothing last longer
    with pytest.raises(DatabaseAway):
        doorkeeper.admit(known)


@only_sqlite
@pytest.mark.parametrize("seen", [True, False])
def test_a_key_that_was_revoked_before_an_outage_stays_out(
    network: Settings,
    database: Database,
    clock: SetClock,
    doorkeeper: Doorkeeper,
    tmp_path: Path,
    seen: bool,
) -> None:
    key_id, header = _make(network, database, clock)
    doorkeeper.admit(header)
    with database.write() as session:
        revoke(session, key_id, actor="test", now=clock())
    if seen:
        with pytest.raises(KeyRevoked):
            doorkeeper.admit(header)
    else:
        doorkeeper.forget(key_id)
    _take_away(database, tmp_path)
    with pytest.raises(DatabaseAway):
        doorkeeper.admit(header)


def test_a_confirmation_that_a_revocation_overtook_is_not_remembered() -> None:
    clock = SetClock()
    known, caller = Acquaintances(clock), Caller("key:a", frozenset({Scope.QUERY}))
    before, other = known.confirmation(), known.confirmation()
    before.of("a", "digest", caller, None)
    assert known.find("a") is not None
    known.forget("a")
    other.of("a", "digest", caller, None)
    assert known.find("a") is None


def test_so_many_keys_are_remembered_and_the_newest_of_them() -> None:
    known = Acquaintances(SetClock())
    for number in range(2_000):
        caller = Caller(f"key:{number}", frozenset({Scope.QUERY}))
        known.confirmation().of(str(number), "digest", caller, None)
    found = [number for number in range(2_000) if known.find(str(number)) is not None]
    assert found == list(range(976, 2_000))


@only_sqlite
def test_an_open_door_is_shut_while_the_database_is_away(
    database: Database, doorkeeper: Doorkeeper, tmp_path: Path
) -> None:
    assert doorkeeper.admit(None) is LOCAL
    _take_away(database, tmp_path)
    with pytest.raises(DatabaseAway):
        doorkeeper.admit(None)


@only_sqlite
def test_a_door_that_nobody_came_to_yet_stays_shut_while_the_database_is_away(
    database: Database, doorkeeper: Doorkeeper, tmp_path: Path
) -> None:
    _take_away(database, tmp_path)
    with pytest.raises(DatabaseAway):
        doorkeeper.admit(None)


@only_sqlite
def test_a_use_that_cannot_be_noted_is_told_in_the_log_and_harms_nobody(
    database: Database, clock: SetClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _take_away(database, tmp_path)
    last_use = LastUse(database)
    last_use.note("kid", clock())
    wait_until(lambda: "last_use_not_noted key_id=kid" in caplog.text, _WAIT_S, what="the log")
    last_use.close()
