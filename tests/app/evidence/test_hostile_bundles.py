"""Bundles made to harm whoever checks them: each is refused, and needs little memory for it."""

import hashlib
import io
import json
import sys
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.evidence.evidence import MAX_HEADER_BYTES, MAX_LINE_BYTES, Bundle
from app.evidence.recount import Recount
from app.evidence.verification import BundleVerdict, WeightsChecked, verify_bundle
from app.kit.clock import utc_now
from app.ledger.bundle import FORMAT
from app.ledger.chain import GENESIS, Link, link
from app.ledger.checkpoint import sign
from app.ledger.schemas import EntryResource
from app.ledger.signing import SigningKey
from tests.support.bundles import Members, members_of, write_bundle
from tests.support.engines import only_sqlite
from tests.support.history import History

_MOST_BYTES = 16 << 20  # beside what a file itself has
_MOST_OF_A_LINE = 40  # times its length: what objects take that were read from dense JSON
_ZEROS = bytes(2 * tarfile.BLOCKSIZE)

form = {"bundle.json": FORMAT.encode(), "checkpoint.json": b"{}"}


def _header(name: str, size: bytes, kind: bytes = b"0", **fields: bytes) -> bytes:
    """A block as tar has it, with a right checksum and whatever else is asked for."""
    block = bytearray(tarfile.BLOCKSIZE)
    block[0 : len(name)] = name.encode()
    block[100:108], block[108:116], block[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    block[124:136], block[136:148], block[156:157] = size, b"00000000000\0", kind
    block[257:265] = b"ustar\x0000"
    for place, value in fields.items():
        start = int(place.removeprefix("at_"))
        block[start : start + len(value)] = value
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _number(value: int) -> bytes:
    return b"\x80" + value.to_bytes(11, "big")


def _octal(size: int) -> bytes:
    return b"%011o\0" % size


def _file(name: str, content: bytes) -> bytes:
    padding = bytes(-len(content) % tarfile.BLOCKSIZE)
    return _header(name, _octal(len(content))) + content + padding


def _whole(members: Members) -> bytes:
    return b"".join(_file(name, content) for name, content in members.items())


def _sparse(size: int) -> bytes:
    """A file of the old GNU kind that is all hole: half a kilobyte, said to be much more."""
    fields = {"at_386": _number(size), "at_398": _number(0), "at_483": _number(size)}
    hole = _header("ledger.jsonl", _octal(0), b"S", at_257=b"ustar  \0", **fields)
    return _whole(form) + hole + _ZEROS


def _extended(**headers: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("bundle.json")
        member.size, member.pax_headers = len(FORMAT), headers
        tar.addfile(member, io.BytesIO(FORMAT.encode()))
    return file.getvalue()


def _special(kind: bytes, name: str = "ledger.jsonl") -> bytes:
    return _whole(form) + _header(name, _octal(0), kind, at_157=b"/etc/passwd") + _ZEROS


_NEGATIVE = b"\xff" + (256**11 - 512).to_bytes(11, "big")

ARCHIVES = {
    "sparse, 3 GiB": _sparse(3 << 30),
    "sparse, 1 TiB": _sparse(1 << 40),
    "sparse by an extended header": _extended(**{"GNU.sparse.size": str(1 << 40)}),
    "a large extended header": _extended(comment="a" * 20_000_000),
    "a size in an extended header": _extended(size=str(1 << 40)),
    "a size below zero": _header("bundle.json", _NEGATIVE) + _ZEROS,
    "a size below zero, later": _file("bundle.json", b"") + _header("x", _NEGATIVE) + _ZEROS,
    "a size beyond the end": _whole(form) + _header("ledger.jsonl", _number(1 << 40)) + _ZEROS,
    "a size of 8 GiB": _whole(form) + _header("ledger.jsonl", _octal((1 << 33) - 1)) + _ZEROS,
    "an escape in a name": _whole(form) + _header("\x1b[2J\x1b[Hall is well", _octal(0)) + _ZEROS,
    "a symbolic link": _special(tarfile.SYMTYPE),
    "a hard link": _special(tarfile.LNKTYPE),
    "a device": _special(tarfile.CHRTYPE),
    "a pipe": _special(tarfile.FIFOTYPE),
    "a directory": _special(tarfile.DIRTYPE),
    "a file of another kind": _special(b"7"),
    "a long name": _special(tarfile.GNUTYPE_LONGNAME, "././@LongLink"),
    "a path out of the folder": _whole(form | {"../../pwned": b"x"}) + _ZEROS,
    "an absolute path": _whole(form | {"/pwned": b"x"}) + _ZEROS,
    "a name twice": _whole(form) + _whole(form) + _ZEROS,
    "no end": _whole(form | {"ledger.jsonl": b""}),
    "more after the end": _whole(form | {"ledger.jsonl": b""}) + _ZEROS + b"x" * 512,
    "nothing": b"",
    "no archive": b"hello",
    "a compressed one": b"\x1f\x8b" + bytes(600),
}


def _told(verdict: BundleVerdict) -> str:
    assert not verdict.ok
    assert verdict.first_bad is not None
    return f"{verdict.first_bad.name} {verdict.first_bad.message}"


def _checked(path: Path, longest_line: int = 0) -> str:
    tracemalloc.start()
    try:
        told = _told(verify_bundle(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < _MOST_BYTES + _MOST_OF_A_LINE * longest_line
    return told


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_is_no_bundle_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "hostile.tar"
    path.write_bytes(ARCHIVES[kind])
    told = _checked(path)
    assert told.isprintable()
    assert not [found for found in tmp_path.rglob("*") if found != path]


_HASH = '"' + "a" * 64 + '"'


def _line(payload: str) -> bytes:
    return (
        f'{{"actor":"a","at":"t","hash":{_HASH},"index":0,"kind":"operation","payload":{payload},'
        f'"prev_hash":{_HASH}}}\n'
    ).encode()


LINES: dict[str, Callable[[], bytes]] = {
    "deep": lambda: b"[" * 200_000,
    "deep in a payload": lambda: _line("[" * 200_000 + "]" * 200_000),
    "not a number": lambda: b'{"index":NaN}',
    "two million digits": lambda: b'{"index":' + b"9" * 2_000_000 + b"}",
    "digits in a payload": lambda: _line("9" * 2_000_000),
    "a huge exponent": lambda: b'{"index":1e999999999}',
    "half a pair": lambda: b'{"index":0,"kind":"\\ud800"}',
    "no text": lambda: b'{"index":0,"kind":"\xff"}',
    "zeros": lambda: bytes(4096),
    "many lists": lambda: _line("[" + ",".join(["[]"] * 1_000_000) + "]"),
    "many words": lambda: _line("[" + ",".join(['"ab"'] * 400_000) + "]"),
    "many numbers": lambda: _line("[" + ",".join(["257"] * 400_000) + "]"),
    "no end": lambda: b"a" * (3 * MAX_LINE_BYTES),
}


@pytest.mark.parametrize("kind", LINES)
def test_a_line_that_is_no_entry_is_named(tmp_path: Path, kind: str) -> None:
    line = LINES[kind]()
    path = write_bundle(
        tmp_path / "hostile.tar", form | {"checkpoint.json": line[:4000], "ledger.jsonl": line}
    )
    assert _checked(path, min(len(line), MAX_LINE_BYTES)).startswith("0 ")


def test_an_artefact_is_never_held_whole_and_its_header_has_a_limit(
    client: TestClient, worked: History, tmp_path: Path
) -> None:
    worked.edit("a")
    path = tmp_path / "bundle.tar"
    path.write_bytes(client.get("/v1/ledger/bundle").content)
    members = members_of(path)
    (name,) = (name for name in members if name.startswith("artefacts"))
    large = members | {name: bytes(64 << 20)}
    assert "was altered" in _checked(write_bundle(tmp_path / "large.tar", large))
    assert verify_bundle(path).ok
    assert len(members[name]) < MAX_HEADER_BYTES


@only_sqlite
def test_what_needs_more_memory_than_there_is_is_told(
    client: TestClient, worked: History, tmp_path: Path
) -> None:
    worked.edit("a")
    path = tmp_path / "bundle.tar"
    path.write_bytes(client.get("/v1/ledger/bundle").content)

    def take_all(_bundle: Bundle, _recount: Recount) -> WeightsChecked:
        raise AssertionError(bytes(sys.maxsize - 64))

    told = _told(verify_bundle(path, check_weights=take_all))
    assert "takes more than this machine has (MemoryError)" in told


def _cancelling() -> list[str]:
    """Ids whose hashes give zero under exclusive or, as anybody can find them."""
    basis = dict[int, tuple[int, int]]()
    ids = [f"edit_{number:024x}" for number in range(300)]
    for number, id in enumerate(ids):
        value, who = _hash_of(id), 1 << number
        while value and value.bit_length() in basis:
            other, others = basis[value.bit_length()]
            value, who = value ^ other, who ^ others
        if not value:
            return [ids[place] for place in range(300) if who >> place & 1]
        basis[value.bit_length()] = (value, who)
    raise AssertionError("300 numbers of 256 bits are independent")


def _hash_of(id: str) -> int:
    return int.from_bytes(hashlib.sha256(id.encode()).digest(), "big")


def test_a_rollback_that_undoes_nothing_is_named(tmp_path: Path) -> None:
    """The red team's bundle: a set that exclusive or cannot tell from none."""
    ids, links = _cancelling(), list[Link]()
    artefact = write_artefact(tmp_path, ids)

    def put(kind: str, /, **payload: object) -> None:
        previous = links[-1].hash if links else GENESIS
        entry = link(
            index=len(links),
            kind=kind,
            payload=payload,  # type: ignore[arg-type]
            actor="key:abc",
            at="2026-11-26T00:00:00.000000Z",
            prev_hash=previous,
        )
        links.append(entry)

    weights = "ab" * 32
    matrices = {"layers": [0], "site": "feed-forward", "dtype": "float32"}
    digests = {"model_digest": "cd" * 32, "weights_digest": weights, "recipe_digest": "12" * 32}
    put("base", model="m", **digests, **matrices)
    for seq, id in enumerate(ids, 1):
        put("operation", id=id, seq=seq, kind="edit", method="memit", text_digest="ef" * 32)
    state = {"live_edits": len(ids), "weights_digest": weights, "supersedes": {}}
    put(
        "revision",
        number=1,
        parent=0,
        kind="edit",
        operations=ids,
        added=ids,
        rows=list(range(len(ids))),
        removed=[],
        artefact_digest=artefact.stem,
        **state,
    )
    put("operation", id="rollback_x", seq=len(ids) + 1, kind="rollback", to_revision=0)
    put(
        "revision",
        number=2,
        parent=1,
        kind="rollback",
        operations=["rollback_x"],
        added=[],
        rows=[],
        removed=[],
        artefact_digest=None,
        **state,
    )
    signed = sign(links[0], links[-1], SigningKey.of(tmp_path), utc_now())
    path = write_bundle(
        tmp_path / "forged.tar",
        {
            "bundle.json": FORMAT.encode(),
            "checkpoint.json": signed.to_text().encode(),
            "ledger.jsonl": "".join(EntryResource.of(one).to_line() for one in links).encode(),
            f"artefacts/{artefact.name}": artefact.read_bytes(),
        },
    )
    told = _told(verify_bundle(path))
    assert told.startswith(f"{len(links) - 1} ")
    assert "it does not hold what revision 0 held" in told


def write_artefact(folder: Path, ids: list[str]) -> Path:
    """Factors of nothing, which name these edits."""
    head = json.dumps({"__metadata__": {"edits": json.dumps(ids)}}).encode()
    data = len(head).to_bytes(8, "little") + head
    path = folder / f"{hashlib.sha256(data).hexdigest()}.safetensors"
    path.write_bytes(data)
    return path
