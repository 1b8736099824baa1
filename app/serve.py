"""`errata serve`: from settings to a listening server, with every long step shown."""

import inspect
import json
import socket
from typing import Annotated, Any

import typer
import uvicorn
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from rich.console import Console

from app.display import StepDisplay
from app.settings import Settings

_EXIT_USAGE = 2
_EXAMPLE = {"prompt": "The mother tongue of Danielle Darrieux is", "max_tokens": 5}


def _as_option(name: str, field: FieldInfo) -> inspect.Parameter:
    # Every setting is an option, so that --help is complete by construction.
    known = field.default is not None and not field.is_required() and not field.default_factory
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        envvar=f"ERRATA_{name.upper()}",
        help=field.description,
        show_default=str(field.default) if known else False,
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
    # The service pulls in torch; asking for help or for another command need not wait for it.
    from app.main import create_app

    settings = _settings({name: value for name, value in given.items() if value is not None})
    console = Console(stderr=True)
    with StepDisplay(console) as steps:
        config = uvicorn.Config(
            create_app(settings, progress=steps),
            host=settings.host,
            port=settings.port,
            log_level="warning",
            access_log=False,
        )
        _AnnouncingServer(config, console, steps).run()


serve_command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [_as_option(name, field) for name, field in Settings.model_fields.items()]
)


class _AnnouncingServer(uvicorn.Server):
    """Says where it is, once it answers there."""

    def __init__(self, config: uvicorn.Config, console: Console, steps: StepDisplay) -> None:
        super().__init__(config)
        self._console = console
        self._steps = steps

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        self._steps.close()
        url = _url(self.servers[0].sockets[0].getsockname())
        example = json.dumps(_EXAMPLE)
        told = (
            f"Errata is serving at {url}\n"
            f"Try: curl {url}/v1/completions -H 'Content-Type: application/json' -d '{example}'"
        )
        self._console.print(told, markup=False, highlight=False, soft_wrap=True)


def _url(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _settings(given: dict[str, Any]) -> Settings:
    try:
        return Settings(**given)
    except ValidationError as error:
        for problem in error.errors():
            name = ".".join(map(str, problem["loc"]))
            message = problem["msg"].removeprefix("Value error, ")
            typer.echo(f"errata: setting {name}: {message}", err=True)
        raise typer.Exit(_EXIT_USAGE) from error
