"""Answers queries: finds the view a request asks for, and runs the model on its own thread."""

import copy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from app.clock import Clock, IdFactory
from app.errors import InvalidField
from app.query.chat import answer_conversation, encode_conversation
from app.query.completions import answer_prompt, encode_prompts
from app.query.executor import GenerationThread
from app.query.probes import encode_probes, measure
from app.query.prompts import PromptEncoder
from app.query.reference import revision_of
from app.query.sampling import Sampling
from app.query.schemas import (
    ChatCompletion,
    ChatRequest,
    Completion,
    CompletionChoice,
    CompletionRequest,
    GenerationRequest,
    Model,
    ModelList,
    ProbeRequest,
    ProbeResponse,
    ProbeResult,
    ProbeScore,
    Usage,
)
from app.resident.resident import Resident, View

SeedSource = Callable[[], int]


class QueryService:
    """Generates from the resident model, each request on one whole revision."""

    def __init__(
        self,
        resident: Resident,
        thread: GenerationThread,
        *,
        max_prompt_chars: int,
        clock: Clock,
        new_id: IdFactory,
        new_seed: SeedSource,
    ) -> None:
        self._resident = resident
        self._thread = thread
        self._max_prompt_chars = max_prompt_chars
        self._clock = clock
        self._new_id = new_id
        self._new_seed = new_seed
        self._started = self._now()
        # A tokenizer keeps its padding in itself; what the worker sets must not reach us.
        self._tokenizer = copy.deepcopy(resident.tokenizer)

    def models(self) -> ModelList:
        """The served model at its head."""
        return ModelList(data=[self._model(self._resident.name, self._resident.head)])

    async def model(self, reference: str) -> Model:
        """One model, at its head or at the revision the reference pins."""
        async with self._view(revision_of(reference, self._resident.name)) as view:
            return self._model(reference, view.revision)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Continue each prompt of the request `n` times.

        Raises:
            Refusal: A field cannot be met; it says which and what would be.
        """
        if request.max_tokens == 0 and not request.echo:
            raise InvalidField("max_tokens", "with 0 and echo false there is nothing to answer")
        sampling = self._sampling(request, request.max_tokens, request.logprobs)
        async with self._view(revision_of(request.model, self._resident.name)) as view:
            prompts = await self._thread.run(partial(encode_prompts, self._encoder(view), request))
            choices: list[CompletionChoice] = []
            read = written = 0
            for prompt in prompts:
                answer = await self._thread.run(
                    partial(answer_prompt, view.model, self._tokenizer, request, sampling, prompt)
                )
                choices += answer.choices
                read += answer.prompt_tokens
                written += answer.completion_tokens
            return Completion(
                id=self._new_id("cmpl"),
                created=self._now(),
                model=self._pinned(view),
                revision=view.revision,
                choices=choices,
                usage=_usage(read, written),
            )

    async def chat(self, request: ChatRequest) -> ChatCompletion:
        """Let the assistant answer a conversation `n` times.

        Raises:
            Refusal: A field cannot be met; it says which and what would be.
        """
        _check_chat(request)
        async with self._view(revision_of(request.model, self._resident.name)) as view:
            conversation = await self._thread.run(
                partial(encode_conversation, self._encoder(view), request)
            )
            top = (request.top_logprobs or 0) if request.logprobs else None
            sampling = self._sampling(request, conversation.max_tokens, top)
            answer = await self._thread.run(
                partial(
                    answer_conversation,
                    view.model,
                    self._tokenizer,
                    request,
                    sampling,
                    conversation,
                )
            )
            return ChatCompletion(
                id=self._new_id("chatcmpl"),
                created=self._now(),
                model=self._pinned(view),
                revision=view.revision,
                choices=answer.choices,
                usage=_usage(answer.prompt_tokens, answer.completion_tokens),
            )

    async def probe(self, request: ProbeRequest) -> ProbeResponse:
        """Measure each probe under each revision asked for.

        Raises:
            Refusal: A probe cannot be measured, or a revision does not exist.
        """
        scores: dict[str, list[ProbeScore]] = {}
        numbers: dict[str, int] = {}
        for revision in dict.fromkeys(request.revisions):
            async with self._view(None if revision == "head" else revision) as view:
                probes = await self._thread.run(
                    partial(encode_probes, self._encoder(view), self._tokenizer, request.items)
                )
                scores[str(revision)] = await self._thread.run(
                    partial(measure, view.model, self._tokenizer, probes)
                )
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

    @asynccontextmanager
    async def _view(self, revision: int | None) -> AsyncIterator[View]:
        async with self._thread.hold(self._resident.view(revision)) as view:
            yield view

    def _encoder(self, view: View) -> PromptEncoder:
        return PromptEncoder.for_model(view.model, self._tokenizer, self._max_prompt_chars)

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

    def _pinned(self, view: View) -> str:
        return f"{self._resident.name}@{view.revision}"

    def _now(self) -> int:
        return int(self._clock().timestamp())


def _check_chat(request: ChatRequest) -> None:
    if request.top_logprobs is not None and not request.logprobs:
        raise InvalidField("top_logprobs", "this needs logprobs to be true")
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise InvalidField("max_tokens", "this and max_completion_tokens mean the same; send one")


def _usage(read: int, written: int) -> Usage:
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)
