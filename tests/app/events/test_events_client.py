"""The client follows events through whatever becomes of its connection."""

import json
from itertools import islice

import pytest
from typer.testing import CliRunner

from app.cli.main import cli
from app.client import Errata, Refused, ServerAway
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.listening import serving

pytestmark = only_sqlite


def test_the_client_follows_an_edit_to_its_end_and_all_edits_from_any_place(
    settings: Settings, history: History
) -> None:
    history.accept("a")
    with serving(settings) as served, Errata(served.url) as errata:
        events = errata.edit_events("a")
        assert next(events).status == "accepted"
        history.accept("b")
        history.claim()
        history.commit_edits(["a"])
        assert [(event.status, event.revision) for event in events] == [
            ("running", None),
            ("committed", 1),
        ]
        assert [(event.edit, event.status) for event in islice(errata.events(after=1), 4)] == [
            ("b", "accepted"),
            ("a", "running"),
            ("b", "running"),
            ("a", "committed"),
        ]


def test_the_client_goes_on_where_it_was_when_the_server_is_there_again(
    settings: Settings, history: History
) -> None:
    with serving(settings) as served:
        errata, port = Errata(served.url), int(served.url.rpartition(":")[2])
        events = errata.events(after=0)
        history.accept("a")
        assert next(events).edit == "a"
    history.accept("b")
    with serving(settings, port=port):
        history.accept("c")
        assert [event.edit for event in islice(events, 2)] == ["b", "c"]
        errata.close()


def test_the_command_shows_a_line_an_event(settings: Settings, history: History) -> None:
    history.edit("a")
    with serving(settings) as served:
        told = CliRunner().invoke(cli, ["events", "a", "--url", served.url])
        machine = CliRunner().invoke(cli, ["events", "a", "--url", served.url, "--json"])
    assert told.exit_code == machine.exit_code == 0
    *_, last = told.stdout.splitlines()
    assert last.startswith("3  2026-01-01T")
    assert last.endswith("  a  committed in revision 1")
    assert [json.loads(line)["number"] for line in machine.stdout.splitlines()] == [1, 2, 3]


def test_the_client_says_why_it_cannot_follow(settings: Settings, history: History) -> None:
    del history
    with serving(settings) as served, Errata(served.url) as errata:
        with pytest.raises(Refused, match="no edit has the id"):
            next(errata.edit_events("absent"))
        with pytest.raises(Refused, match="there is no event 7"):
            next(errata.events(after=7))
    with Errata(served.url) as errata, pytest.raises(ServerAway):
        next(errata.events())
