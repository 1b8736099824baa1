"""Answers queries: finds the view a request asks for, and has the engine generate from it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import overload

from starlette.concurrency import run_in_threadpool
from transformers import PreTrainedTokenizerFast

from app.errors import InvalidField, UnknownRevision
from app.generation.engine import Engine, Prompt
from app.generation.grammar import Grammars
from app.generation.sampling import Sampling
from app.generation.shaping import Shape
from app.generation.thread import GenerationThread
from app.kit.clock import Clock, IdFactory
from app.kit.lane import Lane
from app.query.answer import Generate, Heading, TokenUsage, shape_of
from app.query.chat import ChatReply, chat_at_most, check_chat, check_messages, with_room
from app.query.completions import (
    CompletionAnswer,
    check_answer,
    check_completion,
    check_prompts,
    completion_at_most,
    encode_prompts,
    engine_prompts,
)
from app.query.conversations import Conversations
from app.query.cost import REBUILDING, QueryLimits, check_scores
from app.query.freshness import MIN_REVISION_HEADER, Freshness
from app.query.probes import (
    Probe,
    batches,
    check_items,
    encode_probes,
    measure,
    probes_at_most,
    results,
)
from app.query.prompts import PromptEncoder
from app.query.reference import revision_of
from app.query.reservation import Reservation
from app.query.schemas import (
    ChatCompletion,
    ChatRequest,
    Completion,
    CompletionRequest,
    GenerationRequest,
    Model,
    ModelList,
    ProbeRequest,
    ProbeResponse,
    ProbeScore,
)
from app.resident.old_views import OldViews
from app.resident.resident import Resident, View

SeedSource = Callable[[], int]


class QueryService:
    """Answers from the resident model, each request on one whole revision.

    What a request may cost at most is taken from its caller before its texts are tokenised, before
    a revision is rebuilt, and before anything is generated.

    Args:
        resident: The model and its head.
        views: Its other revisions.
        thread: Where prompts are encoded and probes are measured.
        tokenizer: For that thread alone.
        conversations: What encodes those.
        grammars: What makes the form that an answer is to have.
        engine: What generates.
        freshness: What makes a request wait for a revision.
        limits: How long prompts and answers may be.
        clock: What time it is.
        new_id: Names answers.
        new_seed: Seeds requests that bring no seed.
    """

    def __init__(
        self,
        resident: Resident,
        views: OldViews,
        thread: GenerationThread,
        tokenizer: PreTrainedTokenizerFast,
        conversations: Conversations,
        grammars: Grammars,
        engine: Engine,
        freshness: Freshness,
        *,
        limits: QueryLimits,
        clock: Clock,
        new_id: IdFactory,
        new_seed: SeedSource,
    ) -> None:
        self._resident = resident
        self._views = views
        self._thread = thread
        self._tokenizer = tokenizer
        self._conversations = conversations
        self._grammars = grammars
        self._engine = engine
        self._freshness = freshness
        self._limits = limits
        self._clock = clock
        self._new_id = new_id
        self._new_seed = new_seed
        self._rendering = Lane("rendering")
        self._forming = Lane("grammars")
        self._started = self._now()

    @property
    def name(self) -> str:
        """The served model's name."""
        return self._resident.name

    def close(self) -> None:
        """End the threads that answers are formed and rendered and revisions are rebuilt on."""
        self._rendering.close()
        self._forming.close()
        self._views.close()

    def models(self) -> ModelList:
        """The served model at its head."""
        return ModelList(data=[self._model(self._resident.name, self._resident.head)])

    async def model(self, reference: str) -> Model:
        """One model, at its head or at the revision the reference pins; nothing is rebuilt."""
        revision = await self._pinned(reference)
        return self._model(reference, self._resident.head if revision is None else revision)

    async def complete(
        self, request: CompletionRequest, min_revision: int, reservation: Reservation
    ) -> CompletionAnswer:
        """An answer that continues each prompt of the request `n` times.

        Raises:
            Refusal: A field cannot be met; it says which and what would be.
            RateLimited: The caller has not enough tokens left.
            Unavailable: The revision that the request needs is not served in time.
        """
        check_completion(request)
        encoder = self._encoder()
        check_prompts(encoder, request)
        revision = await self._pinned(request.model)
        tokens, field = completion_at_most(encoder, request)
        await reservation.take(tokens + self._rebuilding(revision), field)
        usage = reservation.usage()
        encode = partial(encode_prompts, encoder, request, usage)
        prompts = await self._thread.run(encode)
        sampling = self._sampling(
            request, request.max_tokens, request.logprobs, shape_of(encoder, request)
        )
        check_answer(request, prompts, sampling, self._limits.scores)
        view = await reservation.hold(self.viewing(revision, min_revision, usage))
        heading = self._heading("cmpl", view)
        generate = self._generating(view, engine_prompts(request, prompts, sampling))
        return CompletionAnswer(heading, request, prompts, generate, usage)

    async def chat(
        self, request: ChatRequest, min_revision: int, reservation: Reservation
    ) -> ChatReply:
        """A reply in which the assistant answers a conversation `n` times.

        Raises:
            Refusal: A field cannot be met; it says which and what would be.
            RateLimited: The caller has not enough tokens left.
            Unavailable: The revision that the request needs is not served in time.
        """
        check_chat(request)
        encoder = self._encoder()
        check_messages(encoder, request)
        revision = await self._pinned(request.model)
        most, field = chat_at_most(encoder, request)
        await reservation.take(most + self._rebuilding(revision), field)
        usage = reservation.usage()
        shape = await self._shape(encoder, request)
        tokens = await self._conversations.encode(
            encoder,
            request.messages,
            opens_turn=request.opens_turn,
            continues=request.continue_final_message,
        )
        usage.read += len(tokens)
        conversation = with_room(encoder, tokens, request)
        top = (request.top_logprobs or 0) if request.logprobs else None
        sampling = self._sampling(request, conversation.max_tokens, top, shape)
        check_scores(sampling, conversation.max_tokens, request.n, self._limits.scores)
        view = await reservation.hold(self.viewing(revision, min_revision, usage))
        prompt = Prompt(0, conversation.tokens, sampling, request.n)
        heading = self._heading("chatcmpl", view)
        return ChatReply(heading, request, conversation, self._generating(view, [prompt]), usage)

    @overload
    async def whole(self, answer: CompletionAnswer) -> Completion: ...
    @overload
    async def whole(self, answer: ChatReply) -> ChatCompletion: ...
    async def whole(self, answer: CompletionAnswer | ChatReply) -> Completion | ChatCompletion:
        """An answer once all of it is generated, rendered on a thread of its own."""
        generated = await answer.generated()
        return await self._rendering.run(lambda _: answer.rendered(generated))

    async def document(self, answer: CompletionAnswer | ChatReply) -> str:
        """The same as JSON."""
        found = await self.whole(answer)
        return await self._rendering.run(lambda _: found.model_dump_json())

    async def probe(
        self, request: ProbeRequest, min_revision: int, reservation: Reservation
    ) -> ProbeResponse:
        """Measure each probe under each revision asked for.

        Raises:
            Refusal: A probe cannot be measured, or a revision does not exist.
            RateLimited: The caller has not enough tokens left.
            Unavailable: A revision that the request needs is not served in time.
        """
        encoder, names = self._encoder(), dict.fromkeys(request.revisions)
        check_items(encoder, request.items)
        pinned = [None if name == "head" else int(name) for name in names]
        for revision in pinned:
            await self._check_there(revision)
        rebuilding = sum(map(self._rebuilding, pinned))
        await reservation.take(len(pinned) * probes_at_most(request.items) + rebuilding, "items")
        usage = reservation.usage()
        encode = partial(encode_probes, encoder, self._tokenizer, request.items, usage)
        probes = await self._thread.run(encode)
        read = usage.read
        scores, numbers = dict[str, list[ProbeScore]](), dict[str, int]()
        for name, revision in zip(names, pinned, strict=True):
            least = min_revision if revision is None else 0
            async with self.viewing(revision, least, usage) as view:
                usage.read = (len(scores) + 1) * read
                scores[str(name)] = await self._measured(view, probes)
                numbers[str(name)] = view.revision
        return ProbeResponse(results=results(request.items, scores), revisions=numbers)

    async def _measured(self, view: View, probes: Sequence[Probe]) -> list[ProbeScore]:
        scores: list[ProbeScore] = []
        for batch in batches(probes):  # others come in between
            scores += await self._thread.run(partial(measure, view.model, self._tokenizer, batch))
        return scores

    @asynccontextmanager
    async def viewing(
        self, revision: int | None, min_revision: int, usage: TokenUsage
    ) -> AsyncIterator[View]:
        """The view of a revision, or of a head that is new enough, as long as the context lasts.

        Raises:
            Refusal: The revision is older than the request allows.
            Unavailable: It is not served in time.
        """
        if revision is None:
            await self._freshness.reach(min_revision)
        elif revision < min_revision:
            raise InvalidField(
                MIN_REVISION_HEADER,
                f"the request pins revision {revision}, which is before the {min_revision} of "
                f"{MIN_REVISION_HEADER}; leave one of them out",
            )
        newest = self._resident.newest
        if revision is None or revision == newest.revision:
            yield newest
            return
        rebuilding = self._rebuilding(revision)
        async with self._views.held(revision) as view:
            usage.rebuilt += rebuilding
            yield view

    def _rebuilding(self, revision: int | None) -> int:
        """What it costs to have a revision at hand, in tokens."""
        at_hand = revision in (None, self._resident.head) or revision in self._views
        return 0 if at_hand else REBUILDING

    async def _pinned(self, reference: str | None) -> int | None:
        """The revision that a reference pins, which exists; None for the head."""
        revision = revision_of(reference, self._resident.name)
        await self._check_there(revision, field="model")
        return revision

    async def _check_there(self, revision: int | None, *, field: str | None = None) -> None:
        if revision is None or revision == self._resident.head:
            return
        if revision > self._resident.head:
            committed = await run_in_threadpool(self._freshness.committed)
            if revision > committed:
                raise UnknownRevision(revision, field=field)
        await self._views.require_served(revision)

    def _generating(self, view: View, prompts: Sequence[Prompt]) -> Generate:
        return partial(self._engine.generate, view.model, prompts)

    def _heading(self, kind: str, view: View) -> Heading:
        return Heading(
            id=self._new_id(kind),
            created=self._now(),
            model=f"{self._resident.name}@{view.revision}",
            revision=view.revision,
        )

    def _encoder(self) -> PromptEncoder:
        return PromptEncoder.for_model(
            self._resident.base.model,
            self._tokenizer,
            max_chars=self._limits.prompt_chars,
            max_tokens=self._limits.prompt_tokens,
            cuts_answers=self._limits.cuts_answers,
        )

    async def _shape(self, encoder: PromptEncoder, request: ChatRequest) -> Shape:
        shape = shape_of(encoder, request)
        schema = None if request.response_format is None else request.response_format.answer_schema
        if schema is None:
            return shape
        grammar = await self._forming.run(lambda _: self._grammars.of(schema))
        return replace(shape, grammar=grammar)

    def _sampling(
        self, request: GenerationRequest, max_tokens: int, top_logprobs: int | None, shape: Shape
    ) -> Sampling:
        return Sampling(
            max_tokens=max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            stop=tuple(request.stop or ()),
            seed=self._new_seed() if request.seed is None else request.seed,
            top_logprobs=top_logprobs,
            shape=shape,
        )

    def _model(self, reference: str, revision: int) -> Model:
        return Model(id=reference, created=self._started, revision=revision)

    def _now(self) -> int:
        return int(self._clock().timestamp())
