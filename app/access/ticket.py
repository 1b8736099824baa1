"""Tickets: for half a minute, what a browser may put into the address of a stream of events.

`EventSource` sends no headers, and an address ends up in histories and logs, so a key does not
belong there. `lmt_<kid>_<end>_<signature>` stands for the key that asked for it until its end, in
seconds since 1970; it is worth nothing once that key is not, and opens nothing but streams.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from app.access.token import Pepper

LIFE = timedelta(seconds=30)

_FORM = re.compile(r"(lmt_([0-9A-Za-z]{12})_([0-9]{1,11}))_([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, repr=False)
class Ticket:
    """A ticket as it was sent; whether it was made here is yet to be seen.

    Attributes:
        kid: Id of the key that it stands for.
        ends_at: When a stream can no longer be opened with it.
        body: What is signed.
        signature: What proves that.
    """

    kid: str
    ends_at: datetime
    body: str
    signature: str

    @classmethod
    def issue(cls, pepper: Pepper, kid: str, now: datetime) -> Self:
        """A new one, for the holder of a key."""
        end = int((now + LIFE).timestamp())
        body = f"lmt_{kid}_{end}"
        return cls(kid, datetime.fromtimestamp(end, UTC), body, pepper.seal(body))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `text` wrote.

        Raises:
            ValueError: It is none.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError("it does not look like lmt_…")
        return cls(found[2], datetime.fromtimestamp(int(found[3]), UTC), found[1], found[4])

    @property
    def text(self) -> str:
        """As it is sent."""
        return f"{self.body}_{self.signature}"

    def fits(self, pepper: Pepper, digest: str) -> bool:
        """Whether it was made here; takes as long whatever the answer is."""
        del digest  # its key's id is signed
        return pepper.same(pepper.seal(self.body), self.signature)
