"""A browser's `EventSource`, which sends no header, opens a stream by a ticket."""

import logging
from collections.abc import Iterator
from datetime import timedelta

import httpx2
import pytest

from app.access.ticket import LIFE, Ticket
from app.access.token import Pepper
from app.database.database import Database
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.keyed import Keyed, bearer, first_key, keyed, kid
from tests.support.listening import listening, serving

TICKETS = "/v1/events/tickets"
ALL = "/v1/events"

pytestmark = only_sqlite


@pytest.fixture
def service(settings: Settings) -> Iterator[Keyed]:
    with keyed(settings) as service:
        yield service


def ticket_for(service: Keyed, key: str) -> str:
    answer = service.client.post(TICKETS, headers=bearer(key))
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    return str(answer.json()["ticket"])


def code(service: Keyed, path: str) -> tuple[int, str]:
    answer = service.client.get(path)
    return answer.status_code, answer.json()["error"]["code"]


def test_a_ticket_opens_streams_alone_and_for_half_a_minute(service: Keyed) -> None:
    ticket = ticket_for(service, service.key("edit"))
    absent = f"/v1/edits/absent/events?ticket={ticket}"
    assert code(service, absent) == (404, "unknown_edit")
    for path in ("/v1/edits", "/v1/edits/absent", "/v1/models", "/v1/revisions"):
        assert code(service, f"{path}?ticket={ticket}") == (401, "key_needed")
    posted = service.client.post(f"{TICKETS}?ticket={ticket}")
    assert posted.json()["error"]["code"] == "key_needed"
    service.clock.pass_by(LIFE - timedelta(seconds=1))
    assert code(service, absent) == (404, "unknown_edit")
    service.clock.pass_by(timedelta(seconds=1))
    assert code(service, absent) == (401, "ticket_invalid")
    assert code(service, f"{ALL}?ticket={ticket}") == (401, "ticket_invalid")


def test_a_ticket_is_worth_what_its_key_is(service: Keyed) -> None:
    assert service.client.post(TICKETS).status_code == 401
    refused = service.client.post(TICKETS, headers=bearer(service.key("query")))
    assert refused.json()["error"]["code"] == "scope_missing"
    key = service.key("edit")
    ticket = ticket_for(service, key)
    service.client.delete(f"/v1/keys/{kid(key)}", headers=bearer(service.admin))
    assert code(service, f"{ALL}?ticket={ticket}") == (401, "key_revoked")


def test_a_forged_ticket_opens_nothing(service: Keyed, settings: Settings) -> None:
    key_id = kid(service.admin)
    good = Ticket.parse(ticket_for(service, service.admin))
    later = Ticket.issue(Pepper(b"x" * 32), key_id, service.clock() + timedelta(days=1))
    for forged in (
        later.text,
        f"{later.body}_{good.signature}",
        good.text.replace(key_id, kid(service.key("edit"))),
        good.text[:-1],
        service.admin,
        "",
        "none",
    ):
        status, told = code(service, f"/v1/edits/absent/events?ticket={forged}")
        assert (status, told) in ((401, "ticket_invalid"), (401, "key_invalid"))
    assert Pepper.of(settings, make=False).seal(good.body) == good.signature


def test_a_header_goes_before_a_ticket(service: Keyed) -> None:
    path = f"/v1/edits/absent/events?ticket={ticket_for(service, service.admin)}"
    refused = service.client.get(path, headers=bearer(service.key("query")))
    assert refused.json()["error"]["code"] == "scope_missing"


def test_an_opened_stream_outlives_its_ticket_but_not_its_key(
    settings: Settings, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    history, more = History(database), {"keep_alive_s": 0.1}
    caplog.set_level(logging.DEBUG)
    with serving(settings.model_copy(update=more)) as served:
        admin = first_key(settings)
        made = httpx2.post(
            f"{served.url}/v1/keys", json={"scopes": ["edit"]}, headers=bearer(admin)
        ).json()
        ticket = Ticket.issue(
            Pepper.of(settings, make=False),
            made["id"],
            served.services.clock() - LIFE + timedelta(seconds=2),
        )
        history.accept("a")
        with listening(f"{served.url}{ALL}?ticket={ticket.text}&after=0") as events:
            assert next(events).short == ("a", "accepted", None)
            while served.services.clock() < ticket.ends_at:
                next_event = f"b{served.services.clock().timestamp()}"
                history.accept(next_event)
                assert next(events).short == (next_event, "accepted", None)
            history.accept("c")
            assert next(events).short == ("c", "accepted", None)
            revoked = f"{served.url}/v1/keys/{made['id']}"
            httpx2.delete(revoked, headers=bearer(admin)).raise_for_status()
            assert not list(events)
    ours = [record for record in caplog.records if not record.name.startswith("http")]
    assert any(record.name == "app.http.watch" for record in ours)
    assert ticket.signature not in " ".join(record.getMessage() for record in ours)


def test_where_no_key_is_needed_no_ticket_is(settings: Settings, history: History) -> None:
    history.accept("a")
    with serving(settings) as served:
        told = httpx2.post(served.url + TICKETS).json()
        assert told == {"ticket": "none", "expires_at": None}
        with listening(f"{served.url}{ALL}?ticket=none&after=0") as events:
            assert next(events).short == ("a", "accepted", None)


def test_after_is_what_last_event_id_is_and_the_header_goes_first(
    settings: Settings, history: History
) -> None:
    for name in ("a", "b", "c"):
        history.accept(name)
    with serving(settings) as served:
        with listening(f"{served.url}{ALL}?after=1") as events:
            assert next(events).data["edit"] == "b"
        with listening(f"{served.url}{ALL}?after=0", after=2) as events:
            assert next(events).data["edit"] == "c"
        refused = httpx2.get(f"{served.url}{ALL}?after=9")
        assert (refused.status_code, refused.json()["error"]["param"]) == (422, "after")
