"""What may happen to an export, as rows and ledger entries; knows no files and no model.

An export hands out weights. So the ledger tells who asked for it, which file came of it, and who
removed it; the row goes with the file, the entries stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.database.tables.exports import Export, ExportFormat, ExportStatus
from app.database.tables.ledger import EntryKind, LedgerEntry
from app.errors import InvalidField, TooManyExports
from app.exports import repository
from app.facts.spans import Span
from app.kit.canonical import JsonObject
from app.kit.process import ProcessId
from app.kit.silence import Silence
from app.ledger import service as ledger
from app.settings import Settings

_MAX_ATTEMPTS = 3
#: whom the ledger names for what the service does by itself
_ACTOR = "exporter"


@dataclass(frozen=True)
class Written:
    """An export's file.

    Attributes:
        size: In bytes.
        digest: SHA-256.
        warnings: What whoever loads it should know.
    """

    size: int
    digest: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """How many finished exports are kept.

    Attributes:
        most: The newest, so many of them at most.
        bytes: How many bytes they may have, but for the newest; 0 for any number.
    """

    most: int
    bytes: int


def check_room(session: Session, settings: Settings, *, actor: str) -> None:
    """Let a caller ask for a further export.

    Raises:
        TooManyExports: So many are unfinished that it would only wait.
    """
    most, own = settings.max_exports, settings.exports_per_caller
    if repository.count_unfinished(session, actor=actor) >= own:
        raise TooManyExports(own, " of this caller", "ERRATA_EXPORTS_PER_CALLER")
    if repository.count_unfinished(session) >= most:
        raise TooManyExports(most, "", "ERRATA_MAX_EXPORTS")


def accept(
    session: Session,
    *,
    id: str,
    format: ExportFormat,
    revision: int,
    max_rank: int | None,
    actor: str,
    now: datetime,
) -> Export:
    """Take on an export.

    Raises:
        InvalidField: A rank is given for what has none.
    """
    if max_rank is not None and format is not ExportFormat.LORA:
        raise InvalidField("max_rank", f"only format lora has a rank; {format} takes none")
    entry = _tell(session, id, _asked(format, revision, max_rank), actor, now)
    export = Export(
        id=id,
        format=format,
        revision=revision,
        max_rank=max_rank,
        status=ExportStatus.ACCEPTED,
        actor=actor,
        created_at=now,
        ledger_index=entry.index,
    )
    repository.add(session, export)
    return export


def share(session: Session, export: Export, *, actor: str, now: datetime) -> None:
    """Let another caller have an export that was asked for before; the ledger tells who."""
    if actor != export.actor:
        asked = _asked(export.format, export.revision, export.max_rank)
        _tell(session, export.id, asked, actor, now)


def _asked(format: ExportFormat, revision: int, max_rank: int | None) -> JsonObject:
    asked: JsonObject = {"format": format.value, "revision": revision}
    return asked if max_rank is None else asked | {"max_rank": max_rank}


def claim(
    session: Session, process: ProcessId, now: datetime, silence: Silence | None = None
) -> Export | None:
    """The next export for this process, which writes none, to write.

    First, those are taken back whose process died, could not tell how they ended, or, where
    `silence` watches them, shows no beat.
    """
    for export in repository.running(session):
        writer = None if export.process is None else ProcessId.from_text(export.process)
        beat = (export.process, export.beat)
        is_silent = silence is not None and silence.has_lasted(export.id, beat)
        if writer is None or writer == process or writer.is_gone or is_silent:
            _take_back(export, now)
    session.flush()
    found = repository.next_accepted(session)
    if found is not None:
        found.status, found.process = ExportStatus.RUNNING, process.to_text()
        found.attempts += 1
        found.progress = 0.0
    return found


def beat(session: Session, process: ProcessId) -> None:
    """Show that this process lives, on the export that it writes."""
    for export in repository.running(session):
        if export.process == process.to_text():
            export.beat += 1


def note_progress(session: Session, export_id: str, progress: float) -> bool:
    """Tell how much is done; whether anybody still wants it."""
    export = repository.find(session, export_id)
    if export is None or export.status is not ExportStatus.RUNNING:
        return False
    export.progress = progress
    return True


def finish(session: Session, export_id: str, written: Written, *, now: datetime) -> bool:
    """Let its file, which is durable, be downloaded; whether anybody still wants it."""
    export = repository.find(session, export_id)
    if export is None or export.status is not ExportStatus.RUNNING:
        return False
    _tell(session, export_id, {"digest": written.digest, "bytes": written.size}, _ACTOR, now)
    export.status, export.progress, export.finished_at = ExportStatus.FINISHED, 1.0, now
    export.size, export.digest = written.size, written.digest
    export.warnings, export.process = list(written.warnings), None
    return True


def fail(session: Session, export_id: str, reason: str, *, now: datetime) -> None:
    """Say why there will be no file, unless it was removed."""
    export = repository.find(session, export_id)
    if export is not None:
        _fail(export, reason, now)


def release(session: Session, export_id: str) -> None:
    """Give back what this process began and will not end, as if it had not been begun."""
    export = repository.find(session, export_id)
    if export is not None and export.status is ExportStatus.RUNNING:
        export.status, export.process, export.progress = ExportStatus.ACCEPTED, None, 0.0
        export.attempts -= 1


def remove(session: Session, export_id: str, *, actor: str, now: datetime) -> None:
    """Remove an export; who is writing it finds out, and ends.

    Raises:
        UnknownExport: There is none.
    """
    _remove(session, repository.get(session, export_id), actor, now)


def withdraw(session: Session, spans: Sequence[Span], *, now: datetime) -> list[str]:
    """Let there be no file of these revisions; ids of the exports whose files are to go.

    Who is writing one finds out, and ends.
    """
    found = repository.of_revisions(session, spans)
    for export in found:
        _fail(export, f"revision {export.revision} was withdrawn", now)
        export.size = export.digest = None
    return [export.id for export in found]


def retire(session: Session, *, kept: Kept, now: datetime) -> list[str]:
    """Remove all but the newest finished ones; ids of those removed."""
    retired, size = list[str](), 0
    for place, export in enumerate(repository.finished(session)):
        size += export.size or 0
        if place >= kept.most or (place and kept.bytes and size > kept.bytes):
            _remove(session, export, _ACTOR, now)
            retired.append(export.id)
    return retired


def _remove(session: Session, export: Export, actor: str, now: datetime) -> None:
    _tell(session, export.id, {"removed": True}, actor, now)
    repository.remove(session, export)


def _tell(
    session: Session, export_id: str, told: JsonObject, actor: str, now: datetime
) -> LedgerEntry:
    return ledger.append(session, EntryKind.EXPORT, {"id": export_id, **told}, actor=actor, now=now)


def _take_back(export: Export, now: datetime) -> None:
    if export.attempts < _MAX_ATTEMPTS:
        export.status, export.process, export.progress = ExportStatus.ACCEPTED, None, 0.0
        return
    _fail(export, f"it was begun {export.attempts} times and never ended, so it was given up", now)


def _fail(export: Export, reason: str, now: datetime) -> None:
    export.status, export.reason, export.finished_at = ExportStatus.FAILED, reason, now
    export.process = None
