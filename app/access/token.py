"""What an API key looks like, and how one is recognised without being stored.

`lme_<kid>_<secret><check>`: an id to look it up by, 256 random bits in base 62, and a CRC-32 that
finds a typing error before anything is looked up. The database holds an HMAC-SHA256 under a pepper
that it does not hold: whoever reads it learns no key, whoever writes to it makes none, and cannot
widen one (`app.access.seal`). The secret has all the entropy a digest can keep, so slow hashing
would burn time and add nothing.
"""

import hmac
import re
import secrets
import zlib
from dataclasses import dataclass
from typing import Self

from app.errors import UnusablePepper
from app.kit.files import secret_file
from app.settings import Settings

PEPPER_FILE = "key-pepper"

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KID_CHARS = 12
_SECRET_BITS = 256
_SECRET_CHARS = 43  # 62⁴³ > 2²⁵⁶
_CHECK_CHARS = 6  # 62⁶ > 2³²
_PEPPER_BYTES = 32
_FORM = re.compile(
    rf"lme_([0-9A-Za-z]{{{_KID_CHARS}}})_"
    rf"([0-9A-Za-z]{{{_SECRET_CHARS}}})([0-9A-Za-z]{{{_CHECK_CHARS}}})"
)


@dataclass(frozen=True)
class Token:
    """An API key in clear.

    Attributes:
        kid: Its id, which is no secret.
        secret: What only its holder knows.
    """

    kid: str
    secret: str

    @classmethod
    def draw(cls) -> Self:
        """A new one, which nobody can guess."""
        kid = "".join(secrets.choice(_DIGITS) for _ in range(_KID_CHARS))
        return cls(kid, _base62(secrets.randbits(_SECRET_BITS), _SECRET_CHARS))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `text` wrote.

        Raises:
            ValueError: It is not one, or was mistyped.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError("it does not look like lme_…")
        token = cls(found[1], found[2])
        if found[3] != token._check:
            raise ValueError("its check digits do not fit; it was mistyped or cut")
        return token

    @property
    def text(self) -> str:
        """As it is sent."""
        return self._body + self._check

    def fits(self, pepper: "Pepper", digest: str) -> bool:
        """Whether it is the key with this digest; takes as long whatever the answer is."""
        return pepper.same(pepper.digest(self), digest)

    @property
    def _body(self) -> str:
        return f"lme_{self.kid}_{self.secret}"

    @property
    def _check(self) -> str:
        return _base62(zlib.crc32(self._body.encode("ascii")), _CHECK_CHARS)

    def __repr__(self) -> str:
        return f"Token(kid={self.kid!r})"


class Pepper:
    """The server's own part of every digest."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def of(cls, settings: Settings, *, make: bool) -> Self:
        """From the setting, or else from a file in the data directory.

        Args:
            settings: Where to look.
            make: Write the file if there is none, which only the very first key may.

        Raises:
            UnusablePepper: The file is missing, or holds something else.
        """
        if settings.key_pepper is not None:
            return cls(settings.key_pepper.get_secret_value().encode())
        path = settings.data_dir / PEPPER_FILE
        if not (make or path.exists()):
            raise UnusablePepper(
                f"{path} is missing, without which no API key is recognised; restore it, or set "
                "ERRATA_KEY_PEPPER to what it held; if it is lost, to a new secret for new keys"
            )
        secret = secret_file(path, lambda: secrets.token_hex(_PEPPER_BYTES).encode())
        if len(secret) < _PEPPER_BYTES:
            raise UnusablePepper(f"{path} holds no secret; restore it")
        return cls(secret)

    def digest(self, token: Token) -> str:
        """What is stored of a key, 64 hex digits."""
        return hmac.digest(self._secret, token.text.encode("ascii"), "sha256").hex()

    def seal(self, record: str) -> str:
        """What proves that a record, a JSON object or a ticket, is of who has the pepper."""
        # It begins with a brace, a key with lme_, a ticket with lmt_: none passes for another.
        return hmac.digest(self._secret, record.encode(), "sha256").hex()

    def same(self, expected: str, found: str) -> bool:
        """Whether two digests are equal; takes as long whatever the answer is."""
        return hmac.compare_digest(expected.encode(), found.encode())


def _base62(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
