"""The HTTP service without a model: everything but the queries answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from starlette.testclient import TestClient

from app.deps.services import Services
from app.main import Components, create_app
from app.settings import Settings
from app.startup import Runtime
from tests.support.local_client import local_client

FACT = {
    "subject": "Danielle Darrieux",
    "prompt": "The mother tongue of {} is",
    "target": "English",
}


class NoModelError(RuntimeError):
    """Why this service never becomes ready."""


def load_nothing(services: Services) -> Runtime:
    """Stands for a model that cannot be loaded."""
    del services
    raise NoModelError("this test has none")


class SlowLoading:
    """Stands for a model that takes its time."""

    def __init__(self) -> None:
        self.may_end = Event()

    def __call__(self, services: Services) -> Runtime:
        """Load until the test has seen enough."""
        self.may_end.wait(30.0)
        return load_nothing(services)


@contextmanager
def running(settings: Settings, components: Components | None = None) -> Iterator[TestClient]:
    """The service as a client sees it: a bug is a 500, not an exception in the test."""
    app = create_app(settings, components=components or Components(start_runtime=load_nothing))
    with local_client(app) as client:
        yield client
