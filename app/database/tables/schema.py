"""Every table in one place, for migrations; importing this registers all models."""

from sqlalchemy import MetaData

from app.database.tables.api_keys import ApiKey
from app.database.tables.base import Base
from app.database.tables.batches import EditBatch
from app.database.tables.edits import Edit, StoredText
from app.database.tables.erasures import Erasure
from app.database.tables.events import Event
from app.database.tables.exports import Export
from app.database.tables.idempotency import IdempotencyKey
from app.database.tables.labels import Snapshot
from app.database.tables.lease import WriterLease
from app.database.tables.ledger import LedgerEntry
from app.database.tables.operations import Operation
from app.database.tables.queue_state import QueueState
from app.database.tables.reverts import Revert
from app.database.tables.revisions import Revision, RevisionChange
from app.database.tables.withdrawals import Withdrawal

__all__ = [
    "ApiKey",
    "Edit",
    "EditBatch",
    "Erasure",
    "Event",
    "Export",
    "IdempotencyKey",
    "LedgerEntry",
    "Operation",
    "QueueState",
    "Revert",
    "Revision",
    "RevisionChange",
    "Snapshot",
    "StoredText",
    "Withdrawal",
    "WriterLease",
    "metadata",
]

metadata: MetaData = Base.metadata
