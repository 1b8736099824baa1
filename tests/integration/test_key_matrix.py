"""Which key opens which route, for every route there is; new routes are found by themselves."""

import re
from collections.abc import Iterator

import pytest
from fastapi import APIRouter
from starlette.testclient import TestClient

from app.keys.authentication import PUBLIC
from app.keys.scopes import Scope
from app.main import create_app
from app.settings import Settings
from tests.integration.keyed import Keyed, bearer, declared, keyed, routes

CONTRACT = [
    ("POST /v1/edits", Scope.EDIT),
    ("DELETE /v1/edits/{edit_id}", Scope.EDIT),
    ("POST /v1/edits/{edit_id}/revert", Scope.ROLLBACK),
    ("POST /v1/edits/{edit_id}/erase", Scope.ADMIN),
    ("POST /v1/edit-batches", Scope.EDIT),
    ("GET /v1/revisions", Scope.AUDIT),
    ("POST /v1/rollbacks", Scope.ROLLBACK),
    ("POST /v1/snapshots", Scope.ROLLBACK),
    ("GET /v1/ledger/bundle", Scope.AUDIT),
    ("POST /v1/completions", Scope.QUERY),
    ("POST /v1/chat/completions", Scope.QUERY),
    ("POST /v1/probe", Scope.QUERY),
    ("POST /v1/compare", Scope.QUERY),
    ("POST /v1/bisect", Scope.AUDIT),
    ("GET /v1/diff", Scope.AUDIT),
    ("GET /v1/drift", Scope.AUDIT),
    ("POST /v1/keys", Scope.ADMIN),
    ("DELETE /v1/keys/{key_id}", Scope.ADMIN),
]


def guarded(settings: Settings) -> dict[str, set[Scope]]:
    """Each route that is not public, as `METHOD /path`, with the scopes it accepts."""
    return {
        f"{method} {route.path}": declared(route)
        for route in routes(settings)
        if route.path not in PUBLIC
        for method in sorted(route.methods or ())
    }


def send(client: TestClient, route: str, headers: dict[str, str]) -> int:
    """The status of a request that is let in or not, but asks for nothing sensible."""
    method, path = route.split()
    return client.request(method, re.sub(r"\{\w+\}", "nothing", path), headers=headers).status_code


@pytest.fixture
def service(settings: Settings) -> Iterator[Keyed]:
    with keyed(settings) as service:
        yield service


def test_every_route_declares_a_scope_or_is_public_by_name(settings: Settings) -> None:
    open_to_all = {route.path for route in routes(settings) if not declared(route)}
    assert open_to_all == PUBLIC


def test_no_public_page_changes_anything(settings: Settings) -> None:
    public = [route for route in routes(settings) if route.path in PUBLIC]
    assert {method for route in public for method in route.methods or ()} == {"GET", "HEAD"}


@pytest.mark.parametrize(("route", "scope"), CONTRACT)
def test_the_scope_is_the_one_of_the_contract(settings: Settings, route: str, scope: Scope) -> None:
    assert guarded(settings)[route] == {scope}


@pytest.mark.parametrize("held", Scope)
def test_a_key_opens_the_routes_of_its_scope_and_no_other(
    service: Keyed, settings: Settings, held: Scope
) -> None:
    headers = bearer(service.key(held))
    expected = {
        route: held is Scope.ADMIN or held in accepted
        for route, accepted in guarded(settings).items()
    }
    statuses = {route: send(service.client, route, headers) for route in expected}
    assert 401 not in statuses.values()
    assert {route: status != 403 for route, status in statuses.items()} == expected


@pytest.mark.parametrize("kind", ["none", "bad", "revoked", "expired"])
def test_without_a_key_that_counts_no_route_opens(
    service: Keyed, settings: Settings, kind: str
) -> None:
    headers = {
        "none": dict[str, str],
        "bad": lambda: bearer("lme_nonsense"),
        "revoked": lambda: bearer(service.revoked()),
        "expired": lambda: bearer(service.expired()),
    }[kind]()
    statuses = {route: send(service.client, route, headers) for route in guarded(settings)}
    assert statuses == dict.fromkeys(statuses, 401)
    assert len(statuses) > 20


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_public_pages_open_without_a_key(service: Keyed) -> None:
    statuses = {path: service.client.get(path).status_code for path in PUBLIC}
    assert statuses == dict.fromkeys(PUBLIC, 200) | {"/readyz": 503}  # this service has no model


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("path", ["/nothing", "/healthz/", "//healthz", "/v1", "/HEALTHZ"])
def test_a_stranger_does_not_learn_what_is_there(service: Keyed, path: str) -> None:
    assert service.client.get(path, follow_redirects=False).status_code == 401


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_route_that_forgot_its_scope_is_closed_to_strangers(settings: Settings) -> None:
    router = APIRouter()

    @router.get("/v1/forgotten")
    def forgotten() -> str:
        return "secret"

    with keyed(settings):
        app = create_app(settings)
        app.include_router(router)
        with TestClient(app) as client:
            assert client.get("/v1/forgotten").status_code == 401
