"""One worker process without HTTP: executes what others accept, until told to end."""

import signal
import threading
from contextlib import ExitStack
from types import FrameType

from rich.console import Console

from app.display import StepDisplay
from app.main import Components, open_services, start_worker
from app.memory import keep_few_arenas, pass_over_what_is_there
from app.settings import Settings


def run_worker(settings: Settings) -> None:
    """Execute operations until SIGINT or SIGTERM.

    Raises:
        ErrataError: Database, queue or ledger will not do.
        EditingError: The model cannot be loaded or edited.
    """
    keep_few_arenas()
    ended = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    console = Console(stderr=True)
    own = settings.model_copy(update={"worker": "embedded"})
    with ExitStack() as stack:
        with StepDisplay(console) as steps:
            runtime = start_worker(open_services(own, Components(), stack), progress=steps)
        stack.callback(runtime.stop)
        pass_over_what_is_there()
        console.print(f"Errata's worker edits {runtime.resident.name}", highlight=False)
        ended.wait()
