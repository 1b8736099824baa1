"""The key that a request was sent with, as a dependency of every route that changes something."""

from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Header, Request

from app.deps.services import ActorDep, ServicesDep
from app.http.watch import route_template
from app.operations.once import Once

KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key and body, sent again to the same path, have the effect of one.",
    ),
]


async def _once(
    request: Request, services: ServicesDep, actor: ActorDep, key: KeyHeader = None
) -> Once:
    return Once(
        actor=actor,
        route=f"{request.method} {route_template(request.scope)}",
        key=key,
        clock=services.clock,
        kept_for=timedelta(seconds=services.settings.idempotency_kept_s),
        asked=request.path_params,
    )


OnceDep = Annotated[Once, Depends(_once)]
