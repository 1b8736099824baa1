"""No JSON, however hostile, is a fault of the service, whichever operation it is posted to."""

from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

from app.main import create_app
from app.settings import Settings
from tests.fuzz.contract_site import Site
from tests.fuzz.hostile import Kind, hostile

_LONGEST_ANSWER = 10_000
_schema = schemathesis.openapi.from_dict(create_app(Settings()).openapi())
_posts = [
    found.ok()
    for found in _schema.include(method="POST").get_all_operations()
    if isinstance(found, Ok)
]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("operation", _posts, ids=lambda operation: operation.label)
@settings(max_examples=3, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_it_is_answered(
    operation: APIOperation[Any, Any, Any, Any], kind: Kind, served: Site, data: st.DataObject
) -> None:
    case = data.draw(operation.as_strategy())
    body = data.draw(hostile(kind, case.body if isinstance(case.body, dict) else None))
    response = httpx2.post(
        served.url + case.path.format(**served.known),
        content=body,
        headers={"Content-Type": "application/json"} | served.keys["admin"],
        timeout=60.0,
    )
    assert response.status_code < 500
    if response.is_error:
        assert response.headers["Content-Type"] == "application/problem+json"
        assert len(response.content) < _LONGEST_ANSWER
