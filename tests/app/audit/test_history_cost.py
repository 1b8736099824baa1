"""Endpoints whose cost grows with history: on threads of their own, in pages, and shared."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
import rfc8785
from sqlalchemy import QueuePool, event

from app.audit.auditing import audit
from app.client import Errata
from app.database.database import Database
from app.database.tables.ledger import EntryKind
from app.errors import ClientGone
from app.kit.canonical import JsonObject
from app.kit.paging import PAGE_BYTES
from app.ledger import repository
from app.ledger.artefacts import ArtefactStore
from app.ledger.chain import link
from app.ledger.prefix import VerifiedPrefix
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.listening import serving
from tests.support.tampering import tampering

_ENTRIES = 1_500
_SOON_S = 60.0


def _grow(database: Database, count: int, payload: JsonObject | None = None) -> None:
    """Append so many entries that no row stands for: a label that comes and goes."""
    with database.write() as session:
        newest = repository.last(session)
        assert newest is not None
        index, head = newest.index, newest.hash
        for number in range(index + 1, index + 1 + count):
            entry = link(
                index=number,
                kind=EntryKind.SNAPSHOT.value,
                payload=payload
                or {"label": "x", "revision": 0, "removed": (number - index) % 2 == 0},
                actor="cli",
                at="2026-01-01T00:00:00.000000Z",
                prev_hash=head,
            )
            repository.add_all(session, [entry])
            head = entry.hash


@contextmanager
def reading(database: Database) -> Iterator[list[int]]:
    """How many read transactions were open together, at the begin of each."""
    open_now, seen = 0, list[int]()

    def begin(_: object) -> None:
        nonlocal open_now
        open_now += 1
        seen.append(open_now)

    def end(_: object) -> None:
        nonlocal open_now
        open_now -= 1

    for name, listener in (("begin", begin), ("rollback", end), ("commit", end)):
        event.listen(database._readers[0].engine, name, listener)
    yield seen
    for name, listener in (("begin", begin), ("rollback", end), ("commit", end)):
        event.remove(database._readers[0].engine, name, listener)


def test_a_check_reads_in_short_transactions_one_after_the_other(
    history: History, artefacts: ArtefactStore
) -> None:
    _grow(history.database, _ENTRIES)
    with reading(history.database) as seen:
        verdict = audit(history.database, artefacts)
    assert (verdict.ok, verdict.entries) == (True, _ENTRIES + 1)
    assert len(seen) >= 2 * _ENTRIES // 200
    assert max(seen) == 1


def test_what_is_appended_during_a_check_is_checked_too(
    history: History, artefacts: ArtefactStore
) -> None:
    _grow(history.database, 500)
    appended = list[int]()

    def append(_: object) -> None:
        appended.append(1)
        if len(appended) == 2:  # between two pages
            history.accept("meanwhile")

    event.listen(history.database._readers[0].engine, "begin", append)
    verdict = audit(history.database, artefacts)
    event.remove(history.database._readers[0].engine, "begin", append)
    assert (verdict.ok, verdict.entries) == (True, 502)


def test_a_cut_chain_is_found_however_it_is_read(
    history: History, artefacts: ArtefactStore
) -> None:
    history.edit("a")
    entries = audit(history.database, artefacts).entries
    with tampering(history.database) as execute:
        execute('DELETE FROM ledger_entries WHERE "index" = :index', index=entries - 1)
    verdict = audit(history.database, artefacts)
    assert (verdict.ok, verdict.first_bad) == (False, entries - 1)


def test_a_second_check_makes_nothing_canonical_that_the_first_had_verified(
    history: History, artefacts: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _grow(history.database, 500)
    prefix, made, dumps = VerifiedPrefix(), list[object](), rfc8785.dumps

    def count(value: Any) -> bytes:
        made.append(value)
        return dumps(value)

    monkeypatch.setattr(rfc8785, "dumps", count)
    first = audit(history.database, artefacts, prefix=prefix)
    assert (first.ok, len(made) >= first.entries) == (True, True)
    _grow(history.database, 2)
    made.clear()
    second = audit(history.database, artefacts, prefix=prefix)
    assert (second.ok, second.entries) == (True, first.entries + 2)
    assert len(made) < 10


def test_a_check_ends_when_it_is_told_to(history: History, artefacts: ArtefactStore) -> None:
    _grow(history.database, 500)
    stop = threading.Event()
    pages = 0

    def count(_: object) -> None:
        nonlocal pages
        pages += 1
        if pages == 2:
            stop.set()

    event.listen(history.database._readers[0].engine, "begin", count)
    with pytest.raises(ClientGone):
        audit(history.database, artefacts, stop)
    event.remove(history.database._readers[0].engine, "begin", count)
    assert pages == 2


@only_sqlite
def test_many_checks_at_the_same_time_are_few_runs_and_others_are_answered(
    settings: Settings,
) -> None:
    with serving(settings) as served, httpx2.Client(base_url=served.url, timeout=_SOON_S) as http:
        History(served.services.database)
        _grow(served.services.database, _ENTRIES)
        with ThreadPoolExecutor(20) as callers:
            asking = [callers.submit(http.get, "/v1/ledger/verify") for _ in range(20)]
            while not all(answer.done() for answer in asking):
                assert http.get("/v1/edits?limit=1").is_success
                assert http.get("/v1/ledger?limit=1").is_success
        verdicts = {answer.result().text for answer in asking}
        assert len(verdicts) == 1
        assert json.loads(verdicts.pop())["ok"]
        runs = _metric(http, 'errata_verifications_total{result="ok"}')
        assert 1 <= runs < 20
        # Whatever the callers did, the one thread does one run at a time.
        pool = served.services.database._readers[0].engine.pool
        assert isinstance(pool, QueuePool)
        assert pool.checkedout() == 0


def _metric(http: httpx2.Client, name: str) -> float:
    for line in http.get("/metrics").text.splitlines():
        if line.startswith(name):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no series {name}")


@only_sqlite
def test_a_caller_may_fetch_few_files_of_history_at_a_time(settings: Settings) -> None:
    with serving(settings) as served, httpx2.Client(base_url=served.url, timeout=_SOON_S) as http:
        History(served.services.database)
        _grow(served.services.database, 100, {"text": "x" * 100_000})
        with (
            http.stream("GET", "/v1/ledger/export") as first,
            http.stream("GET", "/v1/ledger/bundle") as second,
        ):
            assert (first.status_code, second.status_code) == (200, 200)
            refused = http.get("/v1/ledger/export")
            assert refused.status_code == 429
            assert "of 2 downloads of history at a time 0 are left" in refused.json()["detail"]
            lines = [line for line in first.iter_lines() if line]
        assert len(lines) == 101


@only_sqlite
def test_a_page_of_the_ledger_is_bounded_by_bytes_and_all_pages_hold_all_of_it(
    settings: Settings,
) -> None:
    with serving(settings) as served, httpx2.Client(base_url=served.url, timeout=_SOON_S) as http:
        History(served.services.database)
        _grow(served.services.database, 40, {"text": "x" * 100_000})
        first = http.get("/v1/ledger?limit=1000")
        assert len(first.content) < PAGE_BYTES + 200_000
        assert first.json()["next"] is not None
        indices = [entry.index for entry in Errata(http=http).ledger()]
        assert indices == list(range(41))
