import json

import pytest
from httpx2 import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.support.engines import only_sqlite
from tests.support.service import FACT

JSON = {"Content-Type": "application/json"}


def _post(client: TestClient, body: bytes | str, path: str = "/v1/edits") -> Response:
    return client.post(path, content=body, headers=JSON)


def _with(field: str, literal: str) -> str:
    fields = {name: json.dumps(value) for name, value in FACT.items()} | {field: literal}
    return "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"


@pytest.mark.parametrize("literal", ["NaN", "-Infinity", "1e999", r'"\ud800"', r'"\u0000"', "null"])
@pytest.mark.parametrize("field", ["subject", "prompt", "target"])
def test_values_that_break_encoders_are_refused_by_name(
    client: TestClient, field: str, literal: str
) -> None:
    response = _post(client, _with(field, literal))
    assert (response.status_code, response.json()["error"]["param"]) == (422, field)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"\xff\xfe{}", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'"text"', 422),
        (b"[" * 100_000, 400),
        (b'{"\\ud800": 1}', 422),
        (b'{"subject": 1' + b"0" * 5_000 + b"}", 400),
        (b'{"subject": "' + b"x" * 5_000_000 + b'"}', 413),
    ],
)
@pytest.mark.parametrize("path", ["/v1/edits", "/v1/edit-batches"])
def test_bodies_that_are_no_edit_are_refused(
    client: TestClient, body: bytes, status: int, path: str
) -> None:
    response = _post(client, body, path)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["error"]["message"]


def test_a_body_nested_2000_deep_is_refused(client: TestClient) -> None:
    response = _post(client, b'{"a":' * 2_000 + b"1" + b"}" * 2_000)
    assert response.status_code in {400, 422}  # newer Pythons read it, older ones give up


def test_a_body_of_unknown_length_is_cut_off_too(client: TestClient) -> None:
    chunks = (b"x" * 100_000 for _ in range(100))
    response = client.post("/v1/edits", content=chunks, headers=JSON)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "content_too_large")


def test_a_body_that_is_not_announced_as_json_is_refused(client: TestClient) -> None:
    response = client.post("/v1/edits", content=json.dumps(FACT))
    assert response.status_code == 422
    assert "Content-Type: application/json" in response.json()["detail"]


def test_a_refusal_never_repeats_what_was_sent(client: TestClient) -> None:
    response = client.post("/v1/edits", json=FACT | {"subject": {"secret": "hunter2"}})
    assert response.status_code == 422
    assert "hunter2" not in response.text


@pytest.mark.parametrize("path", ["/nowhere", "/v1/edits/../../etc/passwd", "/v1"])
def test_an_unknown_path_is_a_problem_document(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"


def test_a_wrong_method_is_a_problem_document_that_says_what_is_allowed(
    client: TestClient,
) -> None:
    response = client.put("/v1/ledger")
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD"
    assert response.json()["status"] == 405


@pytest.mark.parametrize(
    "path",
    [
        "/v1/edits/a%00b",
        "/v1/edits/%ff",
        "/v1/operations/a%00b",
        "/v1/edits?after=-1",
        "/v1/edits?after=99999999999999999999",
        "/v1/edits?limit=0",
        "/v1/edits?status=done",
        "/v1/edits?subject=%00",
        "/v1/ledger?after=x",
        "/v1/ledger?limit=1001",
        "/v1/revisions/-1",
        "/v1/revisions/%C2%B2",
        "/v1/revisions?after=NaN",
    ],
)
def test_unusable_paths_and_parameters_are_refused(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 422
    assert response.json()["error"]["param"]


@pytest.mark.parametrize("number", ["NaN", "1.5", '"1"', "-1", "4294967296", "true", "null"])
def test_a_rollback_takes_nothing_but_a_number_of_a_revision(
    client: TestClient, number: str
) -> None:
    response = _post(client, f'{{"to_revision": {number}}}', "/v1/rollbacks")
    assert (response.status_code, response.json()["error"]["param"]) == (422, "to_revision")


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@only_sqlite
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    changes=st.dictionaries(
        st.sampled_from([*FACT, "metadata", "force", "method", "paraphrases", "neighbours", "x"]),
        _ANYTHING,
        max_size=4,
    )
)
def test_no_json_whatsoever_is_a_fault_of_the_service(
    client: TestClient, changes: dict[str, object]
) -> None:
    response = _post(client, json.dumps(FACT | changes))
    assert response.status_code in {202, 422}
    assert response.json()
