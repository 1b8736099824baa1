"""What strangers and known callers learn of the service's state, and how soon."""

import time
from contextlib import ExitStack
from pathlib import Path

from starlette.testclient import TestClient

from app.deps.services import Services
from app.main import Components
from app.settings import Settings
from app.startup import Runtime
from tests.support.engines import only_sqlite
from tests.support.keyed import bearer, keyed
from tests.support.service import load_nothing, running
from tests.support.waiting import wait_until

pytestmark = only_sqlite

_POOL = 15  # connections that reads have, after which one waits for 30 s
_SOON_S = 15.0


def _detail(client: TestClient, headers: dict[str, str]) -> str:
    answer = client.get("/readyz", headers=headers)
    assert answer.status_code == 503
    return str(answer.json()["detail"])


def test_only_who_has_a_key_is_told_what_is_missing(settings: Settings) -> None:
    absent = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    with keyed(absent) as service:
        told = _detail(service.client, bearer(service.key("query")))
        assert "smollm2-135m" in told
        assert "127.0.0.1:1" in told
        for headers in ({}, bearer(service.revoked()), bearer("lme_x")):
            assert _detail(service.client, headers) == "something it needs is missing"


def test_no_answer_quotes_a_driver(client: TestClient, tmp_path: Path) -> None:
    for file in tmp_path.glob("errata.db*"):
        file.unlink()
    (tmp_path / "errata.db").mkdir()
    for path in ("/v1/edits", "/v1/ledger", "/v1/events"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "sqlite" not in answer.text.lower()
        assert "unable to open" not in answer.text
        assert str(tmp_path) not in answer.text


class _Seen:
    """A model that cannot be loaded, and what it was to be loaded with."""

    def __init__(self) -> None:
        self.services: list[Services] = []

    def __call__(self, services: Services) -> Runtime:
        self.services.append(services)
        return load_nothing(services)


def test_readiness_does_not_wait_for_a_busy_pool(settings: Settings) -> None:
    seen = _Seen()
    with running(settings, Components(start_runtime=seen)) as client, ExitStack() as stack:
        wait_until(lambda: bool(seen.services), _SOON_S, what="the start")
        for _ in range(_POOL):
            stack.enter_context(seen.services[0].database.read()).connection()
        begun = time.monotonic()
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        assert time.monotonic() - begun < _SOON_S
