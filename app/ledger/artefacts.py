"""Content-addressed files, each named after its SHA-256: factors of edits, and snapshots."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Set
from datetime import date
from pathlib import Path

from app.errors import CorruptArtefact
from app.kit.failpoints import Failpoint, failpoint
from app.ledger.orphans import Orphans

_SUFFIX = ".safetensors"
_PARTIAL = ".partial"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ArtefactStore:
    """A folder of immutable files; a name that exists always holds the whole content."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._orphans = folder, Orphans(folder)
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def folder(self) -> Path:
        """Where the artefacts are."""
        return self._folder

    def path(self, digest: str) -> Path:
        """Where the artefact with this digest is, or would be."""
        return self._folder / f"{digest}{_SUFFIX}"

    def found(self, digest: str) -> Path:
        """The same; if it is not there but among the orphans, it is moved back."""
        path = self.path(digest)
        if not path.exists():
            self._orphans.give_back(path.name)
        return path

    def put(self, data: bytes) -> str:
        """Store `data` durably and return its digest; storing it again changes nothing.

        Raises:
            OSError: The disk did not take it; nothing is left behind under the digest's name.
        """
        digest = hashlib.sha256(data).hexdigest()
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=_PARTIAL)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                failpoint(Failpoint.ARTEFACT_WRITTEN)
                os.fsync(file.fileno())
            failpoint(Failpoint.ARTEFACT_SYNCED)
            Path(name).replace(self.path(digest))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._sync_folder()
        failpoint(Failpoint.ARTEFACT_STORED)
        return digest

    def read(self, digest: str) -> bytes:
        """The artefact's content, checked.

        Raises:
            CorruptArtefact: It is missing or was altered.
        """
        try:
            data = self.found(digest).read_bytes()
        except FileNotFoundError as error:
            raise CorruptArtefact(f"artefact {digest} is missing at {self.path(digest)}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise CorruptArtefact(f"artefact {digest} was altered: its content has digest {found}")
        return data

    def digests(self) -> set[str]:
        """Of every artefact there is; their content is not looked at."""
        return {path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"*{_SUFFIX}")}

    def size(self, digests: Iterable[str]) -> int:
        """How many bytes these artefacts take, as far as they are there."""
        paths = map(self.path, digests)
        return sum(path.stat().st_size for path in paths if path.is_file())

    def remove(self, digest: str) -> None:
        """Remove the artefact with this digest, if it is there."""
        self.path(digest).unlink(missing_ok=True)

    def remove_all_but(self, named: Set[str]) -> int:
        """Remove what no `named` digest refers to, and half-written files; for caches alone.

        Only while nobody stores anything: what is stored but not yet named would go, too.

        Returns:
            How many files were removed.
        """
        orphans = [self.path(digest) for digest in sorted(self.digests() - named)]
        for orphan in orphans:
            orphan.unlink(missing_ok=True)
        return len(orphans) + self.remove_partial()

    def set_aside_all_but(self, named: Set[str], today: date) -> int:
        """Move what no `named` digest refers to among the orphans, and back what is named again.

        Only while no other process stores artefacts.

        Returns:
            How many were moved among the orphans.
        """
        for digest in named - self.digests():
            self.found(digest)
        unnamed = sorted(self.digests() - named)
        for digest in unnamed:
            self._orphans.take(self.path(digest), today)
        return len(unnamed)

    def remove_orphans(self, named: Set[str], *, before: date) -> int:
        """Remove orphans that came in before a day and are not named; how many there were."""
        return self._orphans.remove(before=before, but={self.path(one).name for one in named})

    def remove_partial(self) -> int:
        """Remove what a crash left half written; how many files that was."""
        halves = sorted(self._folder.glob(f"*{_PARTIAL}"))
        for half in halves:
            half.unlink(missing_ok=True)
        return len(halves)

    def check(self, digest: str) -> None:
        """Find out, in constant memory, whether an artefact is there and unaltered.

        Raises:
            CorruptArtefact: It is not.
        """
        if not _DIGEST.fullmatch(digest):
            raise CorruptArtefact(f"{digest!r} is no SHA-256, so it names no artefact")
        try:
            with self.found(digest).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise CorruptArtefact(f"artefact {digest} is missing at {self.path(digest)}") from error
        if found != digest:
            raise CorruptArtefact(f"artefact {digest} was altered: its content has digest {found}")

    def _sync_folder(self) -> None:
        # A rename survives a power cut only once its folder is on disk too.
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
