"""`errata serve`: its options are the settings, all of them."""

import inspect
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from app.settings import Settings

_EXIT_FAILED = 1
_EXIT_USAGE = 2


def _as_option(name: str, field: FieldInfo) -> inspect.Parameter:
    # Generated, so that --help documents every setting by construction.
    shown = field.default is not None and field.default_factory is None
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        envvar=f"ERRATA_{name.upper()}",
        help=field.description,
        show_default=str(field.default) if shown else False,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[str | None, option],
    )


def serve_command(**given: str | None) -> None:
    """Serve the model, the edits and the ledger.

    Each setting is an option, an environment variable, or a line of a file named .env.
    """
    settings = _settings({name: value for name, value in given.items() if value is not None})
    # The service pulls in torch; asking for help or for another command need not wait for it.
    from app.server import run

    if not run(settings):
        raise typer.Exit(_EXIT_FAILED)


serve_command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [_as_option(name, field) for name, field in Settings.model_fields.items()]
)


def _settings(given: dict[str, Any]) -> Settings:
    try:
        return Settings(**given)
    except ValidationError as error:
        for problem in error.errors():
            name = ".".join(map(str, problem["loc"]))
            message = problem["msg"].removeprefix("Value error, ")
            typer.echo(f"errata: setting {name}: {message}", err=True)
        raise typer.Exit(_EXIT_USAGE) from error
