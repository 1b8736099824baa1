"""Bundles taken apart and forged: by somebody who owns the disk, and maybe the key."""

import tarfile
from io import BytesIO
from pathlib import Path

from app.kit.canonical import canonical
from app.ledger.chain import GENESIS, Link, link
from app.ledger.checkpoint import Checkpoint
from app.ledger.schemas import EntryResource
from app.ledger.signing import SigningKey

Members = dict[str, bytes]


def members_of(path: Path) -> Members:
    """Every file of a bundle, name → content."""
    with tarfile.open(path, "r:") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def write_bundle(path: Path, members: Members) -> Path:
    """Write a bundle of these files."""
    with tarfile.open(path, "w:") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
    return path


def lines_of(members: Members) -> list[bytes]:
    """The lines of the ledger."""
    return members["ledger.jsonl"].splitlines(keepends=True)


def rewritten(
    members: Members, key: SigningKey, changes: dict[int, dict[str, object]] | None = None
) -> Members:
    """The same bundle with payloads changed, and every hash and the signature made right again."""
    links: list[Link] = []
    for index, line in enumerate(lines_of(members)):
        entry = EntryResource.model_validate_json(line)
        assert isinstance(entry.payload, dict)
        made = link(
            index=index,
            kind=entry.kind,
            payload=entry.payload | (changes or {}).get(index, {}),  # type: ignore[arg-type]
            actor=entry.actor,
            at=entry.at,
            prev_hash=links[-1].hash if links else GENESIS,
        )
        links.append(made)
    lines = "".join(EntryResource.of(made).to_line() for made in links)
    old = Checkpoint.from_text(members["checkpoint.json"])
    unsigned = old.model_copy(
        update={
            "origin": links[0].hash,
            "hash": links[-1].hash,
            "size": len(links),
            "public_key": key.public_key,
        }
    )
    message = canonical(unsigned.model_dump(exclude={"signature"})).encode()
    signed = unsigned.model_copy(update={"signature": key.sign(message)})
    return members | {
        "ledger.jsonl": lines.encode(),
        "checkpoint.json": signed.to_text().encode(),
    }
