"""A bundle as it is read: nothing is unpacked, and what does not belong is refused.

Its author may be hostile. So the archive is read by rules narrower than tar's:
plain files with names of the bundle's own, whose sizes add up to that of the archive. Nothing is
kept in memory but one line, or one artefact, or its header.
"""

import hashlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from app.errors import BadCheckpoint, BrokenEvidence
from app.ledger.bundle import ARTEFACTS, CHECKPOINT_NAME, FORMAT, FORMAT_NAME, LEDGER_NAME
from app.ledger.checkpoint import Checkpoint

#: longest line of a ledger: that of a rollback which undoes 130,000 edits
MAX_LINE_BYTES = 1 << 22
#: longest header of an artefact: thirty times that of the largest batch
MAX_HEADER_BYTES = 1 << 20

_SUFFIX = ".safetensors"
_SMALL_BYTES = 4096  # more than bundle.json and checkpoint.json ever have
_CHUNK_BYTES = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
_MAX_BRACKETS = 1_000  # of a line; an entry has a dozen
_SIZE_BYTES = 8  # of a safetensors header's length, before it


@dataclass(frozen=True)
class _Member:
    """Where a file of the archive is.

    Attributes:
        offset: Of its first byte.
        size: How many bytes it has.
    """

    offset: int
    size: int


class Bundle:
    """An open bundle; use it as a context manager.

    Every method raises `BrokenEvidence` where a file of it is missing, cut off or altered.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._file = path.open("rb")
        self._members: dict[str, _Member] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def check_form(self) -> None:
        """Find every file, and refuse another form of bundle."""
        end, place = self._file.seek(0, os.SEEK_END), 0
        while (header := self._block(place)).strip(b"\0"):
            place += _BLOCK
            name, size = self._read_header(header)
            if place + size > end:
                raise self._not_whole(f"{_shown(name)} is cut off")
            if name in self._members or not _belongs(name):
                raise BrokenEvidence("member", _shown(name), f"{_shown(name)} does not belong")
            self._members[name] = _Member(place, size)
            place += size + -size % _BLOCK
        self._check_end(place, end)
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
        member, index = self._member(LEDGER_NAME), 0
        place, end = member.offset, member.offset + member.size
        while place < end:
            self._file.seek(place)
            line = self._file.readline(min(end - place, MAX_LINE_BYTES + 1))
            if not line:
                raise self._not_whole("it became shorter while it was read")
            if len(line) > MAX_LINE_BYTES:
                raise BrokenEvidence(
                    "entry", index, f"entry {index} has more than {MAX_LINE_BYTES} bytes"
                )
            if line.count(b"[") + line.count(b"{") > _MAX_BRACKETS:
                raise BrokenEvidence("entry", index, f"entry {index} is no ledger entry")
            place, index = place + len(line), index + 1
            yield line

    def artefacts(self) -> set[str]:
        """Digests that files among the artefacts are named after."""
        return {
            name.removeprefix(ARTEFACTS).removesuffix(_SUFFIX)
            for name in self._members
            if name.startswith(ARTEFACTS)
        }

    def artefact(self, digest: str) -> bytes:
        """The content of an artefact, which has this digest."""
        member = self._artefact(digest)
        self._file.seek(member.offset)
        data = self._file.read(member.size)
        _require_digest(digest, hashlib.sha256(data).hexdigest())
        return data

    def artefact_header(self, digest: str) -> bytes:
        """The beginning of an artefact, which has this digest, up to its tensors."""
        member = self._artefact(digest)
        found = hashlib.sha256()
        for chunk in self._chunks(member):
            found.update(chunk)
        _require_digest(digest, found.hexdigest())
        self._file.seek(member.offset)
        length = int.from_bytes(self._file.read(min(member.size, _SIZE_BYTES)), "little")
        if length > MAX_HEADER_BYTES:
            raise BrokenEvidence(
                "artefact", digest, f"artefact {digest} has a header of {length} bytes"
            )
        self._file.seek(member.offset)
        return self._file.read(min(member.size, _SIZE_BYTES + length))

    def _artefact(self, digest: str) -> _Member:
        member = self._members.get(f"{ARTEFACTS}{digest}{_SUFFIX}")
        if member is None:
            raise BrokenEvidence("artefact", digest, f"artefact {digest} is missing")
        return member

    def _chunks(self, member: _Member) -> Iterator[bytes]:
        self._file.seek(member.offset)
        left = member.size
        while left:
            chunk = self._file.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise self._not_whole("it became shorter while it was read")
            left -= len(chunk)
            yield chunk

    def _small(self, name: str) -> bytes:
        member = self._member(name)
        self._file.seek(member.offset)
        return self._file.read(min(member.size, _SMALL_BYTES))

    def _member(self, name: str) -> _Member:
        member = self._members.get(name)
        if member is None:
            raise BrokenEvidence("member", name, f"{name} is missing")
        return member

    def _block(self, place: int) -> bytes:
        self._file.seek(place)
        return self._file.read(_BLOCK)

    def _read_header(self, header: bytes) -> tuple[str, int]:
        """Name and size of a plain file; links, holes and extended headers are none."""
        try:
            found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            raise self._not_whole(str(error)) from error
        if found.type != tarfile.REGTYPE or found.size < 0:
            raise BrokenEvidence(
                "member", _shown(found.name), f"{_shown(found.name)} is no plain file"
            )
        return found.name, found.size

    def _check_end(self, place: int, end: int) -> None:
        """After the last file there are two empty blocks, and nothing but zeros."""
        if end - place < 2 * _BLOCK:
            raise self._not_whole("its end is missing")
        if any(chunk.strip(b"\0") for chunk in self._chunks(_Member(place, end - place))):
            raise self._not_whole("something comes after its end")

    def _not_whole(self, why: str) -> BrokenEvidence:
        return BrokenEvidence(
            "member", _shown(self._name), f"{_shown(self._name)} is no whole tar file: {why}"
        )


def _belongs(name: str) -> bool:
    if name.startswith(ARTEFACTS) and name.endswith(_SUFFIX):
        return "/" not in name.removeprefix(ARTEFACTS)
    return name in (FORMAT_NAME, CHECKPOINT_NAME, LEDGER_NAME)


def _shown(name: str) -> str:
    # It is told on a terminal, which may take it for orders.
    return name if name.isprintable() else ascii(name)


def _require_digest(digest: str, found: str) -> None:
    if found != digest:
        raise BrokenEvidence(
            "artefact", digest, f"artefact {digest} was altered: its content has digest {found}"
        )
