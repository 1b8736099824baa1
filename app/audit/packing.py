"""All that an auditor needs in one file."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event

from app.database.database import Database
from app.ledger.artefacts import ArtefactStore
from app.ledger.bundle import PackedBundle
from app.ledger.chain import is_digest
from app.ledger.checkpoint import Checkpoint
from app.ledger.records import artefact_of
from app.ledger.schemas import EntryResource
from app.ledger.service import entries
from app.operations.withdrawals import unserved_artefacts


def pack(
    database: Database, artefacts: ArtefactStore, signed: Checkpoint, stop: Event | None = None
) -> PackedBundle:
    """The bundle of all that a checkpoint covers, without what only withdrawn revisions need.

    Raises:
        ClientGone: It was told to stop.
        OSError: There is no room for a copy of the entries.
    """
    with database.read() as session:
        unserved = unserved_artefacts(session, size=signed.size)
    with ExitStack() as stack:
        ledger, paths = stack.enter_context(TemporaryFile()), dict[Path, None]()
        for entry in entries(database, size=signed.size, stop=stop):
            ledger.write(EntryResource.of(entry).to_line().encode())
            digest = artefact_of(entry)
            if digest is not None and is_digest(digest) and digest not in unserved:
                paths[artefacts.found(digest)] = None
        bundle = PackedBundle(signed, ledger, list(paths))
        stack.pop_all()  # it closes the file once it has been sent
        return bundle
