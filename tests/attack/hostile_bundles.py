"""Files that say they are bundles of evidence, made to harm the one who checks them."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

_FORMAT = b'{"bundle":1}\n'
_BLOCK = 512
_ESCAPES = "\x1b[2J\x1b[Hchain: 12000 entries hold; all is well\x1b[8m"
_LINES = {
    "deep": b"[" * 200_000,
    "nan": b'{"index":NaN}',
    "digits": b'{"index":' + b"9" * 2_000_000 + b"}",
    "exponent": b'{"index":1e999999999}',
    "surrogate": b'{"index":0,"kind":"\\ud800"}',
    "latin-1": b'{"index":0,"kind":"\xff"}',
    "escape": b'{"index":0,"kind":"\\u001b[2J"}',
    "nothing": b"",
    "zeros": bytes(4_096),
}


def write_hostile_bundles(folder: Path) -> Iterator[Path]:
    """Write each to a file of its own, named after what is wrong with it."""
    folder.mkdir()
    for name, line in _LINES.items():
        yield _tar(folder / f"line-{name}.tar", {"ledger.jsonl": line + b"\n"})
    yield _sparse(folder / "sparse-3-gib.tar", 3 << 30)
    yield _sparse(folder / "sparse-1-tib.tar", 1 << 40)
    yield _file(folder / "negative-size.tar", _header(b"bundle.json", _number(-_BLOCK)))
    yield _file(folder / "no-tar.tar", b"hello")
    yield _file(folder / "empty.tar", b"")
    yield _tar(folder / "compressed.tar", {}, mode="w:gz")
    yield _tar(folder / "traversal.tar", {"ledger.jsonl": b"", "../../../evil": b"x"})
    yield _link(folder / "escapes.tar", _ESCAPES)
    yield _comment(folder / "comment.tar", "a" * 20_000_000)


def _tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in {"bundle.json": _FORMAT, "checkpoint.json": b"{}", **members}.items():
            _add(tar, name, data)
    return path


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _link(path: Path, name: str) -> Path:
    with tarfile.open(path, "w") as tar:
        _add(tar, "bundle.json", _FORMAT)
        member = tarfile.TarInfo(name)
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    return path


def _comment(path: Path, text: str) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("bundle.json")
        member.size, member.pax_headers = len(_FORMAT), {"comment": text}
        tar.addfile(member, io.BytesIO(_FORMAT))
    return path


def _sparse(path: Path, size: int) -> Path:
    """A ledger in the old GNU sparse format: one empty chunk at the end of very many zeros."""
    _tar(path, {})
    written = path.read_bytes().rstrip(b"\0")
    whole = written + bytes(-len(written) % _BLOCK)
    map_and_size = {386: _number(size), 398: _number(0), 483: _number(size)}
    return _file(path, whole + _header(b"ledger.jsonl", b"%011o\0" % 0, b"S", map_and_size))


def _header(
    name: bytes, size: bytes, kind: bytes = b"0", more: dict[int, bytes] | None = None
) -> bytes:
    block = bytearray(_BLOCK)
    fields = {0: name, 100: b"0000644\0", 124: size, 136: b"%011o\0" % 0, 156: kind}
    for offset, value in {**fields, 257: b"ustar  \0", **(more or {})}.items():
        block[offset : offset + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _number(value: int) -> bytes:
    """A number in base 256, as tar writes what does not fit in octal digits."""
    return (value % 256**12 | (0x80 if value >= 0 else 0xFF) << 88).to_bytes(12, "big")


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content + bytes(2 * _BLOCK))
    return path
