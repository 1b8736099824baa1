"""Log-probabilities: how many an answer may have, and that many of them hold nobody up."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from app.resident.resident import Resident
from tests.acceptance.query.conftest import listening, service_around
from tests.support.local_client import local_client
from tests.support.waiting import wait_until

_MOST = 5_000
_READY_S = 30.0


@pytest.fixture(scope="module")
def scored(resident: Resident, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    app = service_around(resident, tmp_path_factory.mktemp("scored"), max_scores=_MOST)
    with local_client(app) as client:
        wait_until(lambda: client.get("/readyz").is_success, _READY_S)
        yield client


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": [[5] * 100] * 10, "max_tokens": 0, "echo": True, "logprobs": 4, "n": 2},
        {"prompt": [[5] * 100] * 10, "max_tokens": 1, "echo": True, "logprobs": 4},
        {"prompt": [5], "max_tokens": 400, "logprobs": 20},
        {"prompt": [5], "max_tokens": 400, "logprobs": 0, "n": 16},
    ],
)
def test_an_answer_of_too_many_scores_is_refused_by_the_limits_name(
    scored: TestClient, asked: dict[str, Any], stream: bool
) -> None:
    refused = scored.post("/v1/completions", json=asked | {"stream": stream})
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "logprobs")
    assert "at most 5000 are answered at a time (ERRATA_MAX_SCORES)" in refused.json()["detail"]


def test_a_chat_is_held_to_the_same(scored: TestClient) -> None:
    asked = {
        "messages": [{"role": "user", "content": "Hello"}],
        "logprobs": True,
        "top_logprobs": 20,
        "max_tokens": 20,
    }
    assert scored.post("/v1/chat/completions", json=asked | {"n": 2}).is_success
    assert scored.post("/v1/chat/completions", json=asked | {"n": 16}).status_code == 422


@pytest.mark.parametrize("n", [1, 2])
def test_as_many_as_may_be_are_answered(scored: TestClient, n: int) -> None:
    asked = {"prompt": [[5] * 100] * (10 // n), "max_tokens": 0, "echo": True, "n": n}
    choices = scored.post("/v1/completions", json=asked | {"logprobs": 4}).json()["choices"]
    assert len(choices) == 10
    assert sum(len(choice["logprobs"]["tokens"]) for choice in choices) * 5 == _MOST


def test_prompts_are_not_echoed_without_bounds(scored: TestClient) -> None:
    prompt = "The mother tongue " * 34
    asked = {"prompt": [prompt] * 512, "max_tokens": 0, "echo": True, "n": 16}
    refused = scored.post("/v1/completions", json=asked)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "echo")


def test_others_are_answered_while_a_large_answer_is_rendered(
    resident: Resident, tmp_path: Path
) -> None:
    app = service_around(resident, tmp_path)
    asked = {
        "prompt": [[5] * 100] * 8,
        "max_tokens": 0,
        "echo": True,
        "logprobs": 20,
        "n": 14,
    }
    with listening(app) as url:
        answers = list[httpx2.Response]()

        def ask() -> None:
            answers.append(httpx2.post(f"{url}/v1/completions", json=asked, timeout=100.0))

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            while asking.is_alive():
                assert httpx2.get(f"{url}/healthz", timeout=20.0).is_success
        finally:
            asking.join()
    (answer,) = answers
    assert answer.status_code == 200
    choices = json.loads(answer.content)["choices"]
    assert len(choices) == 8 * 14
    first, *copies = choices[:14]
    assert all(copy["logprobs"] == first["logprobs"] for copy in copies)
