"""What the process holds in memory that it no longer uses, or need not look at again."""

import ctypes
import gc
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


def pass_over_what_is_there() -> None:
    """Have the garbage collector never look again at the objects that exist now.

    A start leaves millions, which stay; looking through all of them stopped every thread for a
    third of a second, at any moment. For processes that start one service and end with it.
    """
    gc.collect()
    gc.freeze()
