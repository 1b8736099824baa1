"""One server process: shows how far loading is, and says where it listens once it can answer."""

import asyncio
import json
import logging
import os
import socket
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

import uvicorn
from rich.console import Console
from starlette.types import ASGIApp

from app.cli.display import StepDisplay, say
from app.cli.root import warn_of_root
from app.deps.services import Services
from app.errors import first_key_command
from app.http.protocol import Connection
from app.kit import descriptors
from app.kit.env_file import tell_of_env_file
from app.kit.logs import configure
from app.kit.memory import keep_few_arenas, pass_over_what_is_there
from app.kit.preparing import Preparation
from app.kit.stopping import GRACE_S, end_in_time
from app.main import Components, create_app, start_worker
from app.settings import Settings
from app.startup import Runtime

_POLL_S = 0.1
_TICKS_PER_SWEEP = 10
_EXAMPLE = {
    "prompt": "The mother tongue of Danielle Darrieux is",
    "max_tokens": 5,
    "temperature": 0,
}


def run(settings: Settings) -> bool:
    """Serve until interrupted; False if the model could not be loaded."""
    keep_few_arenas()
    descriptors.raise_limit()
    configure(settings.log_format, settings.log_level)
    tell_of_env_file()
    console = Console(stderr=True)
    warn_of_root(console)
    with StepDisplay(console) as steps:
        launch = _Launch(steps)
        components = Components(start_runtime=launch.start_runtime)
        config = http_config(
            create_app(settings, components=components),
            host=settings.host,
            port=settings.port,
            log_config=None,  # through our own handler
        )
        # Ctrl-C arrives here again after the server has shut down in order.
        with suppress(KeyboardInterrupt):
            _Server(config, launch, console, steps).run()
    return launch.error is None


def http_config(app: ASGIApp, **given: Any) -> uvicorn.Config:
    """The configuration of every server: HTTP with limits on what a client may leave open.

    Args:
        app: What `create_app` made.
        given: Anything else that uvicorn can be told.
    """
    chosen: dict[str, Any] = {
        "http": Connection,
        "ws": "none",
        "server_header": False,
        "log_level": "warning",
        "access_log": False,  # `request_finished` says more
        "backlog": descriptors.reserve() // 2,  # accepted at once, before they are counted
        "timeout_graceful_shutdown": GRACE_S,
    }
    return uvicorn.Config(app, **chosen | given)


def leave(status: int) -> NoReturn:
    """End the process; a thread that is in the middle of something is left where it is.

    At its own end the interpreter would unwind such a thread, and C++ below it aborts on that.
    """
    if threading.active_count() > 1:
        logging.shutdown()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


class _Launch:
    """Starts the model with its progress shown, and remembers why it failed."""

    def __init__(self, steps: StepDisplay) -> None:
        self._steps = steps
        self.error: Exception | None = None

    def start_runtime(self, services: Services) -> Runtime:
        try:
            runtime = start_worker(services, progress=self._steps)
        except Exception as error:
            self.error = error
            raise
        pass_over_what_is_there()
        return runtime


class StreamingServer(uvicorn.Server):
    """A server that ends overdue connections, and can stop while clients listen or wait."""

    async def on_tick(self, counter: int) -> bool:
        """Every tenth of a second: once a second, look for connections that are overdue."""
        if counter % _TICKS_PER_SWEEP == 0:
            self.lifespan.state["connections"].sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end, and make sure that it comes to an end."""
        end_in_time()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let all of them go before the end of every answer is waited for."""
        self.lifespan.state["hub"].close()
        self.lifespan.state["endings"].close()
        await super().shutdown(sockets)


class _Server(StreamingServer):
    def __init__(
        self, config: uvicorn.Config, launch: _Launch, console: Console, steps: StepDisplay
    ) -> None:
        super().__init__(config)
        self._launch = launch
        self._console = console
        self._steps = steps
        self._telling: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._telling = asyncio.create_task(self._tell_when_ready())

    async def _tell_when_ready(self) -> None:
        serving = self.lifespan.state["serving"]
        while serving.wait(0) is None:
            if self._launch.error is not None:
                self._steps.close()
                self._say(f"errata: the model was not loaded: {self._launch.error}")
                self.should_exit = True
                return
            await asyncio.sleep(_POLL_S)
        preparation = serving.get().runtime.preparation
        if preparation is None or preparation.is_ready:
            self._steps.close()
            await self._tell_where()
        else:
            self._say("Edits are accepted, and wait for what is collected once and takes minutes")
            await self._tell_where()
            await self._tell_when_prepared(preparation)

    async def _tell_where(self) -> None:
        url = _url(self.servers[0].sockets[0].getsockname())
        self._say(f"Errata is serving at {url}")
        header = "-H 'Content-Type: application/json'"
        if await asyncio.to_thread(lambda: self.lifespan.state["doorkeeper"].is_open):
            command = first_key_command(self.lifespan.state["services"].settings.data_dir)
            self._say(
                "Open: no API key was made yet, so programs on this machine may do everything; "
                f"close it with: {command}"
            )
        else:
            header += ' -H "Authorization: Bearer $ERRATA_API_KEY"'
        self._say(f"Try: curl {url}/v1/completions {header} -d '{json.dumps(_EXAMPLE)}'")

    async def _tell_when_prepared(self, preparation: Preparation[Any]) -> None:
        """What edits wait for at a first start is shown; where it fails, the server ends."""
        while not preparation.is_ready:
            if preparation.error is not None:
                self._launch.error = preparation.error
                self._steps.close()
                self._say(f"errata: edits cannot be computed: {preparation.error}")
                self.should_exit = True
                return
            await asyncio.sleep(_POLL_S)
        self._steps.close()
        self._say("Edits are computed from now on")

    def _say(self, line: str) -> None:
        say(self._console, line)


def _url(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
