"""`errata export`: ask a server for a revision as files, wait, and keep them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.cli.display import StepDisplay, complain, show
from app.cli.options import Json, Key, Url
from app.client import DEFAULT_URL, Errata
from app.client.answers import Export
from app.client.errors import Damaged

_EXIT_NO = 1
_EXIT_USAGE = 2
_PARTS = 100


class Format(StrEnum):
    """What a revision is made into; the table's own enum would load the database's libraries."""

    MERGED = "merged"
    LORA = "lora"
    DELTA = "delta"


def export_command(
    form: Annotated[
        Format,
        typer.Option("--format", help="A model folder, a PEFT adapter, or the exact factors."),
    ],
    out: Annotated[Path, typer.Option(dir_okay=False, help="Tar file to write.")],
    revision: Annotated[
        int | None, typer.Option(min=0, help="Export this revision; default: the head.")
    ] = None,
    max_rank: Annotated[
        int | None,
        typer.Option(min=1, max=512, help="lora: keep so many singular values of each matrix."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0, help="How long to wait for the end, in seconds.")
    ] = 3600.0,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Fetch a revision as files that transformers or PEFT load."""
    with Errata(url, api_key) as errata:
        begun = errata.exports.start(form, revision=revision, max_rank=max_rank)
        with StepDisplay(Console(stderr=True)) as steps:
            step = f"export revision {begun.revision} as {form}"
            found = errata.exports.wait(
                begun.id, timeout, lambda now: steps(step, int(now.progress * _PARTS), _PARTS)
            )
        if found.status == "finished":
            _keep(errata, found, out)
    if machine or found.status == "finished":
        size = f"{found.bytes} bytes, SHA-256 {found.digest}"
        show(found, machine, f"{out} has revision {found.revision} as {form}: {size}")
    for warning in found.warnings:
        complain(warning)
    if found.status != "finished":
        complain(f"{found.id} failed: {found.reason}")
        raise typer.Exit(_EXIT_NO)


def _keep(errata: Errata, found: Export, out: Path) -> None:
    try:
        errata.exports.download(found, out)
    except Damaged as error:
        complain(error)
        raise typer.Exit(_EXIT_NO) from error
    except OSError as error:
        complain(f"{out} cannot be written: {error.strerror}")
        raise typer.Exit(_EXIT_USAGE) from error
