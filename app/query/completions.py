"""Plain continuations, in the shape of `/v1/completions`."""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from app.errors import InvalidField
from app.generation.detokenizer import decode
from app.generation.engine import Ask, Piece
from app.generation.sampling import Sampling
from app.generation.scored import ScoredWord
from app.query.answer import Draft, Heading, Pieces, Tally, check_stream, collect
from app.query.chunks import CompletionChunk, CompletionChunkChoice
from app.query.cost import check_echo, check_scores, tokens_at_most
from app.query.prompts import PromptEncoder
from app.query.rendering import completion_logprobs
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
    encoder: PromptEncoder, request: CompletionRequest, tally: Tally
) -> list[EncodedPrompt]:
    """Every prompt of the request, checked against the model's limits; `tally` is told of each.

    Raises:
        Refusal: A prompt cannot be read, or leaves no room for the answer.
    """
    encoded, characters = [], 0
    for prompt in request.prompts:
        tokens = encoder.encode(prompt, "prompt", add_special_tokens=request.add_special_tokens)
        tally.read += len(tokens)
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


def completion_asks(
    request: CompletionRequest, prompts: Sequence[EncodedPrompt], sampling: Sampling
) -> list[Ask]:
    """What the engine is asked, one ask a prompt."""
    score = request.echo and request.logprobs is not None
    return [
        Ask(
            index,
            prompt.tokens,
            replace(sampling, max_tokens=prompt.max_tokens),
            request.n,
            score,
        )
        for index, prompt in enumerate(prompts)
    ]


@dataclass(frozen=True)
class CompletionAnswer:
    """The answer to a request for completions; `pieces` generates it."""

    heading: Heading
    request: CompletionRequest
    prompts: Sequence[EncodedPrompt]
    pieces: Pieces
    tally: Tally

    @property
    def most_tokens(self) -> int:
        """How many tokens may be generated."""
        return self.request.n * sum(prompt.max_tokens for prompt in self.prompts)

    async def drafts(self) -> list[Draft]:
        """All continuations, once each is complete."""
        return await collect(self.pieces, len(self.prompts) * self.request.n, self.tally)

    def rendered(self, drafts: Sequence[Draft]) -> Completion:
        """The answer that these drafts make; where scores are many, it takes a while."""
        choices = [self._choice(index, draft) for index, draft in enumerate(drafts)]
        return Completion(**self.heading, choices=choices, usage=self.tally.usage)

    async def chunks(self) -> AsyncGenerator[CompletionChunk]:
        """The continuations as they come, those of several choices interleaved."""
        offsets = Counter[int]()
        started = set[int]()
        async with aclosing(self.pieces()) as coming:
            async for piece in coming:
                self.tally.written += piece.tokens
                text = piece.text
                if piece.choice not in started:
                    text = self._echo(piece.choice) + text
                    started.add(piece.choice)
                if text or piece.scores or piece.finish_reason is not None:
                    yield self._chunk(piece, text, offsets[piece.choice])
                offsets[piece.choice] += sum(score.characters for score in piece.scores)
        if self.request.include_usage:
            yield CompletionChunk(**self.heading, choices=[], usage=self.tally.usage)

    def _chunk(self, piece: Piece, text: str, offset: int) -> CompletionChunk:
        choice = CompletionChunkChoice(
            index=piece.choice,
            text=text,
            logprobs=self._logprobs(piece.scores, offset) if piece.scores else None,
            finish_reason=piece.finish_reason,
        )
        return CompletionChunk(**self.heading, choices=[choice])

    def _choice(self, index: int, draft: Draft) -> CompletionChoice:
        return CompletionChoice(
            index=index,
            text=self._echo(index) + draft.text,
            logprobs=self._logprobs(draft.scores),
            finish_reason=draft.finish_reason,
        )

    def _logprobs(self, scores: Sequence[ScoredWord], offset: int = 0) -> CompletionLogprobs | None:
        return None if self.request.logprobs is None else completion_logprobs(scores, offset)

    def _echo(self, choice: int) -> str:
        return self.prompts[choice // self.request.n].text if self.request.echo else ""


def _echoed(encoder: PromptEncoder, prompt: str | list[int], tokens: list[int]) -> str:
    return prompt if isinstance(prompt, str) else decode(encoder.tokenizer, tokens, special=True)
