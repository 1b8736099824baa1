"""What takes minutes at a first start: made in the background, while the service answers."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.kit.logs import get_logger
from app.kit.pace import Pace
from app.kit.priority import step_back
from app.kit.retrying import retried
from editing_core.giving_way import GiveWay
from editing_core.progress import Progress

T = TypeVar("T")
_log = get_logger(__name__)


@dataclass(frozen=True)
class Outlook:
    """How far a preparation is.

    Attributes:
        step: What is done now.
        progress: The part of it that is done, 0 to 1.
        seconds_left: How long the step takes yet; None before that is known.
    """

    step: str
    progress: float
    seconds_left: float | None


class _Stopped(Exception):
    """Control flow out of the preparation, once its result is not wanted."""


class Preparation(Generic[T]):
    """Something that may take long to make; who needs it waits, and can see how far it is.

    Args:
        make: Makes it, and tells how far it is.
        give_way: Lets others go first, before each step.
        progress: Told what `make` tells.
    """

    def __init__(
        self, make: Callable[[Progress], T], *, give_way: GiveWay, progress: Progress
    ) -> None:
        self._make, self._give_way, self._progress = make, give_way, progress
        self._made: T | None = None
        self._error: Exception | None = None
        self._outlook: Outlook | None = None
        self._pace = Pace(0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="preparing", daemon=True)

    @property
    def is_ready(self) -> bool:
        """Whether it was made."""
        return self._made is not None

    @property
    def error(self) -> Exception | None:
        """Why it will never be there."""
        return self._error

    @property
    def outlook(self) -> Outlook | None:
        """How far it is; None before its first step."""
        return self._outlook

    def get(self) -> T:
        """What was made; to be asked for once it is ready."""
        if self._made is None:
            raise RuntimeError("it is not prepared yet")
        return self._made

    def make_now(self) -> None:
        """Make it in this thread; whatever goes wrong is raised."""
        self._made = self._make(self._progress)

    def start(self) -> None:
        """Begin, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End at the next step; what was made so far is thrown away."""
        self._stopping.set()

    def join(self, timeout_s: float) -> None:
        """Wait for its end, but not for ever."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        step_back()
        started = time.monotonic()
        _log.info("edits_wait")
        try:
            self._made = retried(
                lambda: self._make(self._advance),
                stopping=self._stopping,
                when_away=lambda error: _log.warning("preparation_interrupted", error=str(error)),
            )
        except _Stopped:
            _log.info("preparation_stopped")
        # The outermost frame of this thread: /readyz gives the reason, and `errata serve` ends.
        except Exception as error:
            self._error = error
            _log.exception("edits_not_prepared")
        else:
            _log.info("edits_prepared", seconds=round(time.monotonic() - started, 1))

    def _advance(self, step: str, done: int, total: int) -> None:
        if self._stopping.is_set():
            raise _Stopped
        self._give_way()
        if self._outlook is None or self._outlook.step != step:
            self._pace = Pace(done)
        left = self._pace.seconds_left(done, total)
        self._outlook = Outlook(step, done / total if total else 1.0, left)
        self._progress(step, done, total)
