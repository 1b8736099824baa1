"""Every table in one place, for migrations; importing this registers all models."""

from sqlalchemy import MetaData

from app.batches.models import EditBatch
from app.database.base import Base
from app.edits.models import Edit, StoredText
from app.erasures.models import Erasure
from app.events.models import Event
from app.exports.models import Export
from app.idempotency.models import IdempotencyKey
from app.keys.models import ApiKey
from app.ledger.models import LedgerEntry
from app.operations.models import Operation
from app.pausing.models import QueueState
from app.reverts.models import Revert
from app.revisions.models import Revision, RevisionChange
from app.snapshots.models import Snapshot
from app.withdrawals.models import Withdrawal
from app.worker.models import WriterLease

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
