"""A client that writes the model's beginning itself is answered as one that leaves it out."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.acceptance.query.conftest import resident_of, service_around
from tests.support.local_client import local_client
from tests.support.tiny import build_tiny_model
from tests.support.tokenizers import beginning
from tests.support.waiting import wait_until

_PROMPT = "The mother tongue of Danielle Darrieux is"


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service whose tokenizer begins every text, as those of Llama, Mistral and Gemma do."""
    folder = tmp_path_factory.mktemp("begun")
    model = build_tiny_model(folder / "tiny", tokenizer=beginning())
    with local_client(service_around(resident_of(model), folder / "data")) as client:
        wait_until(lambda: client.get("/readyz").is_success, 30.0)
        yield client


def _probe(prompt: str) -> dict[str, Any]:
    return {"items": [{"prompt": prompt, "target": "English"}], "revisions": [0, "head"]}


@pytest.mark.parametrize(
    ("path", "bodies", "told"),
    [
        ("/v1/probe", (_probe(_PROMPT), _probe(f"<s>{_PROMPT}")), ("results", 0, "revisions")),
        (
            "/v1/compare",
            ({"prompt": _PROMPT, "revisions": [0]}, {"prompt": f"<s>{_PROMPT}", "revisions": [0]}),
            ("revisions",),
        ),
        (
            "/v1/completions",
            (
                {"prompt": _PROMPT, "temperature": 0, "logprobs": 1},
                {"prompt": f"<s>{_PROMPT}", "temperature": 0, "logprobs": 1},
            ),
            ("choices", 0, "text"),
        ),
    ],
)
def test_a_prompt_with_the_beginning_is_the_prompt_without(
    begun: TestClient,
    path: str,
    bodies: tuple[dict[str, Any], dict[str, Any]],
    told: tuple[str | int, ...],
) -> None:
    answers = []
    for body in bodies:
        answer = begun.post(path, json=body)
        assert answer.status_code == 200, answer.text
        found: Any = answer.json()
        for part in told:
            found = found[part]
        answers.append(found)
    assert answers[0] == answers[1]
