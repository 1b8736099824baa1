"""What Prometheus scrapes."""

from fastapi import APIRouter, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from app.problems import common_responses
from app.services import ServicesDep

router = APIRouter(tags=["service"])


@router.get("/metrics", response_class=Response, responses=common_responses(503))
def metrics(services: ServicesDep) -> Response:
    """Every series in Prometheus' text format; answers without database and model, too."""
    return Response(generate_latest(services.metrics.registry), media_type=CONTENT_TYPE_LATEST)
