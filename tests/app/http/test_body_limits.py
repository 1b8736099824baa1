"""No body costs more than a small multiple of being parsed, and no answer is long."""

import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.raw_http import Process, request, serving, statuses, until_closed
from tests.support.service import FACT

_ALL = 4_190_000  # bytes that a body may have
_LONGEST_ANSWER = 30_000


def _repeated(before: str, item: str, after: str) -> bytes:
    count = (_ALL - len(before) - len(after)) // (len(item) + 1)
    return (before + ",".join([item] * count) + after).encode()


def _fields(before: str, count: int, after: str) -> bytes:
    return (before + ",".join(f'"{number}":1' for number in range(count)) + after).encode()


_FACT = json.dumps(FACT)[:-1]
_CHAT = '{"messages":[{"role":"user","content":['
_BOMBS = {
    "wrong parts": ("/v1/chat/completions", _repeated(_CHAT, "{}", "]}]}")),
    "fewer wrong parts": ("/v1/chat/completions", (_CHAT + "{}," * 60_000 + "{}]}]}").encode()),
    "parts": ("/v1/chat/completions", _repeated(_CHAT, '{"type":"text","text":""}', "]}]}")),
    "numbers for parts": ("/v1/chat/completions", _repeated(_CHAT, "1", "]}]}")),
    "wrong messages": ("/v1/chat/completions", _repeated('{"messages":[', "1", "]}")),
    "unknown fields": ("/v1/edits", _fields("{", 300_000, "}")),
    "fewer unknown fields": ("/v1/edits", _fields("{", 40_000, "}")),
    "as many as may be": ("/v1/edits", _fields("{", 64, "}")),
    "labels": ("/v1/edits", _fields(_FACT + ', "metadata":{', 300_000, "}}")),
    "gates": ("/v1/edits", _fields(_FACT + ', "gates":{', 64, "}}")),
    "paraphrases": ("/v1/edits", _repeated(_FACT + ', "paraphrases":[', '"a"', "]}")),
    "wrong paraphrases": ("/v1/edits", _repeated(_FACT + ', "paraphrases":[', "1", "]}")),
    "wrong neighbours": ("/v1/edits", _repeated(_FACT + ', "neighbours":[', "1", "]}")),
    "empty edits": ("/v1/edit-batches", _repeated('{"edits":[', "{}", "]}")),
    "wrong edits": ("/v1/edit-batches", _repeated('{"edits":[', "1", "]}")),
    "unknown in each edit": (
        "/v1/edit-batches",
        b'{"edits":[' + b",".join([_fields("{", 60, "}")] * 1000) + b"]}",
    ),
    "scopes": ("/v1/keys", _repeated('{"scopes":[', '"no"', "]}")),
    "prompts": ("/v1/completions", _repeated('{"prompt":[', '"ab"', "]}")),
    "prompts of one token": ("/v1/completions", _repeated('{"prompt":[', "[1]", "]}")),
    "fractions": ("/v1/completions", _repeated('{"prompt":[', "1.5", "]}")),
    "almost token ids": ("/v1/completions", _repeated('{"prompt":[', "1", ',"a"]}')),
    "stops": ("/v1/completions", _repeated('{"prompt":"a","stop":[', "1", "]}")),
    "probes": ("/v1/probe", _repeated('{"items":[', "1", "]}")),
    "revisions": ("/v1/compare", _repeated('{"prompt":"a","revisions":[', "-1", "]}")),
    "depth": ("/v1/edits", b'{"metadata":' + b"[" * 2_000_000),
    "less depth": ("/v1/edits", b'{"metadata":' + b"[" * 90_000),
    "open text": ("/v1/edits", b'{"subject":"' + b'\\"{' * 1_390_000),
    "open texts": ("/v1/edits", b'[{"' * 1_390_000),
    "digits": ("/v1/completions", b'{"max_tokens":' + b"9" * _ALL + b"}"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving(Settings(data_dir=tmp_path_factory.mktemp("server"))) as process:
        yield process


def test_no_body_takes_memory_or_makes_a_long_answer(server: Process) -> None:
    before = server.peak_memory_bytes
    for name, (path, body) in _BOMBS.items():
        headers = (b"Content-Type: application/json", b"Content-Length: %d" % len(body))
        with server.connect() as client:
            client.sendall(request("POST", path, *headers, b"Connection: close", body=body))
            answer = until_closed(client)
        status = statuses(answer)[0]
        # No model is there to query; the body was validated before that is found out.
        assert status in {400, 422, 503}, name
        assert len(answer) < _LONGEST_ANSWER, name
        assert server.get("/healthz")[0] == 200
    assert server.peak_memory_bytes - before < 200_000_000


@only_sqlite
@pytest.mark.parametrize("name", [name for name, (path, _) in _BOMBS.items() if "edit" in path])
def test_few_errors_are_listed_and_the_others_counted(client: TestClient, name: str) -> None:
    path, body = _BOMBS[name]
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
    assert len(answer.content) < _LONGEST_ANSWER
    problem = answer.json()
    assert len(problem.get("errors", [])) <= 20


@only_sqlite
def test_the_errors_that_are_not_listed_are_counted(client: TestClient) -> None:
    problem = client.post("/v1/edits", json={str(number): 1 for number in range(64)}).json()
    assert len(problem["errors"]) == 20
    assert problem["errors_omitted"] == 64 + 3 - 20  # three fields are missing besides
    assert "errors_omitted" not in client.post("/v1/edits", json={}).json()


@only_sqlite
def test_brackets_in_texts_are_text(client: TestClient) -> None:
    neighbours = [{"prompt": "[{" * 600} for _ in range(50)]
    edits = [FACT | {"neighbours": neighbours}] * 20
    answer = client.post("/v1/edit-batches", json={"edits": edits})
    assert answer.status_code == 202, answer.text


@only_sqlite
def test_the_largest_batch_is_taken(client: TestClient) -> None:
    full = FACT | {
        "paraphrases": ["p"] * 50,
        "neighbours": [{"prompt": "n", "answer": "a"}] * 50,
        "metadata": {str(number): "x" for number in range(16)},
    }
    answer = client.post("/v1/edit-batches", json={"edits": [full] * 1000})
    assert answer.status_code == 202, answer.text


@only_sqlite
def test_a_long_value_is_not_repeated_in_full(client: TestClient) -> None:
    answer = client.get("/v1/edits/" + "a" * 20_000)
    assert answer.status_code == 422
    assert len(answer.content) < _LONGEST_ANSWER
