"""The part of the service that needs the model: made in the background, handed to queries."""

import copy
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from app.database.tables.labels import Snapshot
from app.deps.services import Services
from app.errors import Unavailable
from app.exports.exporter import Exporter
from app.exports.service import Kept
from app.exports.store import ExportStore
from app.exports.writing import Source
from app.facts.lengths import Lengths
from app.generation.choice_text import end_tokens
from app.generation.grammar import Grammars
from app.generation.measured import Measured
from app.generation.scheduler import Scheduler
from app.generation.thread import GenerationThread
from app.kit.logs import get_logger
from app.kit.pending import Pending
from app.kit.preparing import Preparation
from app.kit.retrying import retried
from app.operations.once import Once
from app.operations.revisions import newest as newest_revision
from app.query.conversations import Conversations
from app.query.cost import QueryLimits
from app.query.freshness import Freshness
from app.query.service import QueryService
from app.resident.old_views import OldViews
from app.resident.resident import Resident
from editing_core.control import ControlTokens
from editing_core.reach import Reach

_SEED_BITS = 63
_log = get_logger(__name__)


class Runtime(Protocol):
    """The resident model at the ledger's head, and the worker that edits it."""

    @property
    def resident(self) -> Resident:
        """What queries read."""

    @property
    def contexts(self) -> Sequence[str]:
        """The texts that edits are written in, with `{}` for the prompt."""

    @property
    def preparation(self) -> Preparation[Any] | None:
        """Of what edits need; None where another process computes them."""

    def take_snapshot(self, revision: int, label: str, once: Once) -> tuple[Snapshot, bool]:
        """Store a revision under a label; whether that is new."""

    def stop(self, timeout_s: float) -> None:
        """End the worker after the operation it is in, which is left behind after `timeout_s`."""


StartRuntime = Callable[[Services], Runtime]


@dataclass(frozen=True)
class Serving:
    """A running model, the queries on it, and the exports of it."""

    runtime: Runtime
    query: QueryService
    conversations: Conversations
    thread: GenerationThread
    exporter: Exporter


class Loader:
    """Loads the model on a thread of its own, so that the service answers meanwhile."""

    def __init__(self, services: Services, start_runtime: StartRuntime) -> None:
        self._services = services
        self._start_runtime = start_runtime
        self._stopping = threading.Event()
        self.serving = Pending[Serving](f"loading model {services.settings.model}")
        # A daemon: a download or a calibration must not keep a stopped service from ending.
        self._thread = threading.Thread(target=self._load, name="loader", daemon=True)

    def start(self) -> None:
        """Begin loading."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End exports, queries and worker; what has not ended after `timeout_s` is left behind."""
        until = monotonic() + timeout_s
        self._stopping.set()
        serving = self.serving.wait(timeout_s)
        if serving is not None:
            serving.exporter.stop(max(0.0, until - monotonic()))
            serving.conversations.close()
            serving.query.close()
            serving.thread.close(max(0.0, until - monotonic()))
            serving.runtime.stop(max(0.0, until - monotonic()))

    def _load(self) -> None:
        model = self._services.settings.model
        try:
            runtime = retried(
                lambda: self._start_runtime(self._services),
                stopping=self._stopping,
                when_away=self._tell_away,
            )
        # The outermost frame of this thread: whatever went wrong is the reason /readyz gives.
        except Exception as error:
            self.serving.fail(f"model {model} was not loaded", str(error))
            _log.exception("model_not_loaded", model=model)
            return
        self.serving.fill(self._serve(runtime))

    def _tell_away(self, error: Unavailable) -> None:
        model = self._services.settings.model
        self.serving.delay(f"model {model} is not loaded yet: loading begins again", str(error))
        _log.warning("loading_interrupted", model=model, error=str(error))

    def _serve(self, runtime: Runtime) -> Serving:
        resident, settings = runtime.resident, self._services.settings
        self._services.lengths.fill(
            Lengths(
                copy.deepcopy(resident.tokenizer),
                ControlTokens.of(resident.tokenizer),
                max_prompt_tokens=settings.max_prompt_tokens,
                max_target_tokens=settings.max_target_tokens,
                reach=Reach.of(resident.base.model),
                contexts=lambda: runtime.contexts,
            )
        )
        thread = GenerationThread(self._services.readers)
        # A tokenizer keeps its padding in itself; what the worker sets must not reach readers.
        tokenizer = copy.deepcopy(resident.tokenizer)
        scheduler = Scheduler(thread, tokenizer, max_sequences=settings.max_rows)
        conversations = Conversations(copy.deepcopy(resident.tokenizer))
        query = QueryService(
            resident,
            OldViews(resident.rebuilt, resident.require_served, most=settings.old_views),
            thread,
            tokenizer,
            conversations,
            Grammars(
                copy.deepcopy(resident.tokenizer),
                resident.base.model.config.get_text_config().vocab_size,
                end_tokens(resident.base.model, tokenizer),
            ),
            Measured(scheduler, self._services.metrics),
            Freshness(resident, self._committed, wait_s=settings.min_revision_wait_s),
            limits=QueryLimits(
                prompt_chars=settings.max_prompt_chars,
                prompt_tokens=settings.max_prompt_tokens,
                scores=settings.max_scores,
                cuts_answers=settings.cut_max_tokens,
            ),
            clock=self._services.clock,
            new_id=self._services.new_id,
            new_seed=lambda: secrets.randbits(_SEED_BITS),
        )
        return Serving(runtime, query, conversations, thread, self._start_exporter(runtime))

    def _start_exporter(self, runtime: Runtime) -> Exporter:
        services = self._services
        exporter = Exporter(
            Source(services.database, services.artefacts, runtime.resident),
            ExportStore(services.settings.data_dir),
            kept=Kept(services.settings.exports_kept, services.settings.exports_kept_bytes),
            space=services.space,
            poll_s=services.settings.queue_poll_s,
            clock=services.clock,
        )
        exporter.start()
        return exporter

    def _committed(self) -> int:
        with self._services.database.read() as session:
            found = newest_revision(session)
            return 0 if found is None else found.number
