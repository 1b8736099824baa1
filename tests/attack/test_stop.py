"""A server that is told to stop while it is attacked in every way at once."""

import signal
import time
from pathlib import Path

import psutil
import pytest

from app.access.scopes import Scope
from tests.attack.attackers import Attackers
from tests.attack.raw import Answer, Request, Target, ask_all, hold
from tests.attack.site import keyed_site, prepared
from tests.support.waiting import wait_until

pytestmark = pytest.mark.attack

_GRACE_S = 10.0
_SLACK_S = 3.0
_BUSY_S = 2.0  # of computing
_BUSY_SOON_S = 60.0
_HELD_S = 90.0


def ask_for_everything_at_once(target: Target) -> list[Answer]:
    parts = b'{"messages": [{"role": "user", "content": [' + b"{}," * 1_000_000 + b"{}]}]}"
    long = {"prompt": "x", "max_tokens": 5_000, "n": 16}
    probes = {"items": [{"prompt": "x " * 200, "target": "y"}] * 256}
    requests = [
        Request.post("/v1/chat/completions", parts),
        Request.post("/v1/completions", long),
        Request.post("/v1/probe", probes),
        Request("GET", "/v1/ledger/verify"),
        Request("GET", "/v1/ledger/bundle"),
        Request.post("/v1/edits", _fact(0), Prefer="wait=60"),
    ]
    return ask_all(target, requests * 6, at_once=36, timeout_s=_HELD_S)


def hold_everything_open(target: Target) -> list[Answer]:
    stream = b'{"prompt": "x", "max_tokens": 5000, "stream": true}'
    openings = [
        target.head("GET", "/v1/events"),
        target.head("POST", "/v1/completions", len(stream)) + stream,
        target.head("POST", "/v1/completions", 1_000) + b"{",
        b"GET /healthz HT",
    ]
    return hold(target, openings * 10, _HELD_S)


def _fact(number: int) -> dict[str, str]:
    return {"subject": f"Place {number}", "prompt": "{} is", "target": "Rome"}


def test_a_server_ends_in_time_whatever_is_asked_of_it(
    tmp_path: Path, attacking: Attackers
) -> None:
    model, data_dir = prepared(tmp_path)
    with keyed_site(data_dir, model) as site:
        process, target = site.server.process, site.target(Scope.QUERY, Scope.EDIT, Scope.AUDIT)
        busy = psutil.Process(process.pid)
        idle_s = busy.cpu_times().user
        attacks = [
            attacking.begin(attack, target)
            for attack in (ask_for_everything_at_once, hold_everything_open)
        ]
        wait_until(
            lambda: busy.cpu_times().user > idle_s + _BUSY_S, _BUSY_SOON_S, what="a server at work"
        )
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(6 * _GRACE_S)
        assert time.monotonic() - started < _GRACE_S + _SLACK_S
        for attack in attacks:
            attack.result(_HELD_S)
