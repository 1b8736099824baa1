"""The service with API keys, and a clock that the test sets."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.testclient import TestClient

from app.access.require import authorize
from app.access.scopes import Scope
from app.access.service import NewApiKey
from app.keys.bootstrap import create_key
from app.main import Components, create_app
from app.settings import Settings
from tests.support.service import load_nothing, running


class SetClock:
    """Stands still until the test lets time pass."""

    def __init__(self) -> None:
        self.now = datetime(2026, 6, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, time: timedelta) -> None:
        """Let time pass."""
        self.now += time


def bearer(key: str) -> dict[str, str]:
    """The header of a request with this key."""
    return {"Authorization": f"Bearer {key}"}


@dataclass(frozen=True)
class Keyed:
    """A service that needs keys.

    Attributes:
        client: Sends no key by itself.
        admin: A key for everything.
    """

    client: TestClient
    clock: SetClock
    admin: str

    def key(self, *scopes: str, **more: object) -> str:
        """A new key for these scopes."""
        body = {"scopes": scopes, **more}
        response = self.client.post("/v1/keys", json=body, headers=bearer(self.admin))
        assert response.status_code == 201, response.text
        return str(response.json()["key"])

    def expired(self) -> str:
        """A key for everything whose time is over."""
        end = self.clock() + timedelta(hours=1)
        key = self.key("admin", expires_at=end.isoformat())
        self.clock.pass_by(timedelta(hours=1))
        return key

    def revoked(self) -> str:
        """A key for everything that counts no longer."""
        key = self.key("admin")
        path = f"/v1/keys/{kid(key)}"
        assert self.client.delete(path, headers=bearer(self.admin)).status_code == 200
        return key


def first_key(settings: Settings, *scopes: Scope) -> str:
    """The key that closes a service, made as its owner makes it; for everything by default."""
    return create_key(settings, NewApiKey(scopes or [Scope.ADMIN])).key


@contextmanager
def keyed(settings: Settings) -> Iterator[Keyed]:
    """The service, closed by its first key."""
    clock = SetClock()
    with running(settings, Components(clock=clock, start_runtime=load_nothing)) as client:
        yield Keyed(client, clock, first_key(settings))


def kid(key: str) -> str:
    """The part of a key that is no secret."""
    return key.split("_")[1]


def routes(settings: Settings) -> list[RouteContext]:
    """Everything the service serves, each router's routes as they are included."""
    return list(iter_route_contexts(create_app(settings).routes))


def declared(route: RouteContext) -> set[Scope]:
    """The scopes a route declares, any of which it accepts; none if it declares none."""
    dependant = getattr(route, "dependant", None)
    needs = [] if dependant is None else dependant.dependencies
    found = [need.own_oauth_scopes for need in needs if need.call is authorize]
    assert len(found) <= 1, f"{route.path} declares its scope twice"
    return {Scope(name) for names in found for name in names}
