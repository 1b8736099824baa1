"""Plain continuations, in the shape of `/v1/completions`."""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from app.errors import InvalidField
from app.generation.detokenizer import decode
from app.generation.engine import Chunk, Prompt
from app.generation.sampling import Sampling
from app.generation.scored import ScoredToken
from app.query.answer import Generate, GeneratedChoice, Heading, TokenUsage, check_stream, collect
from app.query.chunks import CompletionChunk, CompletionChunkChoice
from app.query.cost import check_echo, check_scores, tokens_at_most
from app.query.logprobs import completion_logprobs
from app.query.prompts import PromptEncoder
from app.query.schemas import (
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    CompletionRequest,
)


@dataclass(frozen=True)
class EncodedPrompt:
    """One prompt of a request: what is repeated of it, what the model reads, and may say."""

    text: str
    tokens: list[int]
    max_tokens: int


def check_completion(request: CompletionRequest) -> None:
    """Make sure that the request's fields go together.

    Raises:
        InvalidField: They do not.
    """
    check_stream(request)
    if request.max_tokens == 0 and not request.echo:
        raise InvalidField("max_tokens", "with 0 and echo false there is nothing to answer")
    if request.best_of is not None and request.best_of != request.n:
        raise InvalidField(
            "best_of",
            f"best_of: all that is generated is answered; leave it out, or send {request.n} as n",
        )


def check_prompts(encoder: PromptEncoder, request: CompletionRequest) -> None:
    """Make sure that no prompt is too long to be read at all.

    Raises:
        InvalidField: One is.
    """
    for prompt in request.prompts:
        if isinstance(prompt, str):
            encoder.check_characters(prompt, "prompt")


def completion_at_most(encoder: PromptEncoder, request: CompletionRequest) -> tuple[int, str]:
    """How many tokens are read and generated at most, and which field has most of them."""
    read = sum(map(tokens_at_most, request.prompts))
    written = len(request.prompts) * request.n * encoder.longest_answer(request.max_tokens)
    return read + written, "max_tokens" if written >= read else "prompt"


def encode_prompts(
    encoder: PromptEncoder, request: CompletionRequest, usage: TokenUsage
) -> list[EncodedPrompt]:
    """Every prompt of the request, checked against the model's limits; `usage` is told of each.

    Raises:
        Refusal: A prompt cannot be read, or leaves no room for the answer.
    """
    encoded, characters = [], 0
    for prompt in request.prompts:
        tokens = encoder.encode(prompt, "prompt", add_special_tokens=request.add_special_tokens)
        usage.read += len(tokens)
        granted = encoder.granted(len(tokens), request.max_tokens, "max_tokens")
        text = _echoed(encoder, prompt, tokens) if request.echo else ""
        characters += len(text)
        check_echo(characters, request.n)
        encoded.append(EncodedPrompt(text, tokens, granted))
    return encoded


def check_answer(
    request: CompletionRequest, prompts: Sequence[EncodedPrompt], sampling: Sampling, most: int
) -> None:
    """Make sure that the answer has no more log-probabilities than this.

    Raises:
        InvalidField: It would have.
    """
    positions = sum(prompt.max_tokens + len(prompt.tokens) * request.echo for prompt in prompts)
    check_scores(sampling, positions, request.n, most)


def engine_prompts(
    request: CompletionRequest, prompts: Sequence[EncodedPrompt], sampling: Sampling
) -> list[Prompt]:
    """The prompts as the engine takes them."""
    score = request.echo and request.logprobs is not None
    return [
        Prompt(
            index, prompt.tokens, replace(sampling, max_tokens=prompt.max_tokens), request.n, score
        )
        for index, prompt in enumerate(prompts)
    ]


@dataclass(frozen=True)
class CompletionAnswer:
    """The answer to a request for completions; `generate` begins it."""

    heading: Heading
    request: CompletionRequest
    prompts: Sequence[EncodedPrompt]
    generate: Generate
    usage: TokenUsage

    @property
    def most_tokens(self) -> int:
        """How many tokens may be generated."""
        return self.request.n * sum(prompt.max_tokens for prompt in self.prompts)

    async def generated(self) -> list[GeneratedChoice]:
        """All continuations, once each is complete."""
        return await collect(self.generate, len(self.prompts) * self.request.n, self.usage)

    def rendered(self, generated: Sequence[GeneratedChoice]) -> Completion:
        """The answer that these choices make; where scores are many, it takes a while."""
        choices = [self._choice(index, choice) for index, choice in enumerate(generated)]
        return Completion(**self.heading, choices=choices, usage=self.usage.as_schema)

    async def chunks(self) -> AsyncGenerator[CompletionChunk]:
        """The continuations as they come, those of several choices interleaved."""
        offsets = Counter[int]()
        started = set[int]()
        async with aclosing(self.generate()) as coming:
            async for chunk in coming:
                self.usage.written += chunk.tokens
                text = chunk.text
                if chunk.choice not in started:
                    text = self._echo(chunk.choice) + text
                    started.add(chunk.choice)
                if text or chunk.scores or chunk.finish_reason is not None:
                    yield self._chunk(chunk, text, offsets[chunk.choice])
                offsets[chunk.choice] += sum(score.characters for score in chunk.scores)
        if self.request.include_usage:
            yield CompletionChunk(**self.heading, choices=[], usage=self.usage.as_schema)

    def _chunk(self, chunk: Chunk, text: str, offset: int) -> CompletionChunk:
        choice = CompletionChunkChoice(
            index=chunk.choice,
            text=text,
            logprobs=self._logprobs(chunk.scores, offset) if chunk.scores else None,
            finish_reason=chunk.finish_reason,
        )
        return CompletionChunk(**self.heading, choices=[choice])

    def _choice(self, index: int, generated: GeneratedChoice) -> CompletionChoice:
        return CompletionChoice(
            index=index,
            text=self._echo(index) + generated.text,
            logprobs=self._logprobs(generated.scores),
            finish_reason=generated.finish_reason,
        )

    def _logprobs(self, scores: Sequence[ScoredToken], start: int = 0) -> CompletionLogprobs | None:
        return None if self.request.logprobs is None else completion_logprobs(scores, start)

    def _echo(self, choice: int) -> str:
        return self.prompts[choice // self.request.n].text if self.request.echo else ""


def _echoed(encoder: PromptEncoder, prompt: str | list[int], tokens: list[int]) -> str:
    return prompt if isinstance(prompt, str) else decode(encoder.tokenizer, tokens, special=True)
