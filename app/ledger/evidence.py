"""A bundle as it is read: nothing is unpacked, and what does not belong is refused."""

import hashlib
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from app.errors import BadCheckpoint, BrokenEvidence
from app.ledger.bundle import ARTEFACTS, CHECKPOINT_NAME, FORMAT, FORMAT_NAME, LEDGER_NAME
from app.ledger.checkpoint import Checkpoint

_SUFFIX = ".safetensors"
_SMALL_BYTES = 4096  # more than bundle.json and checkpoint.json ever have


class Bundle:
    """An open bundle; use it as a context manager.

    Every method raises `BrokenEvidence` where a file of it is missing, cut off or altered.

    Args:
        path: The file.

    Raises:
        BrokenEvidence: It is not the tar file that the service makes.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        with self._tar_errors_named():
            self._tar = tarfile.open(path, "r:")  # noqa: SIM115 - closed by __exit__
        self._members: dict[str, tarfile.TarInfo] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tar.close()

    def check_form(self) -> None:
        """Find every file, and refuse another form of bundle."""
        with self._tar_errors_named():
            for member in self._tar:
                if member.name in self._members or not member.isreg():
                    raise BrokenEvidence("member", member.name, f"{member.name} does not belong")
                self._members[member.name] = member
        if self._small(FORMAT_NAME) != FORMAT.encode():
            raise BrokenEvidence(
                "member", FORMAT_NAME, f"{FORMAT_NAME} names a form this release does not read"
            )

    def checkpoint(self) -> Checkpoint:
        """The signed head that came with it; the signature is not checked here."""
        data = self._small(CHECKPOINT_NAME)
        try:
            found = Checkpoint.from_text(data)
        except BadCheckpoint as error:
            raise BrokenEvidence("checkpoint", CHECKPOINT_NAME, error.message) from error
        if found.to_text().encode() != data:
            raise BrokenEvidence(
                "checkpoint", CHECKPOINT_NAME, f"{CHECKPOINT_NAME} is not canonical JSON"
            )
        return found

    def lines(self) -> Iterator[bytes]:
        """The lines of the ledger, each with its end."""
        with self._tar_errors_named(), self._open(LEDGER_NAME) as ledger:
            yield from ledger

    def artefacts(self) -> set[str]:
        """Digests that files among the artefacts are named after."""
        return {
            name.removeprefix(ARTEFACTS).removesuffix(_SUFFIX)
            for name in self._members
            if name.startswith(ARTEFACTS) and name.endswith(_SUFFIX)
        }

    def artefact(self, digest: str) -> bytes:
        """The content of an artefact, which has this digest."""
        name = f"{ARTEFACTS}{digest}{_SUFFIX}"
        if name not in self._members:
            raise BrokenEvidence("artefact", digest, f"artefact {digest} is missing")
        with self._tar_errors_named(), self._open(name) as file:
            data = file.read()
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise BrokenEvidence(
                "artefact", digest, f"artefact {digest} was altered: its content has digest {found}"
            )
        return data

    def strangers(self) -> list[str]:
        """Names of files that no bundle has."""
        known = {FORMAT_NAME, CHECKPOINT_NAME, LEDGER_NAME}
        known |= {f"{ARTEFACTS}{digest}{_SUFFIX}" for digest in self.artefacts()}
        return sorted(self._members.keys() - known)

    def _small(self, name: str) -> bytes:
        with self._tar_errors_named(), self._open(name) as file:
            return file.read(_SMALL_BYTES)

    def _open(self, name: str) -> IO[bytes]:
        member = self._members.get(name)
        found = None if member is None else self._tar.extractfile(member)
        if found is None:
            raise BrokenEvidence("member", name, f"{name} is missing")
        return found

    @contextmanager
    def _tar_errors_named(self) -> Iterator[None]:
        try:
            yield
        except (tarfile.TarError, EOFError) as error:
            raise BrokenEvidence(
                "member", self._name, f"{self._name} is no whole tar file: {error}"
            ) from error
