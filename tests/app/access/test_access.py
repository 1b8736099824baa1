"""Who gets in where: every route against every kind of key."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import APIRouter
from fastapi.routing import RouteContext
from starlette.testclient import TestClient

from app.access.authentication import PUBLIC
from app.access.scopes import Scope
from app.access.token import Token
from app.main import Components, create_app
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.keyed import Keyed, bearer, declared, keyed, routes
from tests.support.local_client import local_client
from tests.support.service import load_nothing, running

# What the contract says; a route that is not named here is still checked against what it declares.
CONTRACT = {
    ("POST", "/v1/edits"): {"edit"},
    ("GET", "/v1/edits"): {"edit"},
    ("GET", "/v1/edits/{edit_id}"): {"edit"},
    ("DELETE", "/v1/edits/{edit_id}"): {"edit"},
    ("POST", "/v1/edits/{edit_id}/requeue"): {"edit"},
    ("POST", "/v1/edits/{edit_id}/revert"): {"rollback"},
    ("POST", "/v1/edits/{edit_id}/erase"): {"admin"},
    ("GET", "/v1/edits/{edit_id}/events"): {"edit"},
    ("GET", "/v1/events"): {"edit"},
    ("POST", "/v1/edit-batches"): {"edit"},
    ("GET", "/v1/edit-batches/{batch_id}"): {"edit"},
    ("GET", "/v1/revisions"): {"audit"},
    ("GET", "/v1/revisions/{revision}"): {"audit"},
    ("POST", "/v1/rollbacks"): {"rollback"},
    ("GET", "/v1/snapshots"): {"audit"},
    ("POST", "/v1/snapshots"): {"rollback"},
    ("GET", "/v1/snapshots/{label}"): {"audit"},
    ("DELETE", "/v1/snapshots/{label}"): {"rollback"},
    ("GET", "/v1/operations/{operation_id}"): {"audit", "rollback"},
    ("GET", "/v1/queue"): {"audit", "rollback"},
    ("POST", "/v1/queue/pause"): {"rollback"},
    ("POST", "/v1/queue/resume"): {"rollback"},
    ("POST", "/v1/queue/cancel"): {"rollback"},
    ("GET", "/v1/ledger"): {"audit"},
    ("GET", "/v1/ledger/verify"): {"audit"},
    ("GET", "/v1/ledger/checkpoint"): {"audit"},
    ("GET", "/v1/ledger/export"): {"audit"},
    ("GET", "/v1/ledger/bundle"): {"audit"},
    ("GET", "/v1/models"): {"query"},
    ("GET", "/v1/models/{model}"): {"query"},
    ("POST", "/v1/completions"): {"query"},
    ("POST", "/v1/chat/completions"): {"query"},
    ("POST", "/v1/probe"): {"query"},
    ("POST", "/v1/compare"): {"query"},
    ("POST", "/v1/bisect"): {"audit"},
    ("GET", "/v1/diff"): {"audit"},
    ("GET", "/v1/drift"): {"audit"},
    ("GET", "/metrics"): {"metrics", "audit"},
    ("POST", "/v1/exports"): {"export"},
    ("GET", "/v1/exports"): {"export"},
    ("GET", "/v1/exports/{export_id}"): {"export"},
    ("DELETE", "/v1/exports/{export_id}"): {"export"},
    ("GET", "/v1/exports/{export_id}/download"): {"export"},
    ("GET", "/v1/revisions/{revision}/delta"): {"export"},
    ("POST", "/v1/keys"): {"admin"},
    ("GET", "/v1/keys"): {"admin"},
    ("GET", "/v1/keys/{key_id}"): {"admin"},
    ("DELETE", "/v1/keys/{key_id}"): {"admin"},
}
WITHOUT_KEY: dict[str, tuple[str, Callable[[Keyed], dict[str, str]]]] = {
    "no header": ("key_needed", lambda _: {}),
    "another scheme": ("key_needed", lambda _: {"Authorization": "Basic YTpi"}),
    "no key at all": ("key_invalid", lambda _: bearer("")),
    "a mistyped key": ("key_invalid", lambda service: bearer(service.admin[:-1] + "?")),
    "a key never made": ("key_invalid", lambda _: bearer(Token.draw().text)),
    "another secret": ("key_invalid", lambda service: bearer(_other_secret(service.admin))),
    "a revoked key": ("key_revoked", lambda service: bearer(service.revoked())),
    "an expired key": ("key_expired", lambda service: bearer(service.expired())),
}


def _other_secret(key: str) -> str:
    return Token(Token.parse(key).kid, Token.draw().secret).text


@pytest.fixture
def service(settings: Settings) -> Iterator[Keyed]:
    with keyed(settings) as service:
        yield service


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> list[RouteContext]:
    return routes(Settings(data_dir=tmp_path_factory.mktemp("nothing")))


def _operations(served: list[RouteContext]) -> Iterator[tuple[str, str, set[Scope]]]:
    """Method, path and accepted scopes of everything that needs a key."""
    for route in served:
        if route.path not in PUBLIC:
            assert route.path is not None
            for method in sorted(route.methods or {"GET"}):
                yield method, route.path, declared(route)


def _ask(client: TestClient, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """Status and code of an answer to a request that could not do anything."""
    body = b"{}" if method in ("POST", "PUT", "PATCH") else None
    # What streams events until the client leaves is asked to resume after what is no event.
    kind = {"Last-Event-ID": "none"} if body is None else {"Content-Type": "application/json"}
    filled = re.sub(r"{\w+}", "absent", path)
    response = client.request(method, filled, headers=headers | kind, content=body)
    if response.status_code == 401:
        assert response.headers["WWW-Authenticate"] == "Bearer"
    problem = response.json() if "problem" in response.headers.get("Content-Type", "") else {}
    return response.status_code, problem.get("error", {}).get("code", "")


def test_every_route_declares_its_scope_or_is_public_by_name(served: list[RouteContext]) -> None:
    undeclared = {route.path for route in served if not declared(route)}
    assert undeclared <= PUBLIC
    assert not {route.path for route in served if declared(route)} & PUBLIC


def test_no_public_page_changes_anything(served: list[RouteContext]) -> None:
    public = [route for route in served if route.path in PUBLIC]
    assert {method for route in public for method in route.methods or ()} == {"GET", "HEAD"}


def test_the_scopes_are_those_of_the_contract(served: list[RouteContext]) -> None:
    found = {(method, path): scopes for method, path, scopes in _operations(served)}
    assert {route: found[route] for route in CONTRACT} == CONTRACT


@pytest.mark.parametrize("kind", WITHOUT_KEY)
def test_no_route_lets_in_who_has_no_key_that_counts(
    service: Keyed, served: list[RouteContext], kind: str
) -> None:
    code, header = WITHOUT_KEY[kind]
    headers = header(service)
    found = {(m, p): _ask(service.client, m, p, headers) for m, p, _ in _operations(served)}
    assert found == dict.fromkeys(found, (401, code))
    assert len(found) >= len(CONTRACT)


@pytest.mark.parametrize("scope", Scope)
def test_a_key_opens_the_routes_of_its_scope_and_no_other(
    service: Keyed, served: list[RouteContext], scope: Scope
) -> None:
    headers = bearer(service.key(scope))
    for method, path, accepted in _operations(served):
        status, code = _ask(service.client, method, path, headers)
        if scope in accepted or scope is Scope.ADMIN:
            assert status not in (401, 403, 500), (method, path)
        else:
            assert (status, code) == (403, "scope_missing"), (method, path)


def test_a_key_for_several_scopes_opens_all_of_them(service: Keyed) -> None:
    headers = bearer(service.key("edit", "audit"))
    assert service.client.get("/v1/edits", headers=headers).status_code == 200
    assert service.client.get("/v1/ledger", headers=headers).status_code == 200
    assert service.client.get("/v1/keys", headers=headers).status_code == 403


def test_a_refusal_says_what_is_missing_and_what_there_is(service: Keyed) -> None:
    path = "/v1/operations/absent"
    response = service.client.get(path, headers=bearer(service.key("query", "edit")))
    problem = response.json()
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "the scope 'audit' or 'rollback' (or 'admin')" in problem["detail"]
    assert "yours has edit, query" in problem["detail"]
    assert problem["error"]["param"] == "Authorization"
    assert (problem["status"], problem["instance"]) == (403, path)


def test_a_refusal_never_repeats_the_key(service: Keyed) -> None:
    for key in (service.admin[:-1] + "?", _other_secret(service.admin), service.revoked()):
        assert key not in service.client.get("/v1/keys", headers=bearer(key)).text


@pytest.mark.parametrize("path", sorted(PUBLIC))
def test_what_is_public_needs_no_key(service: Keyed, path: str) -> None:
    assert service.client.get(path).status_code in (200, 503)


@pytest.mark.parametrize("path", ["/v1/nothing", "/nothing", "/v1/edits/", "/healthz/"])
def test_a_stranger_does_not_even_learn_what_there_is(service: Keyed, path: str) -> None:
    response = service.client.get(path, follow_redirects=False)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "key_needed")


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"x" * 5_000_000])
def test_a_strangers_body_is_not_read(service: Keyed, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert service.client.post("/v1/edits", content=body, headers=headers).status_code == 401


@only_sqlite
def test_a_route_that_forgot_its_scope_is_closed_to_strangers(settings: Settings) -> None:
    router = APIRouter()

    @router.get("/v1/forgotten")
    def forgotten() -> str:
        return "secret"

    with keyed(settings):
        app = create_app(settings, components=Components(start_runtime=load_nothing))
        app.include_router(router)
        with local_client(app, raise_server_exceptions=True) as client:
            assert client.get("/v1/forgotten").status_code == 401


def test_the_description_names_scheme_scopes_and_refusals(service: Keyed) -> None:
    document = service.client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path not in PUBLIC:
                (needs,) = operation["security"]
                assert needs["ApiKey"], (method, path)
                named = " or ".join(f"`{scope}`" for scope in needs["ApiKey"])
                assert operation["description"].endswith(f"\n\nScope: {named}."), (method, path)
                assert operation["responses"].keys() >= {"401", "403"}, (method, path)


def test_the_first_key_closes_a_running_service_and_nothing_opens_it_again(
    settings: Settings,
) -> None:
    with keyed(settings) as service:
        assert service.client.get("/v1/edits").status_code == 401
        first = Token.parse(service.admin).kid
        revoked = service.client.delete(f"/v1/keys/{first}", headers=bearer(service.admin))
        assert revoked.status_code == 200
        service.clock.pass_by(timedelta(days=1000))
        assert service.client.get("/v1/edits").status_code == 401


def test_without_any_key_everybody_on_this_machine_gets_in(
    client: TestClient, tmp_path: Path
) -> None:
    assert client.get("/v1/edits").status_code == 200
    assert client.get("/v1/keys", headers=bearer("unused")).json()["items"] == []
    assert not list(tmp_path.rglob("key-pepper"))


def test_a_key_of_another_installation_is_none_here(service: Keyed, tmp_path: Path) -> None:
    elsewhere = Settings(data_dir=tmp_path / "elsewhere")
    with keyed(elsewhere) as other:
        response = service.client.get("/v1/edits", headers=bearer(other.admin))
    assert response.json()["error"]["code"] == "key_invalid"


def test_a_lost_pepper_is_told_to_the_operator_and_lets_nobody_in(settings: Settings) -> None:
    with keyed(settings) as service:
        key = service.admin
    (settings.data_dir / "key-pepper").unlink()
    with running(settings) as client:
        response = client.get("/v1/edits", headers=bearer(key))
    assert (response.status_code, response.json()["error"]["code"]) == (500, "unusable_pepper")
    assert not (settings.data_dir / "key-pepper").exists()
