"""The ledger's private key: a file beside the data, never in the database.

Whoever can rewrite the database can rewrite the whole chain; without this file, it cannot be signed
in the ledger's name again.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from app.errors import UnusableKey

_FILE = "ledger-key.pem"


class SigningKey:
    """An Ed25519 key that signs checkpoints."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def of(cls, data_dir: Path) -> "SigningKey":
        """The key of a data directory, made at its first use; all processes get the same one.

        Raises:
            UnusableKey: Its file holds something else.
        """
        path = data_dir / _FILE
        if not path.exists():
            _create(path)
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise UnusableKey(f"{path} holds no private key; restore it from a backup") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise UnusableKey(f"{path} holds a key that is not Ed25519; restore it from a backup")
        return cls(key)

    @property
    def public_key(self) -> str:
        """The public half, 64 hex digits."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def sign(self, message: bytes) -> str:
        """The signature of a message, 128 hex digits."""
        return self._key.sign(message).hex()


def _create(path: Path) -> None:
    """Write a new key, whole and on disk before it has its name; the first process to come wins."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".partial")  # its mode is 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
