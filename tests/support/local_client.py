"""A client on the service's own machine: what a service without keys lets in."""

from starlette.testclient import TestClient
from starlette.types import ASGIApp


def local_client(app: ASGIApp, *, raise_server_exceptions: bool = False) -> TestClient:
    """A client that asks from loopback, and asks for loopback."""
    return TestClient(
        app,
        base_url="http://127.0.0.1:8000",
        client=("127.0.0.1", 50_000),
        raise_server_exceptions=raise_server_exceptions,
    )
