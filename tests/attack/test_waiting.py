"""Requests that take long, many at a time, from one caller."""

import pytest

from app.access.scopes import Scope
from tests.attack.attackers import Attack
from tests.attack.raw import Answer, Request, Target, ask_all, hold, outcomes, statuses
from tests.attack.site import WatchedSite

pytestmark = pytest.mark.attack

_WAITERS = 150
_WAITERS_PER_CALLER = 64  # the others are told at once that their edits are accepted
_LISTENERS = 120
_VERIFIERS = 17
_HELD_S = 6.0
_BUSY = {"429", "503"}


def post_edits_and_wait(target: Target) -> list[Answer]:
    openings = []
    for number in range(_WAITERS):
        fact = {"subject": f"Waiting place {number}", "prompt": "{} is", "target": "Rome"}
        body = Request.post("/v1/edits", fact).body or b""
        head = target.head("POST", "/v1/edits", len(body), Prefer="wait=60", Connection="close")
        openings.append(head + body)
    return hold(target, openings, _HELD_S)


def verify_many_times_at_once(target: Target) -> list[Answer]:
    request = Request("GET", "/v1/ledger/verify")
    return ask_all(target, [request] * _VERIFIERS, at_once=_VERIFIERS, timeout_s=60.0)


def verify_and_leave(target: Target) -> list[Answer]:
    """Ask for what takes long, and close at once: the work must not pile up."""
    for path in ("/v1/ledger/verify", "/v1/ledger/bundle", "/v1/ledger/export") * 20:
        with target.connect() as connection:
            connection.sendall(target.head("GET", path))
    return [Answer("left")] * 60


def fetch_bundles_at_once(target: Target) -> list[Answer]:
    requests = [Request("GET", "/v1/ledger/bundle"), Request("GET", "/v1/ledger/export")] * 8
    return ask_all(target, requests, at_once=16, timeout_s=60.0)


def listen_with_every_connection(target: Target, other: Target) -> list[Answer]:
    """One caller listens as often as it can; what another one is then told."""
    held = [target.connect() for _ in range(_LISTENERS)]
    for connection in held:
        connection.sendall(target.head("GET", "/v1/events"))
    began = [statuses(connection.recv(65_536)) for connection in held]
    last = hold(other, [other.head("GET", "/v1/events")], 2.0)
    for connection in held:
        connection.close()
    return [Answer(status) for found in began for status in found] + last


def test_edits_that_are_waited_for_leave_room_for_others(keyed: WatchedSite) -> None:
    answers = keyed.attack(post_edits_and_wait, keyed.target(Scope.EDIT))
    assert outcomes(answers).keys() <= {"200", "202", "open"}
    assert outcomes(answers)["202"] >= _WAITERS - _WAITERS_PER_CALLER


@pytest.mark.parametrize(
    "attack", [verify_many_times_at_once, fetch_bundles_at_once], ids=["verify", "bundle"]
)
def test_evidence_is_worked_out_for_few_at_a_time(
    keyed: WatchedSite, attack: Attack[Target]
) -> None:
    answers = keyed.attack(attack, keyed.target(Scope.AUDIT))
    assert outcomes(answers).keys() <= {"200", *_BUSY}
    assert outcomes(answers)["200"] > 0


def test_nothing_is_worked_out_for_those_who_have_left(keyed: WatchedSite) -> None:
    keyed.attack(verify_and_leave, keyed.target(Scope.AUDIT))


def test_one_caller_cannot_take_every_place_of_listeners(keyed: WatchedSite) -> None:
    target, other = keyed.target(Scope.EDIT), keyed.target(Scope.EDIT)
    *answers, last = keyed.attack(listen_with_every_connection, target, other)
    assert outcomes(answers).keys() == {"200", "429"}
    assert last.outcome in {"200", "open"}
