"""How much memory the process keeps that it no longer uses."""

import ctypes
import platform

_M_ARENA_MAX = -8  # of mallopt(3)
_ARENAS = 2


def keep_few_arenas() -> None:
    """Let all threads allocate from two arenas; call it before threads start.

    glibc gives each thread an arena of its own and returns little of them: a batch computed by one
    thread after another left up to a dozen of 64 MB behind. Other C libraries do not do that.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
