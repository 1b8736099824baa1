"""Answers to conversations, in the shape of `/v1/chat/completions`."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from app.errors import InvalidField
from app.generation.engine import Chunk
from app.query.answer import Generate, GeneratedChoice, Heading, TokenUsage, check_stream, collect
from app.query.chunks import ChatChunk, ChatChunkChoice, ChatDelta
from app.query.cost import conversation_at_most
from app.query.logprobs import chat_logprobs
from app.query.prompts import PromptEncoder
from app.query.schemas import ChatAnswer, ChatChoice, ChatCompletion, ChatRequest

_ANSWER_TOKENS = 256  # length of an answer when the request names none


@dataclass(frozen=True)
class Conversation:
    """What the model reads, and how much it may say."""

    tokens: list[int]
    max_tokens: int


def check_chat(request: ChatRequest) -> None:
    """Make sure that the request's fields go together.

    Raises:
        InvalidField: They do not.
    """
    check_stream(request)
    if request.top_logprobs is not None and not request.logprobs:
        raise InvalidField("top_logprobs", "top_logprobs needs logprobs to be true")
    if (
        None not in (named := {request.max_tokens, request.max_completion_tokens})
        and len(named) > 1
    ):
        raise InvalidField(
            "max_tokens",
            "max_tokens and max_completion_tokens mean the same; send one, or one value",
        )
    _check_end(request)


def _check_end(request: ChatRequest) -> None:
    """Make sure that it is clear who speaks next.

    Raises:
        InvalidField: It is not.
    """
    if not request.continue_final_message:
        return
    if request.add_generation_prompt:
        raise InvalidField(
            "add_generation_prompt", "a new turn does not continue the last; leave one of both out"
        )
    last = request.messages[-1]
    if last.role != "assistant":
        raise InvalidField(
            "continue_final_message",
            f"the last message is the {last.role}'s; only one of the assistant is continued",
        )


def check_messages(encoder: PromptEncoder, request: ChatRequest) -> None:
    """Make sure that a conversation is not too long to be read at all.

    Raises:
        InvalidField: It is.
    """
    said = "".join(message.characters for message in request.messages)
    encoder.check_characters(said, "messages")


def chat_at_most(encoder: PromptEncoder, request: ChatRequest) -> tuple[int, str]:
    """How many tokens are read and generated at most, and which field has most of them."""
    read = conversation_at_most(message.characters for message in request.messages)
    written = request.n * encoder.longest_answer(request.token_limit or _ANSWER_TOKENS)
    return read + written, "max_tokens" if written >= read else "messages"


def with_room(encoder: PromptEncoder, tokens: list[int], request: ChatRequest) -> Conversation:
    """The conversation, checked against the limits of the model.

    Raises:
        Refusal: It leaves no room for an answer.
    """
    limit = request.token_limit
    if limit is not None:
        return Conversation(tokens, encoder.granted(len(tokens), limit, "max_tokens"))
    encoder.check_room(len(tokens), 1, "messages")
    room = encoder.room_after(len(tokens))
    return Conversation(tokens, _ANSWER_TOKENS if room is None else min(_ANSWER_TOKENS, room))


@dataclass(frozen=True)
class ChatReply:
    """The reply to a conversation; `generate` begins it."""

    heading: Heading
    request: ChatRequest
    conversation: Conversation
    generate: Generate
    usage: TokenUsage

    @property
    def most_tokens(self) -> int:
        """How many tokens may be generated."""
        return self.request.n * self.conversation.max_tokens

    async def generated(self) -> list[GeneratedChoice]:
        """All answers, once each is complete."""
        return await collect(self.generate, self.request.n, self.usage)

    def rendered(self, generated: Sequence[GeneratedChoice]) -> ChatCompletion:
        """The reply that these choices make; where scores are many, it takes a while."""
        choices = [self._choice(index, choice) for index, choice in enumerate(generated)]
        return ChatCompletion(**self.heading, choices=choices, usage=self.usage.as_schema)

    async def chunks(self) -> AsyncGenerator[ChatChunk]:
        """The answers as they come: each begins with a role and ends with a reason."""
        started = set[int]()
        async with aclosing(self.generate()) as coming:
            async for chunk in coming:
                self.usage.written += chunk.tokens
                if chunk.choice not in started:
                    started.add(chunk.choice)
                    delta = ChatDelta(role="assistant", content="")
                    yield self._chunk(ChatChunkChoice(index=chunk.choice, delta=delta))
                if chunk.text or chunk.scores:
                    yield self._chunk(self._spoken(chunk))
                if chunk.finish_reason is not None:
                    end = ChatChunkChoice(
                        index=chunk.choice, delta=ChatDelta(), finish_reason=chunk.finish_reason
                    )
                    yield self._chunk(end)
        if self.request.include_usage:
            yield ChatChunk(**self.heading, choices=[], usage=self.usage.as_schema)

    def _chunk(self, choice: ChatChunkChoice) -> ChatChunk:
        return ChatChunk(**self.heading, choices=[choice])

    def _spoken(self, chunk: Chunk) -> ChatChunkChoice:
        return ChatChunkChoice(
            index=chunk.choice,
            delta=ChatDelta(content=chunk.text),
            logprobs=chat_logprobs(chunk.scores) if chunk.scores else None,
        )

    def _choice(self, index: int, generated: GeneratedChoice) -> ChatChoice:
        return ChatChoice(
            index=index,
            message=ChatAnswer(content=generated.text),
            logprobs=chat_logprobs(generated.scores) if self.request.logprobs else None,
            finish_reason=generated.finish_reason,
        )
