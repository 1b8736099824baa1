"""Events over real sockets: everyone hears everything, once, in order, also after a break."""

import gc
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import httpx2
import pytest

from app.database.database import Database
from app.database.tables.edits import EditStatus
from app.events.schemas import EventResource
from app.operations.lifecycle import cancel, give_up, reject, requeue, try_out
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.keyed import bearer, first_key
from tests.support.listening import Ear, Served, headers, listening, serving
from tests.support.waiting import wait_until

ALL = "/v1/events"
SOON_S = 10.0


@pytest.fixture
def served(settings: Settings, database: Database) -> Iterator[Served]:
    del database  # it was migrated
    with serving(settings) as served:
        yield served


def live_a_little(history: History) -> list[tuple[str, str, int | None]]:
    """Give edits every status they can have, and undo some; what a listener is to be told of it."""
    history.edit("a", "b")
    history.edit("c", supersedes="a")
    history.undo("rollback", 1, restored=["a"], removed=["c"])
    for edit_id in ("lost", "false", "tried"):
        history.accept(edit_id, dry_run=edit_id == "tried")
        history.claim(1)
        with history.database.write() as session:
            now = history.clock()
            if edit_id == "lost":
                give_up(session, edit_id, "crashed", now=now, actor="worker")
            elif edit_id == "false":
                reject(session, edit_id, "already_true", now=now, actor="worker")
            else:
                try_out(session, edit_id, now=now, actor="worker", report={})
    with history.database.write() as session:
        requeue(session, "lost", now=history.clock(), actor="client")
    with history.database.write() as session:
        cancel(session, "lost", now=history.clock(), actor="client")
    return [
        ("a", "accepted", None),
        ("b", "accepted", None),
        ("a", "running", None),
        ("b", "running", None),
        ("a", "committed", 1),
        ("b", "committed", 1),
        ("c", "accepted", None),
        ("c", "running", None),
        ("c", "committed", 2),
        ("a", "superseded", 2),
        ("rollback", "accepted", None),
        ("rollback", "running", None),
        ("rollback", "committed", 3),
        ("a", "committed", 3),
        ("c", "reverted", 3),
        ("lost", "accepted", None),
        ("lost", "running", None),
        ("lost", "dead", None),
        ("false", "accepted", None),
        ("false", "running", None),
        ("false", "rejected", None),
        ("tried", "accepted", None),
        ("tried", "running", None),
        ("tried", "tried", None),
        ("lost", "accepted", None),
        ("lost", "cancelled", None),
    ]


def test_every_status_is_told_once_and_a_break_after_any_event_loses_and_doubles_nothing(
    served: Served, history: History
) -> None:
    expected = live_a_little(history)
    events = served.told(ALL, after=0, most=len(expected))
    assert [event.short for event in events] == expected
    assert {event.event for event in events} == {*EditStatus, "rollback"}
    assert {event.data["kind"] for event in events} == {"edit", "rollback"}
    assert all(event.data["edit"] in (event.data["operation"], None) for event in events)
    for k, event in enumerate(events[:-1]):
        assert served.told(ALL, after=event.id, most=len(events) - k - 1) == events[k + 1 :]
    for edit_id in ("a", "b", "c", "lost", "false", "tried"):
        own = [event for event in events if event.data["edit"] == edit_id]
        assert own[-1].event == history.status(edit_id)
        path = f"/v1/edits/{edit_id}/events"
        for k, after in enumerate([None, *(event.id for event in own[:-1])]):
            assert served.told(path, after=after) == own[k:]
        assert httpx2.get(served.url + path).text.endswith("event: end\ndata: {}\n\n")
        answer = httpx2.get(served.url + path, headers=headers(own[-1].id))
        assert (answer.status_code, answer.content) == (204, b"")
    reasons = [event.data["reason"] for event in events if event.data["reason"]]
    assert reasons == ["crashed", "already_true", "dry_run", "cancelled"]


