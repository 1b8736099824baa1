"""Spans that hold what a log may hold; needs the extra `telemetry`."""

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider

REDACTED = "REDACTED"

#: what no client writes; its path, query string and Host header are not among them
_KEPT = frozenset(
    {
        "code.function.name",
        "http.request.method",
        "network.protocol.version",
        "server.port",
        "url.scheme",
    }
)


class Discreet(SpanProcessor):
    """Blanks whatever else a span is started with, before anybody can export it.

    What FastAPI adds later is the route's template, the status and the type of an error.
    """

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Blank what a client may have written."""
        del parent_context
        for name in (span.attributes or {}).keys() - _KEPT:
            span.set_attribute(name, REDACTED)


def discreet_provider() -> TracerProvider:
    """Makes spans of a service that is called `errata` unless the environment names it."""
    named = Resource({SERVICE_NAME: "errata"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=Resource.create(named.attributes), shutdown_on_exit=False)
    provider.add_span_processor(Discreet())
    return provider
