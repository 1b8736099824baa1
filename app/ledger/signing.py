"""The ledger's private key: a file beside the data, never in the database.

Whoever can rewrite the database can rewrite the whole chain; without this file, it cannot be signed
in the ledger's name again.
"""

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
from app.kit.files import secret_file

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
        pem = secret_file(path, _new_key)
        try:
            key = load_pem_private_key(pem, password=None)
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


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
