"""Writes exports one after another on a thread of its own, beside the worker and the queries."""

import threading

from safetensors import SafetensorError

from app.database.database import Database
from app.database.tables.exports import Export
from app.errors import DatabaseUnavailable, ErrataError, Unavailable
from app.exports import repository, service
from app.exports.archive import pack
from app.exports.service import Kept, Written
from app.exports.store import ExportStore
from app.exports.writing import Source
from app.kit.clock import Clock
from app.kit.disk import DiskSpace
from app.kit.failpoints import ExportFailpoint, failpoint
from app.kit.logs import get_logger
from app.kit.priority import step_back
from app.kit.process import ProcessId
from app.kit.silence import Silence
from editing_core.errors import EditingError

_WRITTEN = 0.5  # share of the work that is done before packing begins
_TOLD_EVERY = 0.05
_SILENCE_S = 60.0  # after which a writer elsewhere that shows no beat is taken for dead
_BEAT_S = _SILENCE_S / 4
_COPIES = 2  # its files, and the archive of them

_log = get_logger(__name__)


class _Stopped(Exception):
    """The service ends, or the export was removed, while it was being written."""


class Exporter:
    """The thread that writes exports.

    Args:
        source: What they are made of.
        store: Where they go.
        kept: How many finished ones are kept, the newest, and how many bytes of them.
        space: Of the disk that they go to.
        poll_s: How often to look for those accepted by other processes, or begun by dead ones.
        clock: When one ended.
    """

    def __init__(
        self,
        source: Source,
        store: ExportStore,
        *,
        kept: Kept,
        space: DiskSpace,
        poll_s: float,
        clock: Clock,
    ) -> None:
        self._source, self._store, self._kept, self._space = source, store, kept, space
        self._poll_s, self._clock = poll_s, clock
        self._process = ProcessId.own()
        self._silence = Silence(_SILENCE_S)
        self._woken, self._stopped = threading.Event(), threading.Event()
        self._writing = threading.Event()
        # A daemon: a model being saved must not keep a stopped service from ending.
        self._thread = threading.Thread(target=self._loop, name="exporter", daemon=True)
        self._beating = threading.Thread(target=self._beat, name="exporter beat", daemon=True)

    def start(self) -> None:
        """Begin with what is accepted."""
        self._thread.start()
        self._beating.start()

    def wake(self) -> None:
        """Something was accepted."""
        self._woken.set()

    def stop(self, timeout_s: float) -> None:
        """End; an export that is being written is begun again at the next start."""
        self._stopped.set()
        self._woken.set()
        self._thread.join(timeout_s)

    def _loop(self) -> None:
        step_back()
        while not self._stopped.is_set():
            self._woken.clear()
            try:
                self._sweep()
                while not self._stopped.is_set() and (export := self._claimed()) is not None:
                    self._writing.set()
                    self._run(export)
                    self._writing.clear()
            except (Unavailable, OSError) as error:
                _log.warning("exports_wait", error=str(error))
            self._woken.wait(self._poll_s)

    def _beat(self) -> None:
        while not self._stopped.wait(_BEAT_S):
            if self._writing.is_set():
                try:
                    with self._database.write() as session:
                        service.beat(session, self._process)
                except Unavailable as error:
                    _log.warning("export_beat_missed", error=str(error))

    def _claimed(self) -> Export | None:
        with self._database.write() as session:
            return service.claim(session, self._process, self._clock(), self._silence)

    def _sweep(self) -> None:
        listed = self._store.listed()
        with self._database.read() as session:
            running = {export.id for export in repository.running(session)}
            finished = {export.id for export in repository.finished(session)}
        if removed := self._store.sweep(listed, running=running, finished=finished):
            _log.info("export_leftovers_removed", files=removed)

    def _run(self, export: Export) -> None:
        failpoint(ExportFailpoint.CLAIMED)
        try:
            written = self._write(export)
        except _Stopped:
            with self._database.write() as session:
                service.release(session, export.id)
        except DatabaseUnavailable:
            raise  # nobody can be told now; it is begun again when the database is back
        except (EditingError, ErrataError) as error:
            self._fail(export, str(error))
        except (OSError, SafetensorError) as error:
            self._fail(export, f"the disk did not take the export: {error}")
        # The outermost frame of one export: whatever went wrong, the next one is not to suffer.
        except Exception:
            _log.exception("export_crashed", export_id=export.id)
            self._fail(export, "an internal error; the service's log has it")
        else:
            self._finish(export, written)

    def _write(self, export: Export) -> Written:
        self._space.require(_COPIES * self._source.size_of(export))
        partial = self._store.prepare(export.id)
        try:
            folder = partial / "files"
            folder.mkdir()
            manifest = self._source.write(export, folder)
            failpoint(ExportFailpoint.WRITTEN)
            self._tell(export, _WRITTEN)
            archive = partial / "archive.tar"
            inside = f"{manifest.model}@{manifest.revision}-{export.format}"
            total = sum(path.stat().st_size for path in folder.iterdir())
            packed = pack(folder, inside, archive, lambda size: self._packed(export, size, total))
            failpoint(ExportFailpoint.PACKED)
            self._store.keep(export.id, archive)
        finally:
            self._store.abandon(export.id)
        failpoint(ExportFailpoint.STORED)
        return Written(packed.size, packed.digest, tuple(manifest.warnings))

    def _packed(self, export: Export, size: int, total: int) -> None:
        self._tell(export, _WRITTEN + (1 - _WRITTEN) * min(1.0, size / max(1, total)))

    def _tell(self, export: Export, progress: float) -> None:
        if self._stopped.is_set():
            raise _Stopped
        if progress - export.progress >= _TOLD_EVERY:
            export.progress = progress
            with self._database.write() as session:
                wanted = service.note_progress(session, export.id, progress)
            if not wanted:
                raise _Stopped

    def _finish(self, export: Export, written: Written) -> None:
        with self._database.write() as session:
            wanted = service.finish(session, export.id, written, now=self._clock())
            session.flush()
            retired = service.retire(session, kept=self._kept, now=self._clock())
        for old in retired if wanted else [*retired, export.id]:
            self._store.remove(old)
        _log.info("export_ended", export_id=export.id, revision=export.revision, kept=wanted)

    def _fail(self, export: Export, reason: str) -> None:
        _log.warning("export_failed", export_id=export.id, reason=reason)
        with self._database.write() as session:
            service.fail(session, export.id, reason, now=self._clock())

    @property
    def _database(self) -> Database:
        return self._source.database
