"""A folder as one tar file, every byte of which is determined by what is in the folder."""

import hashlib
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

Packed = Callable[[int], None]
"""``packed(bytes)``: called with how many bytes the archive has so far."""

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A tar file that is on disk.

    Attributes:
        size: In bytes.
        digest: SHA-256.
    """

    size: int
    digest: str


class _Hashed:
    """A file that is only written to, and what was written."""

    def __init__(self, file: IO[bytes], packed: Packed) -> None:
        self._file, self._packed = file, packed
        self.size, self.digest = 0, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self.digest.update(data)
        self.size += len(data)
        self._packed(self.size)
        return len(data)


def pack(folder: Path, inside: str, target: Path, packed: Packed) -> Archive:
    """Write the files of `folder` to a tar file durably, in a folder named `inside`.

    Raises:
        OSError: The disk did not take it.
    """
    with target.open("wb") as file:
        hashed = _Hashed(file, packed)
        with tarfile.open(  # type: ignore[call-overload]  # a stream is only written to
            fileobj=hashed,
            mode="w|",
            format=tarfile.PAX_FORMAT,
            bufsize=_BUFFER_BYTES,
        ) as tar:
            for path in sorted(folder.iterdir()):
                # No owner and no time: the same revision is the same file.
                member = tarfile.TarInfo(f"{inside}/{path.name}")
                member.size = path.stat().st_size
                with path.open("rb") as content:
                    tar.addfile(member, content)
        file.flush()
        os.fsync(file.fileno())
    return Archive(hashed.size, hashed.digest.hexdigest())
