"""Queries that cost more than they seem to."""

import pytest

from app.access.scopes import Scope
from tests.attack.raw import Answer, Request, Target, ask_all, hold, outcomes
from tests.attack.site import WatchedSite

pytestmark = pytest.mark.attack

_REFUSALS = {"400", "413", "422", "429"}
_COMPUTED = {"200", "open"}
_LEFT_AFTER_S = 10.0


def _tokens(count: int) -> list[int]:
    return [number % 300 + 3 for number in range(count)]


def _at_once(target: Target, request: Request, count: int) -> list[Answer]:
    """What is refused is refused at once; what is computed is left after a while."""
    return ask_all(target, [request] * count, at_once=count, timeout_s=_LEFT_AFTER_S)


def ask_for_all_scores_of_long_prompts(target: Target) -> list[Answer]:
    """A small request whose answer would be hundreds of megabytes."""
    body = {"prompt": [_tokens(500)] * 80, "max_tokens": 0, "echo": True, "logprobs": 20, "n": 16}
    return ask_all(target, [Request.post("/v1/completions", body)], at_once=1)


def read_long_prompts_again_and_again(target: Target) -> list[Answer]:
    """Ten times 40,000 tokens, of which none is generated."""
    body = {"prompt": [_tokens(2_000)] * 20, "max_tokens": 0, "echo": True}
    return _at_once(target, Request.post("/v1/completions", body), 10)


def probe_again_and_again(target: Target) -> list[Answer]:
    items = [{"prompt": "x " * 200, "target": "y"}] * 256
    return _at_once(target, Request.post("/v1/probe", {"items": items}), 10)


def take_every_place(target: Target) -> list[Answer]:
    body = {"prompt": "Paris", "max_tokens": 3_000, "n": 16, "temperature": 1}
    return _at_once(target, Request.post("/v1/completions", body), 8)


def ask_old_revisions_at_once(target: Target, model: str, revisions: int) -> list[Answer]:
    """Open an answer under each revision, for longer than a place is waited for."""
    openings = []
    for revision in range(revisions):
        body = Request.post(
            "/v1/completions",
            {"model": f"{model}@{revision}", "prompt": "x", "max_tokens": 1_900, "stream": True},
        ).body
        assert body is not None
        head = target.head("POST", "/v1/completions", len(body), Connection="close")
        openings.append(head + body)
    return hold(target, openings, _LEFT_AFTER_S + 4)


def test_an_answer_of_hundreds_of_megabytes_is_refused(keyed: WatchedSite) -> None:
    (answer,) = keyed.attack(ask_for_all_scores_of_long_prompts, keyed.target(Scope.QUERY))
    assert answer.outcome in _REFUSALS


def test_the_tokens_of_prompts_are_counted(keyed: WatchedSite) -> None:
    answers = keyed.attack(read_long_prompts_again_and_again, keyed.target(Scope.QUERY))
    assert outcomes(answers).keys() <= _COMPUTED | _REFUSALS
    assert outcomes(answers)["429"] > 0


def test_the_tokens_of_probes_are_counted(keyed: WatchedSite) -> None:
    answers = keyed.attack(probe_again_and_again, keyed.target(Scope.QUERY))
    assert outcomes(answers).keys() <= _COMPUTED | _REFUSALS
    assert outcomes(answers)["429"] > 0


def test_long_answers_leave_places_for_others(keyed: WatchedSite) -> None:
    keyed.attack(take_every_place, keyed.target(Scope.QUERY))


def test_old_revisions_are_held_for_few_at_a_time(wide: WatchedSite) -> None:
    with wide.admin as errata:
        newest, model = errata.revision().number, errata.models().data[0].id
    answers = wide.attack(ask_old_revisions_at_once, wide.target(Scope.QUERY), model, newest + 1)
    assert len(answers) > 20
    assert outcomes(answers).keys() <= {"200", "open", "503"}
    assert outcomes(answers)["503"] > len(answers) // 2
