"""`errata erase` and `errata withdraw`: words leave the database, revisions the service."""

from enum import StrEnum
from typing import Annotated

import typer

from app.cli.display import show
from app.cli.options import Json, Key, Url
from app.client import DEFAULT_URL, Errata
from app.client.answers import Edit, Operation

_EDIT = "edit_"


class Why(StrEnum):
    """Why revisions are withdrawn; the table's own enum would load the database's libraries."""

    ERASURE = "erasure"
    LEGAL = "legal"
    HARM = "harm"


def erase_command(
    id: Annotated[
        str, typer.Argument(metavar="ID", help="An edit; or a revert or rollback, for its reason.")
    ],
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Also withdraw every revision that holds the edit.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait until nothing is left of them.")] = True,
    timeout: Annotated[
        float, typer.Option(min=0, help="How long to wait for that, in seconds.")
    ] = 600.0,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Remove the words of an edit, or the reason of a revert or rollback, for ever."""
    if withdraw and not id.startswith(_EDIT):
        raise typer.BadParameter(f"--withdraw is for an edit; {id!r} names none")
    with Errata(url, api_key) as errata:
        if id.startswith(_EDIT):
            _erase_edit(errata, id, withdraw, timeout if wait else None, machine)
        else:
            reason = errata.erase_reason(id)
            found = errata.wait_erased(reason, timeout) if wait else reason
            show(found, machine, _told(found))


def withdraw_command(
    edit_id: Annotated[str, typer.Argument(metavar="ID", help="An edit that head does not hold.")],
    why: Annotated[Why, typer.Option(help="What the ledger says of it.")],
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Serve and hand out no more any revision that holds an edit; this cannot be undone."""
    with Errata(url, api_key) as errata:
        found = errata.withdraw(edit_id, why)
    show(found, machine, _withdrawn(found) or f"no revision holds {found.id}")


def _erase_edit(
    errata: Errata, id: str, withdraw: bool, timeout: float | None, machine: bool
) -> None:
    found = errata.erase(id, withdraw=withdraw)
    if timeout is not None:
        found = errata.wait_erased(found, timeout)
    show(found, machine, "\n".join(filter(None, [_told(found), _withdrawn(found)])))


def _told(found: Edit | Operation) -> str:
    if found.erased_at is None:
        return f"{found.id} is erased, but a reader keeps the words in the database's files for now"
    return f"nothing that was written for {found.id} is left in the database"


def _withdrawn(edit: Edit) -> str:
    spans = (
        f"{span.first}" if span.first == span.last else f"{span.first} to {span.last}"
        for span in edit.withdrawn
    )
    told = ", ".join(spans)
    return f"withdrawn: revision {told}" if told else ""
