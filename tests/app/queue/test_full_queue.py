"""A queue that has no memory left: edits are accepted, and those who run the service are told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from app.database.database import Database
from app.settings import Settings
from editing_core.model.loading import LoadedModel
from tests.support.engines import only_sqlite
from tests.support.exporting import Installation
from tests.support.queues import running_redis
from tests.support.service import FACT
from tests.support.waiting import wait_until
from tests.support.watched import samples

pytestmark = only_sqlite


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[str]:
    with running_redis(tmp_path / "redis") as url:
        yield url


def test_a_full_queue_is_told_until_it_has_room_again(
    settings: Settings,
    database: Database,
    tiny_model: LoadedModel,
    one_thread: None,
    queue: str,
) -> None:
    del one_thread
    server = redis.Redis.from_url(queue)
    installation = Installation(settings, database, tiny_model)
    with installation.serving(redis_url=queue) as client:
        http = client.http
        wait_until(lambda: http.get("/readyz").status_code == 200, 30.0, what="the model")

        def told() -> tuple[float, float]:
            found = samples(http.get("/metrics").text)
            names = ("errata_queue_up", "errata_budgets_counted")
            return found[names[0], frozenset()], found[names[1], frozenset()]

        assert told() == (1, 1)
        assert "impaired" not in http.get("/readyz").json()
        server.config_set("maxmemory", 1)
        assert http.post("/v1/edits", json=FACT).status_code == 202
        ready = http.get("/readyz")
        assert ready.status_code == 200
        (impaired,) = ready.json()["impaired"]
        assert "no memory left" in impaired
        assert told() == (0, 0)
        server.config_set("maxmemory", 0)
        assert "impaired" not in http.get("/readyz").json()
        assert told()[0] == 1
    server.close()
