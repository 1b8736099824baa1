"""Keys of others: revoked, stolen, or with requests that are somebody else's."""

import pytest

from app.access.scopes import Scope
from tests.attack.raw import Answer, Request, Target, ask, ask_all, outcomes
from tests.attack.site import WatchedSite
from tests.support.waiting import wait_until

pytestmark = pytest.mark.attack

_QUEUED = 80
_TIMEOUT_S = 60.0
_NEW_KEY = Request.post("/v1/keys", {"scopes": ["admin"], "name": "back again"})


def come_back_while_it_is_busy(auditor: Target, revoked: Target) -> list[Answer]:
    """Make everything wait for the database, and try the revoked key all the while."""
    loads = [Request("GET", "/v1/ledger/verify"), Request("GET", "/v1/ledger/bundle")] * 20
    attempts = ask_all(revoked, [_NEW_KEY], at_once=1)
    for _ in range(3):
        ask_all(auditor, loads, at_once=40, timeout_s=2.0)
        attempts += ask_all(revoked, [_NEW_KEY] * 5, at_once=5, timeout_s=_TIMEOUT_S)
    return attempts


def test_a_revoked_key_stays_out_while_the_server_is_busy(keyed: WatchedSite) -> None:
    with keyed.admin as admin:
        leaver = admin.keys.create([Scope.ADMIN], name="leaver")
        revoked = keyed.reached_by(leaver.key)
        assert ask(revoked, Request("GET", "/v1/keys?limit=1")).outcome == "200"
        admin.keys.revoke(leaver.id)
    answers = keyed.attack(come_back_while_it_is_busy, keyed.target(Scope.AUDIT), revoked)
    assert outcomes(answers).keys() <= {"401", "503"}
    assert ask(revoked, _NEW_KEY).outcome == "401"


def queue_edits_and_be_revoked(stolen: Target, admin: Target, key_id: str) -> list[Answer]:
    edits = [
        {"subject": f"Stolen place {number}", "prompt": "{} is", "target": "Rome"}
        for number in range(_QUEUED)
    ]
    revocation = Request("DELETE", f"/v1/keys/{key_id}?cancel_queued=true")
    return [
        ask(stolen, Request.post("/v1/edit-batches", {"edits": edits})),
        ask(admin, revocation),
    ]


def test_what_a_revoked_key_has_queued_is_cancelled(keyed: WatchedSite) -> None:
    with keyed.admin as admin:
        stolen = admin.keys.create([Scope.EDIT], name="stolen")
        queued, revoked = keyed.attack(
            queue_edits_and_be_revoked,
            keyed.reached_by(stolen.key),
            keyed.target(Scope.ADMIN),
            stolen.id,
        )
        assert (queued.outcome, revoked.outcome) == ("202", "200")
        batch = queued.headers["location"].rpartition("/")[2]
        wait_until(
            lambda: (
                not {edit.status for edit in admin.batch(batch).edits} & {"accepted", "running"}
            ),
            _TIMEOUT_S,
            what="the end of every edit of the revoked key",
        )
        ended = [edit.status for edit in admin.batch(batch).edits]
    assert ended.count("cancelled") > _QUEUED // 2


def test_an_idempotency_key_is_its_callers_own(keyed: WatchedSite) -> None:
    victim, mallory = keyed.target(Scope.EDIT), keyed.target(Scope.EDIT)
    fact = {"subject": "Grace Hopper", "prompt": "{} worked for", "target": "the Navy"}
    mine = Request.post("/v1/edits", fact, Idempotency_Key="import-1")
    other = Request.post("/v1/edits", fact | {"target": "IBM"}, Idempotency_Key="import-1")
    assert ask(mallory, other).outcome == "202"
    first = ask(victim, mine)
    assert first.outcome == "202"
    assert ask(victim, mine).headers["location"] == first.headers["location"]  # its own replay
    squatted = ask(mallory, mine)
    assert squatted.outcome == "422"  # its own key, with another body
