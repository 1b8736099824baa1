"""Reading what one has written: `X-Min-Revision`."""

import pytest
from fastapi.testclient import TestClient
from openai import OpenAI

from tests.acceptance.query.conftest import HEAD

ASKED = {"prompt": "Rome", "max_tokens": 2, "temperature": 0}


@pytest.mark.parametrize("minimum", [0, 1, HEAD])
def test_a_head_that_is_new_enough_answers_at_once(openai: OpenAI, minimum: int) -> None:
    answer = openai.completions.create(
        model="tiny", prompt="Rome", extra_headers={"X-Min-Revision": str(minimum)}
    )
    assert answer.to_dict()["revision"] == HEAD


@pytest.mark.parametrize("minimum", ["", "head", "-1", "1.5", "9" * 30, str(HEAD + 1)])
@pytest.mark.parametrize("stream", [True, False])
def test_what_is_no_revision_or_a_future_one_is_refused(
    api: TestClient, minimum: str, stream: bool
) -> None:
    response = api.post(
        "/v1/completions", json=ASKED | {"stream": stream}, headers={"X-Min-Revision": minimum}
    )
    assert response.status_code == 422
    assert response.json()["error"]["param"].lower() == "x-min-revision"


def test_a_pinned_revision_that_is_too_old_is_refused(api: TestClient) -> None:
    pinned = ASKED | {"model": "tiny@1"}
    headers = {"X-Min-Revision": "2"}
    response = api.post("/v1/completions", json=pinned, headers=headers)
    assert response.status_code == 422
    assert "pins revision 1" in response.json()["detail"]
