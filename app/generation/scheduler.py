"""The engine that runs anywhere: continuous batching on one thread, in short turns.

A turn reads one piece of one waiting prompt and steps one batch by one token; then the thread is
free for whatever else was handed in, and the next turn queues up behind that. So nothing waits
longer for its turn than everything else takes for one short piece each.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from app.errors import GenerationFailed
from app.generation.admission import Admission
from app.generation.batch import Batch
from app.generation.engine import Ask, Piece
from app.generation.prefill import Prefill
from app.generation.request import Order
from app.generation.sequence import Row, prompt_pieces, rows_of
from app.generation.thread import GenerationThread
from app.kit.logs import get_logger

_log = get_logger(__name__)


@dataclass
class _Reading:
    """A prompt that is being read, and the places it holds for its rows."""

    order: Order
    ask: Ask
    prompt: Prefill
    places: int


@dataclass
class _Group:
    """Rows, and the batch that steps them in this order."""

    batch: Batch
    rows: list[Row] = field(default_factory=list)


class Decoder:
    """Generates for all requests at once, for those on one model together.

    Args:
        thread: Where the model runs; all state in here is touched there alone.
        tokenizer: For that thread alone.
        max_rows: Most choices generated at the same time.
    """

    def __init__(
        self, thread: GenerationThread, tokenizer: PreTrainedTokenizerBase, *, max_rows: int
    ) -> None:
        self._thread = thread
        self._tokenizer = tokenizer
        self._admission = Admission(max_rows)
        self._readings = deque[_Reading]()
        self._groups = deque[_Group]()
        self._turning = False

    async def pieces(self, model: PreTrainedModel, asks: Sequence[Ask]) -> AsyncGenerator[Piece]:
        """Every choice of every ask, as it comes; whoever stops listening frees its places.

        Raises:
            GenerationFailed: The model failed; no further piece comes.
        """
        order, open_choices = Order(model, asks), sum(ask.n for ask in asks)
        self._thread.submit(partial(self._accept, order))
        try:
            while open_choices:
                piece = await order.next()
                open_choices -= piece.finish_reason is not None
                yield piece
        finally:
            order.abandoned = True

    def _accept(self, order: Order) -> None:
        self._admission.add(order)
        if not self._turning:
            self._turn()

    def _turn(self) -> None:
        while (admitted := self._admission.admit()) is not None:
            order, ask = admitted
            if not self._attempt(partial(self._begin, order, ask), [order]):
                self._admission.release(order, ask.places)
        if self._readings:
            reading = self._readings.popleft()
            if not self._attempt(partial(self._read, reading), [reading.order]):
                self._admission.release(reading.order, reading.places)
        if self._groups:
            group = self._groups.popleft()
            if not self._attempt(partial(self._step, group), [row.order for row in group.rows]):
                self._retain(group)
        self._turning = bool(self._readings or self._groups or self._admission.waiting)
        if self._turning:
            self._thread.submit(self._turn)

    def _begin(self, order: Order, ask: Ask) -> None:
        top = ask.sampling.top_logprobs if ask.score else None
        prompt = Prefill(order.model, ask.tokens, top)
        self._readings.append(_Reading(order, ask, prompt, ask.places))

    def _read(self, reading: _Reading) -> None:
        """Read one more piece of a prompt; once it is whole, its rows say their first token."""
        order, ask, prompt = reading.order, reading.ask, reading.prompt
        if not order.abandoned:
            scores = prompt.advance()
            order.deliver(prompt_pieces(self._tokenizer, ask, scores, done=prompt.done))
            if prompt.logits is None:
                self._readings.append(reading)
                return
            rows = rows_of(self._tokenizer, order, ask)
            for row in rows:
                row.take(prompt.logits)
            for group, joining in self._placed([row for row in rows if not row.ended]):
                group.batch.join(prompt, joining[0].longest, len(joining))
                group.rows += joining
                reading.places -= len(joining)  # the rows have them now
        self._admission.release(order, reading.places)

    def _placed(self, rows: list[Row]) -> Iterator[tuple[_Group, list[Row]]]:
        """Where rows of one prompt may join; a group that is full is followed by a new one."""
        while rows:
            model, longest = rows[0].order.model, rows[0].longest
            for group in self._groups:
                if room := group.batch.room(model, longest):
                    break
            else:
                group = _Group(Batch(model))
                self._groups.append(group)
                room = max(1, group.batch.room(model, longest))
            yield group, rows[:room]
            rows = rows[room:]

    def _step(self, group: _Group) -> None:
        self._retain(group)  # listeners may have left since
        if not group.rows:
            return
        logits = group.batch.step([row.last for row in group.rows])
        for row, said in zip(group.rows, logits, strict=True):
            row.take(said)
        self._retain(group)
        if group.rows:
            self._groups.append(group)

    def _retain(self, group: _Group) -> None:
        """Let go of the rows that need no further step."""
        idle = [row.idle for row in group.rows]  # asked once: a listener may leave at any moment
        kept = [place for place, row_is_idle in enumerate(idle) if not row_is_idle]
        group.batch.keep(kept)
        left = [row for row, row_is_idle in zip(group.rows, idle, strict=True) if row_is_idle]
        group.rows = [group.rows[place] for place in kept]
        for row in left:
            self._admission.release(row.order, 1)

    def _attempt(self, work: Callable[[], None], orders: Collection[Order]) -> bool:
        try:
            work()
        # The outermost frame of work on this thread: whatever went wrong ends the requests it
        # was done for, and no others.
        except Exception as error:
            _log.exception("generation_failed", orders=len(orders))
            for order in orders:
                order.fail(GenerationFailed(error))
            return False
        return True
