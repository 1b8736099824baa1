"""Traces of requests, by FastAPI's own hook: off unless the standard `OTEL_…` variables ask.

FastAPI reads the rest of these variables, sends in the background and at its end, and goes on
without traces where the collector is away.
"""

import os

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from starlette.types import Scope

from app.kit.logs import get_logger

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
#: asked every few seconds by machines
_NOT_TRACED = frozenset({"/healthz", "/metrics", "/readyz"})
_log = get_logger(__name__)


def telemetry() -> TelemetryConfig:
    """What FastAPI is to trace, by the environment; the SDK is imported only if it is anything.

    Metrics are Prometheus' here, and FastAPI's logs of errors would quote their messages.
    """
    if not _is_wanted():
        return _nothing()
    try:
        from app.http.spans import discreet_provider
    except ImportError:
        _log.warning("tracing_not_installed", install="pip install 'errata[telemetry]'")
        return _nothing()
    return TelemetryConfig(
        tracer_provider=discreet_provider(),
        metrics=False,
        logs=False,
        auto_configure=True,
        exclude=_is_excluded,
    )


def traced(request_id: str) -> dict[str, str]:
    """Give the current span a request's id, and the logs the trace's, where there is one."""
    span = trace.get_current_span()
    if not span.is_recording():
        return {}
    span.set_attribute("errata.request_id", request_id)
    return {"trace_id": trace.format_trace_id(span.get_span_context().trace_id)}


def _is_wanted() -> bool:
    return (
        any(os.environ.get(name) for name in _ENDPOINTS)
        and os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() != "none"
        and os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
    )


def _nothing() -> TelemetryConfig:
    # Said in full: FastAPI would look for providers, and for a variable of its own, by itself.
    return TelemetryConfig(tracing=False, metrics=False, logs=False, auto_configure=False)


def _is_excluded(scope: Scope) -> bool:
    return scope["path"] in _NOT_TRACED
