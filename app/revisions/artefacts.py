"""Content-addressed files: the factors of committed edits, each named after its SHA-256."""

import hashlib
import os
import re
import tempfile
from pathlib import Path

from app.errors import CorruptArtefact

_SUFFIX = ".safetensors"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ArtefactStore:
    """A folder of immutable files; a name that exists always holds the whole content."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where the artefact with this digest is, or would be."""
        return self._folder / f"{digest}{_SUFFIX}"

    def put(self, data: bytes) -> str:
        """Store `data` durably and return its digest; storing it again changes nothing.

        Raises:
            OSError: The disk did not take it; nothing is left behind under the digest's name.
        """
        digest = hashlib.sha256(data).hexdigest()
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=".partial")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path(digest))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._sync_folder()
        return digest

    def read(self, digest: str) -> bytes:
        """The artefact's content, checked.

        Raises:
            CorruptArtefact: It is missing or was altered.
        """
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError as error:
            raise CorruptArtefact(f"artefact {digest} is missing at {self.path(digest)}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise CorruptArtefact(f"artefact {digest} was altered: its content has digest {found}")
        return data

    def check(self, digest: str) -> None:
        """Find out, in constant memory, whether an artefact is there and unaltered.

        Raises:
            CorruptArtefact: It is not.
        """
        if not _DIGEST.fullmatch(digest):
            raise CorruptArtefact(f"{digest!r} is no SHA-256, so it names no artefact")
        try:
            with self.path(digest).open("rb") as file:
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
