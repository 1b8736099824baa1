"""Where a request comes from, as far as it says so itself.

Without keys every program on this machine may do everything, and a web page in a browser on it
sends requests from this machine, too. Three things give such a page away: the name it believes to
talk to (`Host`, also after DNS rebinding), where it was loaded from (`Origin`, `Sec-Fetch-Site`),
and the headers that a proxy adds.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from app.errors import ForeignHost, ForeignRequest

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?", re.ASCII)
_ORIGIN = re.compile(r"(https?)://(.+)")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_OF_PROXIES = frozenset({"forwarded", "via", "x-real-ip"})
_PROXY_PREFIX = "x-forwarded"
# none: typed or opened by hand; every program that is no browser leaves the header out
_OWN_SITES = frozenset({"same-origin", "none"})
_LOCAL_NAMES = "localhost, 127.0.0.1 and [::1]"


def check_host(scope: Scope, hosts: Sequence[str]) -> None:
    """Make sure that a request is addressed to this machine, or to one of these names.

    Raises:
        ForeignHost: It is not.
    """
    accepted = ", ".join([*hosts, _LOCAL_NAMES])
    given = Headers(scope=scope).getlist("host")
    if len(given) != 1:
        raise ForeignHost(f"the request has {len(given)} Host headers, not one", accepted)
    name, _ = _host_and_port(given[0])
    if not (_is_local(name) or name in hosts):
        raise ForeignHost(f"the Host {given[0][:80]!r} names another service", accepted)


def check_local(scope: Scope) -> None:
    """Make sure that a request was made on this machine, by no page from elsewhere.

    Raises:
        ForeignHost: It is addressed to another name than this machine's.
        ForeignRequest: It was forwarded, comes from another machine, or from another site's page.
    """
    check_host(scope, ())
    headers = Headers(scope=scope)
    for name in headers:
        if name in _OF_PROXIES or name.startswith(_PROXY_PREFIX):
            raise ForeignRequest(name, f"the request was forwarded by a proxy ({name})")
    if not _is_local(peer_of(scope) or ""):
        raise ForeignRequest("", "the request does not come from this machine's own network")
    for origin in headers.getlist("origin"):
        if _authority(origin) != _host_and_port(headers["host"], "http"):
            raise ForeignRequest("Origin", "the page that asks was loaded from elsewhere (Origin)")
    for site in headers.getlist("sec-fetch-site"):
        if site not in _OWN_SITES:
            raise ForeignRequest(
                "Sec-Fetch-Site", "the page that asks was loaded from elsewhere (Sec-Fetch-Site)"
            )


def peer_of(scope: Scope) -> str | None:
    """The address that a request came from; None on a socket that has none."""
    client = scope.get("client")
    return None if client is None else str(client[0])


def _is_local(name: str) -> bool:
    """Whether a name or an address is of this machine alone."""
    if name == "localhost":
        return True
    try:
        address = ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _host_and_port(text: str, scheme: str = "") -> tuple[str, str]:
    """The parts of ``host:port``; empty if it is no such thing."""
    found = _HOST.fullmatch(text.lower())
    if found is None:
        return "", ""
    return found[1], found[2] or _DEFAULT_PORTS.get(scheme, "")


def _authority(origin: str) -> tuple[str, str]:
    found = _ORIGIN.fullmatch(origin.lower())
    return ("", "") if found is None else _host_and_port(found[2], found[1])
