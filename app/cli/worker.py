"""One worker process without HTTP: executes what others accept, until told to end."""

import signal
import threading
from concurrent.futures import Future
from contextlib import ExitStack
from types import FrameType

from prometheus_client import start_http_server
from rich.console import Console

from app.cli.display import StepDisplay, say
from app.cli.root import warn_of_root
from app.deps.services import Services
from app.errors import QueueUnavailable
from app.kit import descriptors
from app.kit.env_file import tell_of_env_file
from app.kit.logs import configure
from app.kit.memory import keep_few_arenas, pass_over_what_is_there
from app.kit.stopping import MODEL_STOP_S, end_in_time
from app.main import Components, open_services, start_worker
from app.settings import Settings
from app.startup import Runtime
from editing_core.progress import Progress

_POLL_S = 0.1


def run_worker(settings: Settings) -> None:
    """Execute operations until SIGINT or SIGTERM.

    Raises:
        ErrataError: Database, queue or ledger will not do.
        EditingError: The model cannot be loaded or edited.
    """
    if not settings.has_shared_queue:
        raise QueueUnavailable(
            "a worker in a process of its own does not hear memory://; "
            "set ERRATA_REDIS_URL to a Redis that it and the servers reach"
        )
    keep_few_arenas()
    descriptors.raise_limit()
    told, woken = threading.Event(), threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        end_in_time()
        told.set()
        woken.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    configure(settings.log_format, settings.log_level)
    tell_of_env_file()
    console = Console(stderr=True)
    warn_of_root(console)
    own = settings.model_copy(update={"worker": "embedded"})
    with ExitStack() as stack:
        with StepDisplay(console) as steps:
            services = open_services(own, Components(), stack)
            _expose(services, stack)
            starting = _start(services, steps)
            starting.add_done_callback(lambda _: woken.set())
            woken.wait()
            if told.is_set():
                return
            runtime = starting.result()
            stack.callback(runtime.stop, MODEL_STOP_S)
            if not _has_prepared(runtime, told):
                return
        pass_over_what_is_there()
        say(console, f"Errata's worker edits {runtime.resident.name}")
        told.wait()


def _start(services: Services, progress: Progress) -> Future[Runtime]:
    """Start on another thread: signals are heard by the main one, between two of its steps."""
    starting: Future[Runtime] = Future()

    def start() -> None:
        try:
            starting.set_result(start_worker(services, progress=progress))
        # Whatever it is, the main thread tells of it.
        except Exception as error:
            starting.set_exception(error)

    threading.Thread(target=start, name="starting", daemon=True).start()
    return starting


def _has_prepared(runtime: Runtime, told: threading.Event) -> bool:
    """Wait until edits can be computed; False if the process is told to end before that.

    Raises:
        Exception: What keeps them from being computed.
    """
    preparation = runtime.preparation
    while preparation is not None and not preparation.is_ready:
        if preparation.error is not None:
            raise preparation.error
        if told.wait(_POLL_S):
            return False
    return True


def _expose(services: Services, stack: ExitStack) -> None:
    """Answer Prometheus on a loopback port of our own, if there is to be one."""
    port = services.settings.metrics_port
    if port:
        server, thread = start_http_server(port, "127.0.0.1", services.metrics.registry)
        stack.callback(thread.join)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