def test_fifty_listeners_hear_the_same_while_it_happens(served: Served, history: History) -> None:
    ears = [Ear(served.url + ALL, 26) for _ in range(50)]
    assert all(ear.opened.wait(SOON_S) for ear in ears)
    assert served.hub.listeners == 50
    expected = live_a_little(history)
    first, *others = [ear.all() for ear in ears]
    assert [event.short for event in first] == expected
    assert all(heard == first for heard in others)
    wait_until(lambda: served.hub.listeners == 0, SOON_S, what="every place free again")
    wait_until(lambda: not _events_in_memory(), SOON_S, what="nothing kept for nobody")


def _events_in_memory() -> int:
    gc.collect()
    return sum(type(thing) is EventResource for thing in gc.get_objects())


_SERVER = """
import socket, sys
from app.main import Components, create_app
from app.cli.serve import StreamingServer, http_config
from app.settings import Settings
from tests.support.service import load_nothing

settings = Settings.model_validate_json(sys.argv[1])
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
app = create_app(settings, components=Components(start_runtime=load_nothing))
StreamingServer(http_config(app)).run(sockets=[listening])
"""


@only_sqlite
def test_a_process_tells_what_another_writes_and_ends_in_time_while_it_is_listened_to(
    settings: Settings, history: History
) -> None:
    command = [sys.executable, "-c", _SERVER, settings.model_dump_json()]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        streams = [stack.enter_context(listening(url + ALL)) for _ in range(3)]
        history.accept("a")
        assert [next(stream).short for stream in streams] == [("a", "accepted", None)] * 3
        process.send_signal(signal.SIGTERM)
        assert [next(stream, None) for stream in streams] == [None] * 3
        assert process.wait(SOON_S) == -signal.SIGTERM  # uvicorn raises it again when it is done


@only_sqlite
def test_what_cannot_be_followed_is_refused_before_the_stream(
    served: Served, history: History
) -> None:
    history.accept("a")
    for path in (ALL, "/v1/edits/a/events"):
        for last in ("x", "-1", "1.5", "", "99999999999", "2"):
            answer = httpx2.get(served.url + path, headers=headers(last))
            assert answer.status_code == 422, last
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["error"]["param"].lower() == "last-event-id"
    answer = httpx2.get(f"{served.url}/v1/edits/absent/events")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_edit")
    wait_until(lambda: served.hub.listeners == 0, SOON_S)


@only_sqlite
def test_there_are_so_many_places_and_who_leaves_frees_one_at_once(settings: Settings) -> None:
    with (
        serving(settings.model_copy(update={"max_listeners": 2})) as served,
        listening(served.url + ALL),
    ):
        with listening(served.url + ALL):
            answer = httpx2.get(served.url + ALL)
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
            assert answer.json()["error"]["code"] == "too_many_listeners"
        wait_until(lambda: served.hub.listeners == 1, SOON_S, what="a free place")
        with listening(served.url + ALL):
            assert served.hub.listeners == 2


@only_sqlite
def test_silence_is_filled_and_a_revoked_key_hears_no_more(settings: Settings) -> None:
    with serving(settings.model_copy(update={"keep_alive_s": 0.1})) as served:
        keys, admin = f"{served.url}/v1/keys", first_key(settings)
        made = httpx2.post(keys, json={"scopes": ["edit"]}, headers=bearer(admin)).json()
        with httpx2.stream("GET", served.url + ALL, headers=bearer(made["key"])) as response:
            lines = response.iter_lines()
            assert [next(lines) for _ in range(5)] == ["id: 0", "retry: 1000", "", ": ping", ""]
            httpx2.delete(f"{keys}/{made['id']}", headers=bearer(admin)).raise_for_status()
            assert set(lines) <= {": ping", ""}


@only_sqlite
def test_who_is_cut_off_before_the_first_event_comes_back_to_the_same_place(
    served: Served, history: History
) -> None:
    history.accept("a")
    with httpx2.stream("GET", served.url + ALL) as response:
        first = next(response.iter_lines())
    assert first == "id: 1"
