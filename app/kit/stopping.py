"""The end of a process that was told to end: in order, or else in ten seconds.

The ledger makes a hard end safe: an edit that was being computed is computed again.
"""

import faulthandler
import os
import threading

from app.kit.logs import get_logger

#: how long answers that are being written are waited for
GRACE_S = 3
#: how long exports, queries and edits are waited for, all together
MODEL_STOP_S = 4.0
_HARD_S = 9.5
_HARDER_S = 10.0  # nothing of Python runs any more: a thread holds the interpreter
_STATUS = 1
_log = get_logger(__name__)


def end_in_time() -> None:
    """Have this process end within ten seconds, whatever its threads are in by then."""
    # C code on a thread of its own, which needs no interpreter; it also says where all are stuck.
    faulthandler.dump_traceback_later(_HARDER_S, exit=True)
    timer = threading.Timer(_HARD_S, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    _log.error("ended_hard", seconds=_HARD_S)
    os._exit(_STATUS)
