"""Answers queries: finds the view a request asks for, and has the engine generate from it."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from transformers import PreTrainedTokenizerFast

from app.clock import Clock, IdFactory
from app.errors import InvalidField
from app.query.answer import Heading, Pieces, Tally
from app.query.chat import ChatReply, check_chat, with_room
from app.query.completions import (
    CompletionAnswer,
    check_completion,
    completion_asks,
    encode_prompts,
)
from app.query.conversations import Conversations
from app.query.engine import Ask, Engine
from app.query.executor import GenerationThread
from app.query.freshness import MIN_REVISION_HEADER, Freshness
from app.query.probes import batches, encode_probes, measure
from app.query.prompts import PromptEncoder
from app.query.reference import revision_of
from app.query.sampling import Sampling
from app.query.schemas import (
    ChatRequest,
    CompletionRequest,
    GenerationRequest,
    Model,
    ModelList,
    ProbeItem,
    ProbeRequest,
    ProbeResponse,
    ProbeResult,
    ProbeScore,
)
from app.resident.resident import Resident, View

SeedSource = Callable[[], int]


class QueryService:
    """Answers from the resident model, each request on one whole revision.

    Args:
        resident: The model and its revisions.
        thread: Where prompts are encoded and probes are measured.
        tokenizer: For that thread alone.
        conversations: What encodes those.
        engine: What generates.
        freshness: What makes a request wait for a revision.
        max_prompt_chars: Longest prompt.
        max_prompt_tokens: The same in tokens.
        clock: What time it is.
        new_id: Names answers.
        new_seed: Seeds requests that bring no seed.
    """

    def __init__(
        self,
        resident: Resident,
        thread: GenerationThread,
        tokenizer: PreTrainedTokenizerFast,
        conversations: Conversations,
        engine: Engine,
        freshness: Freshness,
        *,
        max_prompt_chars: int,
        max_prompt_tokens: int,
        clock: Clock,
        new_id: IdFactory,
        new_seed: SeedSource,
    ) -> None:
        self._resident = resident
        self._thread = thread
        self._tokenizer = tokenizer
        self._conversations = conversations
        self._engine = engine
        self._freshness = freshness
        self._max_prompt_chars = max_prompt_chars
        self._max_prompt_tokens = max_prompt_tokens
        self._clock = clock
        self._new_id = new_id
        self._new_seed = new_seed
        self._started = self._now()

    def models(self) -> ModelList:
        """The served model at its head."""
        return ModelList(data=[self._model(self._resident.name, self._resident.head)])

    async def model(self, reference: str) -> Model:
        """One model, at its head or at the revision the reference pins."""
        view = await self._view(revision_of(reference, self._resident.name))
        return self._model(reference, view.revision)

    async def complete(self, request: CompletionRequest, min_revision: int) -> CompletionAnswer:
        """An answer that continues each prompt of the request `n` times.

        Raises:
            Refusal: A field cannot be met; it says which and what would be.
            Unavailable: The revision that the request needs is not served in time.
        """
        check_completion(request)
        view = await self._view(revision_of(request.model, self._resident.name), min_revision)
        prompts = await self._thread.run(partial(encode_prompts, self._encoder(view), request))
        sampling = self._sampling(request, request.max_tokens, request.logprobs)
        asks = completion_asks(request, prompts, sampling)
        tally = Tally(sum(len(prompt.tokens) for prompt in prompts))
        heading = self._heading("cmpl", view)
        return CompletionAnswer(heading, request, prompts, self._pieces(view, asks), tally)

    async def chat(self, request: ChatRequest, min_revision: int) -> ChatReply:
        """A reply in which the assistant answers a conversation `n` times.

        Raises:
            Refusal: A field cannot be met; it says which and what would be.
            Unavailable: The revision that the request needs is not served in time.
        """
        check_chat(request)
        view = await self._view(revision_of(request.model, self._resident.name), min_revision)
        encoder = self._encoder(view)
        tokens = await self._conversations.encode(encoder, request.messages)
        conversation = with_room(encoder, tokens, request)
        top = (request.top_logprobs or 0) if request.logprobs else None
        sampling = self._sampling(request, conversation.max_tokens, top)
        ask = Ask(0, conversation.tokens, sampling, request.n)
        heading = self._heading("chatcmpl", view)
        tally = Tally(len(conversation.tokens))
        return ChatReply(heading, request, conversation, self._pieces(view, [ask]), tally)

    async def probe(self, request: ProbeRequest, min_revision: int) -> ProbeResponse:
        """Measure each probe under each revision asked for.

        Raises:
            Refusal: A probe cannot be measured, or a revision does not exist.
            Unavailable: The revision that the request needs is not served in time.
        """
        scores: dict[str, list[ProbeScore]] = {}
        numbers: dict[str, int] = {}
        for revision in dict.fromkeys(request.revisions):
            if revision == "head":
                view = await self._view(None, min_revision)
            else:
                view = await self._view(revision)
            scores[str(revision)] = await self._measured(view, request.items)
            numbers[str(revision)] = view.revision
        results = [
            ProbeResult(
                prompt=item.prompt,
                target=item.target,
                revisions={revision: rows[index] for revision, rows in scores.items()},
            )
            for index, item in enumerate(request.items)
        ]
        return ProbeResponse(results=results, revisions=numbers)

    async def _measured(self, view: View, items: Sequence[ProbeItem]) -> list[ProbeScore]:
        encode = partial(encode_probes, self._encoder(view), self._tokenizer, items)
        scores: list[ProbeScore] = []
        for batch in batches(await self._thread.run(encode)):  # others come in between
            scores += await self._thread.run(partial(measure, view.model, self._tokenizer, batch))
        return scores

    async def _view(self, revision: int | None, min_revision: int = 0) -> View:
        """The view of a revision, or of a head that is new enough; it lives while it is held."""
        if revision is None:
            await self._freshness.reach(min_revision)
            return self._enter(None)
        if revision < min_revision:
            raise InvalidField(
                MIN_REVISION_HEADER,
                f"the request pins revision {revision}, which is before the {min_revision} of "
                f"{MIN_REVISION_HEADER}; leave one of them out",
            )
        # Rebuilding an old revision takes a while, which neither readers nor the loop have.
        return await asyncio.to_thread(self._enter, revision)

    def _enter(self, revision: int | None) -> View:
        with self._resident.view(revision) as view:
            return view

    def _pieces(self, view: View, asks: Sequence[Ask]) -> Pieces:
        return partial(self._engine.pieces, view.model, asks)

    def _heading(self, kind: str, view: View) -> Heading:
        return Heading(
            id=self._new_id(kind),
            created=self._now(),
            model=f"{self._resident.name}@{view.revision}",
            revision=view.revision,
        )

    def _encoder(self, view: View) -> PromptEncoder:
        return PromptEncoder.for_model(
            view.model,
            self._tokenizer,
            max_chars=self._max_prompt_chars,
            max_tokens=self._max_prompt_tokens,
        )

    def _sampling(
        self, request: GenerationRequest, max_tokens: int, top_logprobs: int | None
    ) -> Sampling:
        return Sampling(
            max_tokens=max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            stop=tuple(request.stop or ()),
            seed=self._new_seed() if request.seed is None else request.seed,
            top_logprobs=top_logprobs,
        )

    def _model(self, reference: str, revision: int) -> Model:
        return Model(id=reference, created=self._started, revision=revision)

    def _now(self) -> int:
        return int(self._clock().timestamp())
