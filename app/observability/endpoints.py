"""What Prometheus scrapes."""

from fastapi import APIRouter, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from app.access.require import require
from app.access.scopes import Scope
from app.deps.services import ServicesDep
from app.http.problems import common_responses

router = APIRouter(
    tags=["service"],
    # `audit` opened it before there was a scope of its own, and goes on to.
    dependencies=[require(Scope.METRICS, Scope.AUDIT)],
    responses=common_responses(503),
)


@router.get("/metrics", response_class=Response)
def metrics(services: ServicesDep) -> Response:
    """Every series in Prometheus' text format; answers without a model, too."""
    return Response(generate_latest(services.metrics.registry), media_type=CONTENT_TYPE_LATEST)
