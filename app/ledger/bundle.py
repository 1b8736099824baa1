"""A bundle: one tar file with all the evidence there is, for anyone to check without the service.

    bundle.json                     which form it has
    checkpoint.json                 the signed head of the chain
    ledger.jsonl                    every entry, one line of canonical JSON each
    artefacts/<sha256>.safetensors  the factors that the entries refer to

No words of an edit are in it, and no weights of the base model.
"""

import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from app.kit.canonical import canonical
from app.ledger.checkpoint import Checkpoint

FORMAT = canonical({"bundle": 1}) + "\n"
FORMAT_NAME = "bundle.json"
CHECKPOINT_NAME = "checkpoint.json"
LEDGER_NAME = "ledger.jsonl"
ARTEFACTS = "artefacts/"

_CHUNK_BYTES = 1 << 20
_END = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class _Member:
    """A file of the archive.

    Attributes:
        name: Its name there.
        size: How many bytes it has.
        open: Gives its content, from the first byte on.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes]]

    @property
    def padding(self) -> bytes:
        """What fills its last block."""
        return bytes(-self.size % tarfile.BLOCKSIZE)


class PackedBundle:
    """A bundle as it is sent: in pieces, never whole in memory.

    Args:
        checkpoint: The head, signed.
        ledger: All entries up to it; closed when they have been sent.
        artefacts: Files that the entries refer to. One that is gone is left out and one that was
            altered is packed as it is: evidence is not withheld because it is damaged.
    """

    def __init__(
        self, checkpoint: Checkpoint, ledger: IO[bytes], artefacts: Sequence[Path]
    ) -> None:
        self.checkpoint = checkpoint
        self._ledger = ledger
        self._members = [
            _text(FORMAT_NAME, FORMAT),
            _text(CHECKPOINT_NAME, checkpoint.to_text()),
            _Member(LEDGER_NAME, ledger.seek(0, 2), lambda: _rewound(ledger)),
            *(_file(path) for path in artefacts if path.is_file()),
        ]

    @property
    def file_name(self) -> str:
        """What to call it: which ledger it is of, and how much of it."""
        return f"errata-{self.checkpoint.origin[:12]}-{self.checkpoint.size}.tar"

    @property
    def size(self) -> int:
        """How many bytes it has."""
        blocks = sum(
            tarfile.BLOCKSIZE + member.size + len(member.padding) for member in self._members
        )
        return blocks + len(_END)

    def close(self) -> None:
        """Give back the entries; for one that was not read to its end."""
        self._ledger.close()

    def __iter__(self) -> Iterator[bytes]:
        """The bytes, in order, once."""
        with self._ledger:
            for member in self._members:
                yield _header(member)
                with member.open() as content:
                    while chunk := content.read(_CHUNK_BYTES):
                        yield chunk
                yield member.padding
        yield _END


def _header(member: _Member) -> bytes:
    # No owner and no time: the same evidence is the same file.
    header = tarfile.TarInfo(member.name)
    header.size = member.size
    return header.tobuf(tarfile.USTAR_FORMAT)


def _text(name: str, text: str) -> _Member:
    data = text.encode()
    return _Member(name, len(data), lambda: BytesIO(data))


def _file(path: Path) -> _Member:
    return _Member(ARTEFACTS + path.name, path.stat().st_size, lambda: path.open("rb"))


def _rewound(file: IO[bytes]) -> IO[bytes]:
    file.seek(0)
    return file
