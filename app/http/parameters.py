"""Query parameters: one that a route does not know is refused, as an unknown field of a body is.

`?statuss=dead` would otherwise list every edit, and `?dryrun=true` would commit one. Probes of
monitors, event streams and OpenAI's routes take any: their clients add some of their own.
"""

from collections.abc import Iterator

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant

from app.errors import UnknownParameter
from app.kit.characters import escaped


async def _refuse_unknown(request: Request) -> None:
    sent = request.query_params
    if not sent:
        return
    context = request.scope.get("fastapi", {}).get("effective_route_context")
    known = sorted(set(_names(context.dependant)))
    for name in sent:
        if name not in known:
            raise UnknownParameter(escaped(name), known)


def _names(dependant: Dependant) -> Iterator[str]:
    for parameter in dependant.query_params:
        yield parameter.alias
    for needed in dependant.dependencies:
        yield from _names(needed)


#: for routes that refuse query parameters they do not know
only_known_parameters = Depends(_refuse_unknown)
