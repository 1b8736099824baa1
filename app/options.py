"""Options that commands share."""

from typing import Annotated

import typer

Url = Annotated[str, typer.Option(envvar="ERRATA_URL", help="Where the server is.")]
Key = Annotated[
    str | None, typer.Option(envvar="ERRATA_API_KEY", help="API key, if the server wants one.")
]
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for machines.")]

_DIGITS = 10  # of the largest revision number


def is_revision_number(text: str) -> bool:
    """Whether digits are a number that a revision may have; what is longer no server accepts."""
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS
