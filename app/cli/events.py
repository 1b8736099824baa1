"""`errata events`, and how an event is told."""

from typing import Annotated

import typer

from app.cli.display import tell, tell_json
from app.cli.options import Json, Key, Url
from app.client import DEFAULT_URL, Errata
from app.client.events import Event


def events_command(
    edit_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Follow this edit until it has ended.")
    ] = None,
    after: Annotated[
        int | None, typer.Option(min=0, help="Follow all from after this event; default: now.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Show what becomes of edits while it happens, one line an event."""
    with Errata(url, api_key) as errata:
        for event in errata.events(after) if edit_id is None else errata.edit_events(edit_id):
            if machine:
                tell_json(event.model_dump_json())
            else:
                tell(event_line(event))


def event_line(event: Event) -> str:
    """An event for people."""
    line = f"{event.number}  {event.at}  {event.operation}  {event.status}"
    if event.revision is not None:
        line += f" in revision {event.revision}"
    return line if event.reason is None else f"{line}: {event.reason}"
