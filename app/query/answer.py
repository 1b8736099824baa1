"""An answer under way: everything is checked, and it can be had whole or as a stream."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypedDict

from app.errors import InvalidField
from app.generation.engine import Chunk, FinishReason
from app.generation.scored import ScoredToken
from app.generation.shaping import Shape
from app.query.prompts import PromptEncoder
from app.query.schemas import GenerationRequest, Usage

Generate = Callable[[], AsyncGenerator[Chunk]]
"""Begins to generate."""


class Heading(TypedDict):
    """What a whole answer and each of its chunks begin with."""

    id: str
    created: int
    model: str
    revision: int


def check_stream(request: GenerationRequest) -> None:
    """Make sure that options of a stream come with one.

    Raises:
        InvalidField: They do not.
    """
    if request.stream_options is not None and not request.stream:
        raise InvalidField("stream_options", "stream_options needs stream to be true")


def shape_of(encoder: PromptEncoder, request: GenerationRequest) -> Shape:
    """What the request does to logits, but for the form that an answer is to have.

    Raises:
        InvalidField: It names a token that the model does not have.
    """
    bias = tuple((int(token), more) for token, more in (request.logit_bias or {}).items())
    for token, _ in bias:
        encoder.check_token(token, "logit_bias")
    return Shape(bias, request.frequency_penalty, request.presence_penalty)


@dataclass
class GeneratedChoice:
    """What was generated of one choice."""

    text: str = ""
    scores: list[ScoredToken] = field(default_factory=list)
    finish_reason: FinishReason = "length"


@dataclass
class TokenUsage:
    """Tokens read and written so far.

    Attributes:
        read: Tokens of prompts, each once, however many choices continue it.
        written: Tokens that were generated.
        rebuilt: What rebuilding a revision counts for.
    """

    read: int = 0
    written: int = 0
    rebuilt: int = 0

    @property
    def cost(self) -> int:
        """What its caller pays."""
        return self.read + self.written + self.rebuilt

    @property
    def as_schema(self) -> Usage:
        """The same as a client reads it."""
        return Usage(
            prompt_tokens=self.read,
            completion_tokens=self.written,
            total_tokens=self.read + self.written,
        )


async def collect(generate: Generate, choices: int, usage: TokenUsage) -> list[GeneratedChoice]:
    """All choices in order, once each is complete."""
    generated = [GeneratedChoice() for _ in range(choices)]
    async with aclosing(generate()) as coming:
        async for chunk in coming:
            choice = generated[chunk.choice]
            choice.text += chunk.text
            choice.scores += chunk.scores
            choice.finish_reason = chunk.finish_reason or choice.finish_reason
            usage.written += chunk.tokens
    return generated
