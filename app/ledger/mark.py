"""How far the ledger was, kept outside of the database: a file beside the ledger's private key.

A database that was set back to an older copy holds together in itself; it only lacks what came
after. The mark is what it lacks.

The file is a log with one line a commit, of which the furthest of the last lines counts. Appending
costs microseconds, needs no lock among processes, and a line that a power cut tore counts for
nothing. A mark that is older than the ledger's end does no harm: the ledger contains it.
"""

import fcntl
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.errors import UnusableMark
from app.kit.canonical import JsonObject

NAME = "ledger-mark"

_LINE = re.compile(rb"^(\d{1,18}) ([0-9a-f]{64}) ([0-9a-f]{64})$", re.MULTILINE)
_TAIL_BYTES = 4096  # far more than the lines that processes can have written out of order
_LONG_BYTES = 1 << 20


@dataclass(frozen=True)
class Mark:
    """A place in the chain.

    Attributes:
        size: How many entries there are up to it.
        hash: Hash of the last of them.
        origin: Hash of the first: which ledger it is.
    """

    size: int
    hash: str
    origin: str

    def to_json(self) -> JsonObject:
        """As the ledger tells of it."""
        return {"size": self.size, "hash": self.hash, "origin": self.origin}


class Marks:
    """The mark of one data directory; every process that writes there moves the same one."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / NAME

    def newest(self) -> Mark | None:
        """The furthest mark; None where none was ever set.

        Raises:
            UnusableMark: The file holds something else.
        """
        try:
            with self.path.open("rb") as file:
                return self._furthest(file)
        except FileNotFoundError:
            return None

    def move(self, mark: Mark, *, durably: bool) -> None:
        """Set the mark, unless one further on is set already.

        Args:
            mark: Where to; its entry has been committed.
            durably: Whether a power cut must not take it back.

        Raises:
            OSError: The disk did not take it; the mark before still holds.
        """
        known = self.newest()
        if known is None:
            self._write_anew(mark)
        elif known.size < mark.size:
            while not self._append(mark, durably):
                pass

    def begin_anew(self, mark: Mark) -> None:
        """Set a mark that does not follow from the one before, which is kept under another name."""
        known = self.newest()
        if known is not None:
            self.path.replace(self.path.with_name(f"{NAME}.{known.size}-{known.hash[:12]}"))
        self._write_anew(mark)

    @property
    def was_begun_anew(self) -> bool:
        """Whether an older database was ever accepted here."""
        return any(self.path.parent.glob(f"{NAME}.*-*"))

    def shorten(self) -> None:
        """Drop all lines but the newest from a file that has become long."""
        if not self.path.exists() or self.path.stat().st_size < _LONG_BYTES:
            return
        with self.path.open("rb") as former:
            found = self._furthest(former) if self._is_mine_to_replace(former) else None
            if found is None:
                return
            self._write_anew(found)
            # What another process appended meanwhile went to the file that has lost its name.
            later = self._furthest(former)
        if later is not None:
            self.move(later, durably=True)

    def _is_mine_to_replace(self, file: IO[bytes]) -> bool:
        """Whether no other process shortens the file now, or has done so just before."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return os.path.samestat(os.fstat(file.fileno()), self.path.stat())

    def _furthest(self, file: IO[bytes]) -> Mark | None:
        length = file.seek(0, os.SEEK_END)
        for start in (max(0, length - _TAIL_BYTES), 0):
            file.seek(start)
            found = [
                Mark(int(size), digest.decode(), origin.decode())
                for size, digest, origin in _LINE.findall(file.read())
            ]
            if found:
                return max(found, key=lambda mark: mark.size)
        if length:
            raise UnusableMark(
                f"{self.path} holds no mark of the ledger; restore it, or remove it if the "
                "database is surely the newest there is"
            )
        return None

    def _append(self, mark: Mark, durably: bool) -> bool:
        """Write a line; whether the file still had its name afterwards."""
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(handle, _line(mark))
            if durably:
                os.fsync(handle)
            return os.path.samestat(os.fstat(handle), self.path.stat())
        finally:
            os.close(handle)

    def _write_anew(self, mark: Mark) -> None:
        partial = self.path.with_name(f"{NAME}.{os.getpid()}.partial")
        with partial.open("wb") as file:
            file.write(_line(mark))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)
        descriptor = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _line(mark: Mark) -> bytes:
    # It begins with an end of line: what was written before may be half a line.
    return f"\n{mark.size} {mark.hash} {mark.origin}\n".encode()
