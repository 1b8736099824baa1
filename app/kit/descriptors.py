"""How many files, sockets among them, this process may have open."""

import resource

#: more than any installation needs; some libraries walk through all that are possible
_ENOUGH = 65_536
_RESERVE = 256  # for databases, artefacts, exports, and connections not yet counted


def raise_limit() -> None:
    """Take as many descriptors as the operator allows, not only as many as are usual."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def room_for(connections: int) -> int:
    """So many connections, or as many as leave enough descriptors for everything else."""
    return min(connections, _limit() - reserve())


def reserve() -> int:
    """Descriptors that are not for connections which have a place."""
    return min(_RESERVE, _limit() // 2)


def _limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH if soft == resource.RLIM_INFINITY else soft
