"""One server process: shows how far loading is, and says where it listens once it can answer."""

import asyncio
import json
import logging
import os
import socket
import sys
import threading
from contextlib import suppress
from typing import Any, NoReturn

import uvicorn
from rich.console import Console

from app.display import StepDisplay
from app.env_file import tell_of_env_file
from app.main import Components, create_app, start_worker
from app.memory import keep_few_arenas, pass_over_what_is_there
from app.observability.logs import configure
from app.services import Services
from app.serving import Runtime
from app.settings import Settings

_POLL_S = 0.1
_GRACE_S = 10  # how long a stop waits for answers that are being written
_EXAMPLE = {
    "prompt": "The mother tongue of Danielle Darrieux is",
    "max_tokens": 5,
    "temperature": 0,
}


def run(settings: Settings) -> bool:
    """Serve until interrupted; False if the model could not be loaded."""
    keep_few_arenas()
    configure(settings.log_format, settings.log_level)
    tell_of_env_file()
    console = Console(stderr=True)
    with StepDisplay(console) as steps:
        launch = _Launch(steps)
        components = Components(start_runtime=launch.start_runtime)
        config = uvicorn.Config(
            create_app(settings, components=components),
            host=settings.host,
            port=settings.port,
            log_level="warning",
            log_config=None,  # through our own handler
            access_log=False,  # `request_finished` says more
            timeout_graceful_shutdown=_GRACE_S,
        )
        # Ctrl-C arrives here again after the server has shut down in order.
        with suppress(KeyboardInterrupt):
            _Server(config, launch, console, steps).run()
    return launch.error is None


def leave(status: int) -> NoReturn:
    """End the process; a thread that is in the middle of something is left where it is.

    At its own end the interpreter would unwind such a thread, and C++ below it aborts on that.
    """
    if any(thread.daemon for thread in threading.enumerate()):
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
    """A server that can stop although somebody listens to events."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let every listener go before the end of every answer is waited for."""
        self.lifespan.state["hub"].close()
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
        self._steps.close()
        url = _url(self.servers[0].sockets[0].getsockname())
        self._say(f"Errata is serving at {url}")
        header = "-H 'Content-Type: application/json'"
        if await asyncio.to_thread(lambda: self.lifespan.state["doorkeeper"].is_open):
            self._say(
                "Open: no API key was made yet, so programs on this machine may do everything"
            )
        else:
            header += ' -H "Authorization: Bearer $ERRATA_API_KEY"'
        self._say(f"Try: curl {url}/v1/completions {header} -d '{json.dumps(_EXAMPLE)}'")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _url(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
