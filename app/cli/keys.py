"""`errata keys`: make, list and revoke API keys on the database itself; no server is needed."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from app.access.scopes import Scope
from app.cli.display import complain, draw, note, table, tell, tell_json
from app.cli.local import settings_of
from app.cli.options import DatabaseUrl, DataDir, Json
from app.kit.clock import utc_now

if TYPE_CHECKING:
    from app.keys.schemas import KeyResource

_EXIT_FAILED = 1
_LIFETIME = re.compile(r"([1-9][0-9]{0,4})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}

keys_cli = typer.Typer(
    help="Make, list and revoke API keys, on the database itself.", no_args_is_help=True
)


@keys_cli.command()
def create(
    scope: Annotated[list[Scope], typer.Option(help="What it shall allow; may be repeated.")],
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="How long it counts: 90d, 12h, 30m; default: for ever.")
    ] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    machine: Json = False,
) -> None:
    """Make a key. It is printed once, and stored nowhere."""
    lifetime = None if expires is None else _lifetime(expires)
    settings = settings_of({"database_url": database_url, "data_dir": data_dir})
    from app.access.service import NewApiKey
    from app.keys.bootstrap import create_key

    expires_at = None if lifetime is None else utc_now() + lifetime
    with _failures_told():
        made = create_key(settings, NewApiKey(scope, _name(name), expires_at))
    if machine:
        tell_json(made.model_dump_json(indent=2))
        return
    # The key alone goes to standard output: ERRATA_API_KEY=$(errata keys create …)
    scopes, where = ", ".join(made.scopes), settings.data_dir
    note(f"API key {made.id} ({scopes}) for the service of {where}, shown only now:")
    tell(made.key)


@keys_cli.command(name="list")
def list_all(
    database_url: DatabaseUrl = None, data_dir: DataDir = None, machine: Json = False
) -> None:
    """List all keys, also those that no longer count."""
    settings = settings_of({"database_url": database_url, "data_dir": data_dir})
    from app.keys.bootstrap import list_keys

    with _failures_told():
        keys = list_keys(settings)
    if machine:
        tell_json(json.dumps([key.model_dump(mode="json") for key in keys], indent=2))
        return
    headings = ["id", "name", "scopes", "made (UTC)", "last used", "counts"]
    shown = table(headings, [_row(key) for key in keys])
    shown.columns[0].no_wrap = True  # an id is there to be copied
    draw(shown)


@keys_cli.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As errata keys list shows it.")],
    cancel_queued: Annotated[
        bool,
        typer.Option("--cancel-queued", help="Cancel what it has queued, unless begun."),
    ] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    machine: Json = False,
) -> None:
    """Have a key count no longer, from the next request on."""
    settings = settings_of({"database_url": database_url, "data_dir": data_dir})
    from app.keys.bootstrap import revoke_key

    with _failures_told():
        key = revoke_key(settings, key_id, cancel_queued=cancel_queued)
    told = f"API key {key.id} is revoked"
    if cancel_queued:
        told += f"; {key.cancelled} operations that it had queued are cancelled"
    if machine:
        tell_json(key.model_dump_json(indent=2))
    else:
        tell(told)


def _row(key: "KeyResource") -> tuple[str, ...]:
    def moment(text: str) -> str:
        return text[:16].replace("T", " ")

    counts = "always" if key.expires_at is None else f"until {moment(key.expires_at.isoformat())}"
    if key.expires_at is not None and key.expires_at <= utc_now():
        counts = "expired"
    if key.damaged:
        counts = "damaged"
    return (
        key.id,
        key.name or "",
        ", ".join(key.scopes),
        "" if key.created_at is None else moment(key.created_at.isoformat()),
        "never" if key.last_used_at is None else moment(key.last_used_at.isoformat()),
        counts if key.revoked_at is None else "revoked",
    )


def _name(text: str | None) -> str | None:
    from app.kit.fields import Phrase

    try:
        return TypeAdapter(Phrase | None).validate_python(text)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(message, param_hint="--name") from error


def _lifetime(text: str) -> timedelta:
    found = _LIFETIME.fullmatch(text)
    if found is None:
        raise typer.BadParameter(
            f"{text!r} is no time a key may count; write 90d, 12h or 30m", param_hint="--expires"
        )
    return int(found[1]) * _UNITS[found[2]]


@contextmanager
def _failures_told() -> Iterator[None]:
    from app.errors import ErrataError

    try:
        yield
    except (ErrataError, OSError) as error:
        complain(error)
        raise typer.Exit(_EXIT_FAILED) from error
