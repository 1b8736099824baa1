"""How a route says which scope it needs, and where it is held against the caller's."""

import re
from collections.abc import Sequence
from time import monotonic
from typing import Annotated

from fastapi import Depends, Request, Security, params
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from app.access.doorkeeper import Doorkeeper
from app.access.scopes import Caller, Scope
from app.errors import DatabaseAway, ScopeMissing

#: what a ticket is for
_STREAMS = re.compile(r"/v1/(?:events|edits/[^/]+/events)")

# For the API's description; `Authentication` has read the header before any route is reached.
_bearer = HTTPBearer(
    scheme_name="ApiKey",
    bearerFormat="lme_…",
    description="Each operation lists its scopes: a key needs one of them, or `admin`.",
    auto_error=False,
)


async def authorize(
    request: Request,
    needed: SecurityScopes,
    _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> None:
    """Let a request through that may ask for this.

    Raises:
        ScopeMissing: The caller's key is for other things.
        DatabaseAway: It may not be, but that cannot be found out now.
    """
    request.state.needed = [Scope(name) for name in needed.scopes]
    try:
        _check_scopes(request.state.caller, request.state.needed)
    except ScopeMissing as error:
        request.state.refusals.note(request, error)
        raise


async def admit(request: Request) -> Caller:
    """Who sends a request.

    Raises:
        KeyNeeded: It has no key that counts; the subclass says why.
        DatabaseUnavailable: Whether it has cannot be found out now.
    """
    doorkeeper: Doorkeeper = request.state.doorkeeper
    authorization, ticket = request.headers.get("authorization"), _ticket(request)
    if authorization is None and ticket is not None:
        opens = not hasattr(request.state, "admitted_at")
        caller = await doorkeeper.admit_by_ticket_async(ticket, opens=opens)
    else:
        caller = await doorkeeper.admit_async(authorization)
    request.state.admitted_at = monotonic()
    return caller


def _ticket(request: Request) -> str | None:
    """The ticket in the address of a stream of events; elsewhere it opens nothing."""
    if request.method != "GET" or _STREAMS.fullmatch(request.scope["path"]) is None:
        return None
    return request.query_params.get("ticket")


async def readmit(request: Request) -> None:
    """Make sure that who sent a request would still be let in with it.

    Raises:
        KeyNeeded: The key is no longer valid; the subclass says why.
        DatabaseUnavailable: Whether it does cannot be found out now.
    """
    caller, needed = await admit(request), getattr(request.state, "needed", None)
    if needed is not None:
        _check_scopes(caller, needed)


def _check_scopes(caller: Caller, any_of: Sequence[Scope]) -> None:
    """Make sure that a caller has one of these scopes.

    Raises:
        ScopeMissing: The caller's key is for other things.
        DatabaseAway: It may not be, but that cannot be found out now.
    """
    if caller.may(any_of):
        return
    if caller.without_database:
        raise DatabaseAway("the database is away: nothing but queries is answered; try again later")
    raise ScopeMissing(any_of, sorted(caller.scopes))


def require(*any_of: Scope) -> params.Security:
    """The dependency by which a router or a route declares what it needs: one of these scopes."""
    security: params.Security = Security(authorize, scopes=[scope.value for scope in any_of])
    return security


async def _doorkeeper(request: Request) -> Doorkeeper:
    doorkeeper: Doorkeeper = request.state.doorkeeper
    return doorkeeper


DoorkeeperDep = Annotated[Doorkeeper, Depends(_doorkeeper)]
