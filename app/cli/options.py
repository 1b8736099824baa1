"""Options that commands share."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.cli.display import complain
from app.kit.files import read_secret

_KEY_FILE = "ERRATA_API_KEY_FILE"


def warn_of_shown_secret(name: str) -> None:
    """Say so if a secret was given as an option: every user of the machine may list those."""
    option, variable = f"--{name.replace('_', '-')}", f"ERRATA_{name.upper()}"
    if any(given == option or given.startswith(f"{option}=") for given in sys.argv):
        complain(
            f"what {option} holds is seen by every user in the list of processes; "
            f"use {variable}_FILE, or {variable}"
        )


def _key(context: typer.Context, given: str | None) -> str | None:
    if given is not None:
        warn_of_shown_secret("api_key")
    path = os.environ.get(_KEY_FILE)
    if given is not None or not path or context.resilient_parsing:
        return given
    try:
        return read_secret(Path(path))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=_KEY_FILE) from error


Url = Annotated[str, typer.Option(envvar="ERRATA_URL", help="Where the server is.")]
Key = Annotated[
    str | None,
    typer.Option(
        envvar="ERRATA_API_KEY",
        callback=_key,
        help=f"API key, if the server wants one; {_KEY_FILE} names a file with it.",
    ),
]
Model = Annotated[str | None, typer.Option(envvar="ERRATA_MODEL", help="As for errata serve.")]
DataDir = Annotated[str | None, typer.Option(envvar="ERRATA_DATA_DIR", help="As for errata serve.")]
DatabaseUrl = Annotated[
    str | None, typer.Option(envvar="ERRATA_DATABASE_URL", help="As for errata serve.")
]
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for machines.")]

_DIGITS = 10  # of the largest revision number


def is_revision_number(text: str) -> bool:
    """Whether digits are a number that a revision may have; what is longer no server accepts."""
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS
