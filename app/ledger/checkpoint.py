"""Checkpoints: the signed head of the chain, to be kept where the ledger's owner cannot reach.

A chain in its owner's database shows that a part of it was changed. Rewritten as a whole, it holds
again; but it no longer contains the checkpoint that somebody kept.
"""

from datetime import datetime
from typing import Annotated

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from app.errors import BadCheckpoint, CorruptLedger
from app.kit.canonical import canonical
from app.kit.clock import rfc3339
from app.ledger.chain import Link, is_digest
from app.ledger.mark import Mark
from app.ledger.signing import SigningKey

Digest = Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{128}$")]


class Checkpoint(BaseModel):
    """The head of a chain at one moment, signed with Ed25519.

    What is signed is the RFC 8785 text of every other field.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    origin: Annotated[Digest, Field(description="Names the ledger: hash of its first entry.")]
    size: Annotated[StrictInt, Field(ge=1, description="How many entries the chain has.")]
    hash: Annotated[Digest, Field(description="Hash of the last of them.")]
    at: Annotated[StrictStr, Field(description="When it was signed.")]
    public_key: Annotated[Digest, Field(description="Ed25519, 32 bytes in hex.")]
    signature: Annotated[Signature, Field(description="Ed25519, 64 bytes in hex.")]

    @property
    def is_signed(self) -> bool:
        """Whether the signature is that of `public_key`; whose key that is, it cannot tell."""
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public_key))
        try:
            key.verify(bytes.fromhex(self.signature), _message(self))
        except InvalidSignature:
            return False
        return True

    def to_text(self) -> str:
        """The checkpoint as one line of canonical JSON."""
        return canonical(self.model_dump()) + "\n"

    @classmethod
    def from_text(cls, text: str | bytes) -> "Checkpoint":
        """A checkpoint as the API answers it, in whatever order and spacing.

        Raises:
            BadCheckpoint: It is none.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the text"
            raise BadCheckpoint(f"this is no checkpoint: {where}: {first['msg']}") from error


def sign(first: Link, last: Link, key: SigningKey, now: datetime) -> Checkpoint:
    """The signed head of the chain from `first` to `last`.

    Raises:
        CorruptLedger: They are not the ends of a chain.
    """
    for end in (first, last):
        if not is_digest(end.hash):
            raise CorruptLedger(
                f"ledger entry {end.index} has no hash that could be signed; "
                "GET /v1/ledger/verify names the first bad entry"
            )
    return sign_mark(Mark(last.index + 1, last.hash, first.hash), key, now)


def sign_mark(mark: Mark, key: SigningKey, now: datetime) -> Checkpoint:
    """The signed place that a mark stands for."""
    unsigned = Checkpoint(
        origin=mark.origin,
        size=mark.size,
        hash=mark.hash,
        at=rfc3339(now),
        public_key=key.public_key,
        signature="0" * 128,
    )
    return unsigned.model_copy(update={"signature": key.sign(_message(unsigned))})


def _message(checkpoint: Checkpoint) -> bytes:
    return canonical(checkpoint.model_dump(exclude={"signature"})).encode()
