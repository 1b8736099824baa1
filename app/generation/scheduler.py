"""The engine that runs anywhere: continuous batching on one thread, in short turns.

A turn reads one chunk of one waiting prompt and steps one batch by one token; then the thread is
free for whatever else was handed in, and the next turn queues up behind that. So nothing waits
longer for its turn than everything else takes for one short chunk each.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from app.errors import GenerationFailed
from app.generation.admission import Admission
from app.generation.batch import Batch
from app.generation.engine import Chunk, Prompt
from app.generation.prefill import Prefill
from app.generation.request import EngineRequest
from app.generation.sequence import TokenSequence, prompt_chunks, sequences_of
from app.generation.thread import GenerationThread
from app.kit.logs import get_logger

_log = get_logger(__name__)
_Sequences = list[TokenSequence]


@dataclass
class _Reading:
    """A prompt that is being read, and the slots it holds for its sequences."""

    request: EngineRequest
    prompt: Prompt
    prefill: Prefill
    slots: int


@dataclass
class _Group:
    """Sequences, and the batch that steps them in this order."""

    batch: Batch
    sequences: _Sequences = field(default_factory=list)


class Scheduler:
    """Generates for all requests at once, for those on one model together.

    Args:
        thread: Where the model runs; all state in here is touched there alone.
        tokenizer: For that thread alone.
        max_sequences: Most choices generated at the same time.
    """

    def __init__(
        self, thread: GenerationThread, tokenizer: PreTrainedTokenizerBase, *, max_sequences: int
    ) -> None:
        self._thread = thread
        self._tokenizer = tokenizer
        self._admission = Admission(max_sequences)
        self._readings = deque[_Reading]()
        self._groups = deque[_Group]()
        self._turning = False

    async def generate(
        self, model: PreTrainedModel, prompts: Sequence[Prompt]
    ) -> AsyncGenerator[Chunk]:
        """Generate every choice of every prompt; closing the generator frees its slots.

        Raises:
            GenerationFailed: The model failed; no further chunk comes.
        """
        request, open_choices = EngineRequest(model, prompts), sum(prompt.n for prompt in prompts)
        self._thread.submit(partial(self._accept, request))
        try:
            while open_choices:
                chunk = await request.next()
                open_choices -= chunk.finish_reason is not None
                yield chunk
        finally:
            request.abandoned = True

    def _accept(self, request: EngineRequest) -> None:
        self._admission.add(request)
        if not self._turning:
            self._turn()

    def _turn(self) -> None:
        while (admitted := self._admission.admit()) is not None:
            request, prompt = admitted
            if not self._attempt(partial(self._begin, request, prompt), [request]):
                self._admission.release(request, prompt.slots)
        if self._readings:
            reading = self._readings.popleft()
            if not self._attempt(partial(self._read, reading), [reading.request]):
                self._admission.release(reading.request, reading.slots)
        if self._groups:
            group = self._groups.popleft()
            if not self._attempt(partial(self._step, group), [s.request for s in group.sequences]):
                self._retain(group)
        self._turning = bool(self._readings or self._groups or self._admission.waiting)
        if self._turning:
            self._thread.submit(self._turn)

    def _begin(self, request: EngineRequest, prompt: Prompt) -> None:
        top = prompt.sampling.top_logprobs if prompt.score else None
        prefill = Prefill(request.model, prompt.tokens, top)
        self._readings.append(_Reading(request, prompt, prefill, prompt.slots))

    def _read(self, reading: _Reading) -> None:
        """Read one more chunk of a prompt; after the last, its sequences say their first token."""
        request, prompt, prefill = reading.request, reading.prompt, reading.prefill
        if not request.abandoned:
            scores = prefill.read_chunk()
            request.deliver(prompt_chunks(self._tokenizer, prompt, scores, done=prefill.done))
            if prefill.logits is None:
                self._readings.append(reading)
                return
            sequences = sequences_of(self._tokenizer, request, prompt)
            for sequence in sequences:
                sequence.take(prefill.logits)
            for group, joining in self._placed([s for s in sequences if not s.ended]):
                group.batch.join(prefill, joining[0].longest, len(joining))
                group.sequences += joining
                reading.slots -= len(joining)  # the sequences have them now
        self._admission.release(request, reading.slots)

    def _placed(self, sequences: _Sequences) -> Iterator[tuple[_Group, _Sequences]]:
        """Where sequences of one prompt may join; a group that is full is followed by a new one."""
        while sequences:
            model, longest = sequences[0].request.model, sequences[0].longest
            for group in self._groups:
                if room := group.batch.room(model, longest):
                    break
            else:
                group = _Group(Batch(model))
                self._groups.append(group)
                room = max(1, group.batch.room(model, longest))
            yield group, sequences[:room]
            sequences = sequences[room:]

    def _step(self, group: _Group) -> None:
        self._retain(group)  # listeners may have left since
        if not group.sequences:
            return
        logits = group.batch.step([sequence.last for sequence in group.sequences])
        for sequence, said in zip(group.sequences, logits, strict=True):
            sequence.take(said)
        self._retain(group)
        if group.sequences:
            self._groups.append(group)

    def _retain(self, group: _Group) -> None:
        """Let go of the sequences that need no further step."""
        idle = [s.idle for s in group.sequences]  # asked once: a listener may leave at any moment
        kept = [index for index, is_idle in enumerate(idle) if not is_idle]
        group.batch.keep(kept)
        left = [s for s, is_idle in zip(group.sequences, idle, strict=True) if is_idle]
        group.sequences = [group.sequences[index] for index in kept]
        for sequence in left:
            self._admission.release(sequence.request, 1)

    def _attempt(self, work: Callable[[], None], requests: Collection[EngineRequest]) -> bool:
        try:
            work()
        # The outermost frame of work on this thread: whatever went wrong ends the requests it
        # was done for, and no others.
        except Exception as error:
            _log.exception("generation_failed", orders=len(requests))
            for request in requests:
                request.fail(GenerationFailed(error))
            return False
        return True
