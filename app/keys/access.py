"""How a route says which scope it needs, and where it is held against the caller's."""

from typing import Annotated

from fastapi import Depends, Request, Security, params
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from app.errors import ScopeMissing
from app.keys.doorkeeper import Doorkeeper
from app.keys.scopes import Caller, Scope

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
    """
    caller: Caller = request.state.caller
    scopes = [Scope(name) for name in needed.scopes]
    if not caller.may(scopes):
        raise ScopeMissing(scopes, sorted(caller.scopes))


def require(*any_of: Scope) -> params.Security:
    """The dependency by which a router or a route declares what it needs: one of these scopes."""
    security: params.Security = Security(authorize, scopes=[scope.value for scope in any_of])
    return security


async def _doorkeeper(request: Request) -> Doorkeeper:
    doorkeeper: Doorkeeper = request.state.doorkeeper
    return doorkeeper


DoorkeeperDep = Annotated[Doorkeeper, Depends(_doorkeeper)]
