"""Without keys: this machine's own programs, over real sockets, and nobody else."""

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.keyed import bearer, first_key
from tests.support.listening import Served, serving
from tests.support.service import FACT

pytestmark = only_sqlite

_PAGES = ["/docs", "/openapi.json", "/readyz", "/v1/edits", "/v1/ledger/verify", "/v1/nothing"]
_REBOUND = {
    "Host": "evil.example:8000",
    "Origin": "http://evil.example:8000",
    "Sec-Fetch-Site": "same-origin",
}


@pytest.fixture
def served(settings: Settings) -> Iterator[Served]:
    with serving(settings) as served:
        yield served


def _raw(served: Served, request: str) -> tuple[int, bytes]:
    """Status and body of an answer to bytes that no client would send."""
    address = urlsplit(served.url)
    with socket.create_connection((str(address.hostname), address.port or 0), 10.0) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode())
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def _problem(response: httpx2.Response) -> dict[str, Any]:
    assert response.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    return problem


@pytest.mark.parametrize("path", _PAGES)
def test_a_page_whose_name_was_rebound_to_this_machine_learns_and_does_nothing(
    served: Served, path: str
) -> None:
    response = httpx2.get(served.url + path, headers=_REBOUND)
    assert (response.status_code, _problem(response)["error"]["code"]) == (421, "foreign_host")
    assert "'evil.example:8000'" in _problem(response)["detail"]
    assert httpx2.get(f"{served.url}/healthz", headers=_REBOUND).status_code == 200


def test_a_rebound_page_cannot_edit_or_shut_the_owner_out(
    served: Served, settings: Settings
) -> None:
    for path, body in (("/v1/edits", FACT), ("/v1/keys", {"scopes": ["admin"]})):
        assert httpx2.post(served.url + path, json=body, headers=_REBOUND).status_code == 421
    assert httpx2.get(f"{served.url}/v1/edits").json()["items"] == []
    assert httpx2.get(f"{served.url}/v1/keys").json()["items"] == []
    del settings


@pytest.mark.parametrize("path", _PAGES)
@pytest.mark.parametrize(
    "header",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Host": "localhost"},
        {"Forwarded": "for=127.0.0.1;host=localhost"},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 proxy"},
    ],
)
def test_what_another_page_or_a_proxy_sends_is_refused_with_what_to_do(
    served: Served, path: str, header: dict[str, str]
) -> None:
    response = httpx2.get(served.url + path, headers=header)
    assert (response.status_code, _problem(response)["error"]["code"]) == (403, "foreign_request")
    assert "errata keys create --scope admin" in _problem(response)["detail"]
    assert httpx2.get(served.url + "/healthz", headers=header).status_code == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /v1/edits HTTP/1.1\nHost: localhost\nHost: evil.example", 421),
        ("GET /v1/edits HTTP/1.1\nHost: evil.example\nHost: localhost", 421),
        ("GET /v1/edits HTTP/1.0", 421),
        ("GET http://localhost/v1/edits HTTP/1.1\nHost: evil.example", 421),
        ("GET http://localhost/readyz HTTP/1.1\nHost: evil.example", 421),
        ("GET /v1/edits HTTP/1.1\nHost: localhost", 200),
    ],
)
def test_neither_two_hosts_nor_a_whole_url_get_around_it(
    served: Served, head: str, status: int
) -> None:
    found, body = _raw(served, f"{head}\nConnection: close\n\n")
    # A server that refuses such a request by itself is as good.
    assert found == status or (status == 421 and found == 400), body


def test_the_first_key_is_made_by_the_command_line_only(served: Served, settings: Settings) -> None:
    response = httpx2.post(f"{served.url}/v1/keys", json={"scopes": ["admin"]})
    problem = _problem(response)
    assert (response.status_code, problem["error"]["code"]) == (403, "first_key_by_command")
    command = f"errata keys create --scope admin --data-dir {settings.data_dir}"
    assert command in problem["detail"]
    assert httpx2.get(f"{served.url}/v1/edits").status_code == 200  # still open
    headers = bearer(first_key(settings))
    made = httpx2.post(f"{served.url}/v1/keys", json={"scopes": ["query"]}, headers=headers)
    assert made.status_code == 201


def test_with_a_key_it_does_not_matter_who_forwards_and_under_which_name(
    served: Served, settings: Settings
) -> None:
    headers = bearer(first_key(settings)) | {"X-Forwarded-For": "192.0.2.7", **_REBOUND}
    assert httpx2.get(f"{served.url}/v1/edits", headers=headers).status_code == 200
    assert httpx2.get(f"{served.url}/openapi.json", headers=_REBOUND).status_code == 200


def test_names_that_are_listed_are_the_only_ones_also_with_a_key(settings: Settings) -> None:
    listed = settings.model_copy(update={"hosts": ("errata.example.org",)})
    with serving(listed) as served:
        # Open mode believes this machine's names only, whatever is listed.
        own = {"Host": "errata.example.org"}
        assert httpx2.get(f"{served.url}/v1/edits", headers=own).status_code == 421
        key = bearer(first_key(settings))
        for path in ("/v1/edits", "/openapi.json"):
            assert httpx2.get(served.url + path, headers=key | own).status_code == 200
            assert httpx2.get(served.url + path, headers=key).status_code == 200  # 127.0.0.1
            refused = httpx2.get(served.url + path, headers=key | {"Host": "evil.example"})
            assert refused.status_code == 421
            assert "errata.example.org" in _problem(refused)["detail"]
