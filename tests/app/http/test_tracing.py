"""When requests are traced, and what that costs when they are not."""

import logging
import subprocess
import sys

import pytest

from app.http.tracing import telemetry

_ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
_IS_OFF = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
_IMPORTS_NOTHING = """
import sys
from app.http.tracing import telemetry
telemetry()
unwanted = ("opentelemetry.sdk", "opentelemetry.exporter")
sys.exit(any(name.startswith(unwanted) for name in sys.modules))
"""


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*_ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"FASTAPI_OTEL_AUTO_CONFIGURE": "true"},
        _ENDPOINT | {"OTEL_SDK_DISABLED": "true"},
        _ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_traced_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert telemetry() == _IS_OFF


def test_what_is_not_used_is_not_imported() -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORTS_NOTHING], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("name", [*_ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_an_endpoint_asks_for_traces_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:4318")
    found = telemetry()
    assert found["tracer_provider"] is not None
    assert found["auto_configure"]
    assert not found["metrics"]
    assert not found["logs"]


def test_without_the_extra_the_service_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.delitem(sys.modules, "app.http.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with caplog.at_level(logging.WARNING):
        assert telemetry() == _IS_OFF
    assert "tracing_not_installed" in caplog.text
