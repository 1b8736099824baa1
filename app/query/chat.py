"""Answers to conversations, in the shape of `/v1/chat/completions`."""

from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from app.query.generation import Choice, generate_choices
from app.query.prompts import PromptEncoder
from app.query.rendering import chat_logprobs
from app.query.sampling import Sampling
from app.query.schemas import ChatAnswer, ChatChoice, ChatRequest

_ANSWER_TOKENS = 256  # length of an answer when the request names none


@dataclass(frozen=True)
class Conversation:
    """What the model reads, and how much it may say."""

    tokens: list[int]
    max_tokens: int


@dataclass(frozen=True)
class ConversationAnswer:
    """The choices for a conversation, and how many tokens they cost."""

    choices: list[ChatChoice]
    prompt_tokens: int
    completion_tokens: int


def encode_conversation(encoder: PromptEncoder, request: ChatRequest) -> Conversation:
    """The conversation, checked against the model's limits.

    Raises:
        InvalidField: It cannot be read, or leaves no room for an answer.
    """
    tokens = encoder.encode_chat(request.messages)
    limit = request.token_limit
    if limit is not None:
        encoder.check_room(len(tokens), limit, "max_tokens")
        return Conversation(tokens, limit)
    encoder.check_room(len(tokens), 1, "messages")
    room = encoder.room_after(len(tokens))
    return Conversation(tokens, _ANSWER_TOKENS if room is None else min(_ANSWER_TOKENS, room))


def answer_conversation(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    request: ChatRequest,
    sampling: Sampling,
    conversation: Conversation,
) -> ConversationAnswer:
    """All answers to a conversation, computed and rendered."""
    drawn = generate_choices(model, tokenizer, conversation.tokens, sampling, n=request.n)
    return ConversationAnswer(
        [_choice(tokenizer, request, choice, index) for index, choice in enumerate(drawn)],
        len(conversation.tokens),
        sum(len(choice.tokens) for choice in drawn),
    )


def _choice(
    tokenizer: PreTrainedTokenizerBase, request: ChatRequest, choice: Choice, index: int
) -> ChatChoice:
    return ChatChoice(
        index=index,
        message=ChatAnswer(content=choice.text),
        logprobs=chat_logprobs(tokenizer, choice.scores) if request.logprobs else None,
        finish_reason=choice.finish_reason,
    )
