"""Where a test may end or stop the process, to see what is left behind and made good.

The points lie along the path of an operation or of an export, in the order in which it passes
them. None is armed unless ``ERRATA_FAILPOINT`` names it: ``claimed`` ends the process there as the
kernel would, ``claimed:stop`` freezes it there until somebody lets it go on. Tests iterate over
both enums, so a new point is tried without anyone remembering.
"""

import os
import signal
from enum import StrEnum

VARIABLE = "ERRATA_FAILPOINT"


class Failpoint(StrEnum):
    """A place between two steps of which one must not happen without the other."""

    #: the operation is written, its transaction has not committed
    ACCEPTING = "accepting"
    #: the client is about to be told; the doorbell has not rung
    ACCEPTED = "accepted"
    #: the worker has found it, and claims it in a transaction that has not committed
    CLAIMING = "claiming"
    #: the operation is running, nothing is computed
    CLAIMED = "claimed"
    #: in the middle of a batch: what it starts from is known
    SOLVING = "solving"
    #: the delta is there, nobody has judged it
    SOLVED = "solved"
    #: an artefact is in its temporary file, perhaps not on disk
    ARTEFACT_WRITTEN = "artefact-written"
    #: it is on disk, without its name
    ARTEFACT_SYNCED = "artefact-synced"
    #: it has its name, the ledger knows nothing of it
    ARTEFACT_STORED = "artefact-stored"
    #: the revision is written, its transaction has not committed
    COMMITTING = "committing"
    #: the ledger has the revision, the mark outside of the database is the one before
    UNMARKED = "unmarked"
    #: the ledger has the revision, nobody is served by it
    COMMITTED = "committed"
    #: it is served; the worker's own head is the one before
    PUBLISHED = "published"
    #: all is done but the doorbell's acknowledgement
    ADVANCED = "advanced"


class ExportFailpoint(StrEnum):
    """A place in the writing of an export, in the order in which it passes them."""

    #: a process has it, nothing is written
    CLAIMED = "export-claimed"
    #: its files are there, not packed
    WRITTEN = "export-written"
    #: its archive is on disk, without its name
    PACKED = "export-packed"
    #: it has its name, the database knows nothing of it
    STORED = "export-stored"


def failpoint(point: Failpoint | ExportFailpoint) -> None:
    """Pass, unless the environment arms this point."""
    armed = os.environ.get(VARIABLE)
    if armed is None:
        return
    name, _, action = armed.partition(":")
    if name == point:
        os.kill(os.getpid(), signal.SIGSTOP if action == "stop" else signal.SIGKILL)
