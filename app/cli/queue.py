"""`errata queue`: pause it, resume it, cancel much of it at once."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from app.cli.display import show, tell, tell_json
from app.cli.options import Json, Key, Url
from app.client import DEFAULT_URL, Errata
from app.client.answers import Queue

queue_cli = typer.Typer(
    help="Pause the queue of edits, resume it, cancel what waits in it.", no_args_is_help=True
)

_MOMENT = typer.Option(formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"], help="In UTC.")


@queue_cli.command(name="show")
def show_queue(url: Url = DEFAULT_URL, api_key: Key = None, machine: Json = False) -> None:
    """Tell whether edits are executed, and how many operations wait."""
    with Errata(url, api_key) as errata:
        found = errata.queue.show()
    show(found, machine, _told(found))


@queue_cli.command()
def pause(
    reason: Annotated[str | None, typer.Option(help="Why; shown while it is paused.")] = None,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Begin no more edits, also after a restart; reverts and rollbacks are executed."""
    with Errata(url, api_key) as errata:
        found = errata.queue.pause(reason)
    show(found, machine, _told(found))


@queue_cli.command()
def resume(url: Url = DEFAULT_URL, api_key: Key = None, machine: Json = False) -> None:
    """Execute edits again, in their order."""
    with Errata(url, api_key) as errata:
        found = errata.queue.resume()
    show(found, machine, _told(found))


@queue_cli.command()
def cancel(
    actor: Annotated[str | None, typer.Option(help="Posted by: key:ID, or local.")] = None,
    subject: Annotated[str | None, typer.Option(help="About this, in any spelling.")] = None,
    batch: Annotated[str | None, typer.Option(help="Of this batch.")] = None,
    method: Annotated[str | None, typer.Option(help="To be computed like this.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="With this in metadata; may be repeated."),
    ] = None,
    after: Annotated[datetime | None, _MOMENT] = None,
    before: Annotated[datetime | None, _MOMENT] = None,
    every: Annotated[bool, typer.Option("--all", help="Every edit that waits.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Cancel the edits that wait and match everything that is given."""
    with Errata(url, api_key) as errata:
        cancelled = errata.queue.cancel(
            actor=actor,
            subject=subject,
            batch=batch,
            method=method,
            metadata=_labels(label or ()),
            created_after=_in_utc(after),
            created_before=_in_utc(before),
            all=every,
            dry_run=dry_run,
        )
    if machine:
        tell_json(f'{{"cancelled": {cancelled}}}')
    else:
        tell(f"{cancelled} edits {'would be' if dry_run else 'are'} cancelled")


def _labels(given: list[str] | tuple[()]) -> dict[str, str]:
    labels = {}
    for text in given:
        name, found, value = text.partition("=")
        if not found:
            raise typer.BadParameter(f"{text!r} is no NAME=VALUE", param_hint="--label")
        labels[name] = value
    return labels


def _in_utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _told(found: Queue) -> str:
    waiting = ", ".join(f"{count} {kind}" for kind, count in found.waiting.items())
    if found.state == "running":
        return f"edits are executed; waiting: {waiting}"
    why = f": {found.reason}" if found.reason else ""
    return f"paused by {found.paused_by} at {found.paused_at}{why}; waiting: {waiting}"
