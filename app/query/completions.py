"""Plain continuations: one prompt at a time, in the shape of `/v1/completions`."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from app.query.generation import Choice, generate_choices, score_prompt
from app.query.prompts import PromptEncoder
from app.query.rendering import completion_logprobs
from app.query.sampling import Sampling, TokenScore
from app.query.schemas import CompletionChoice, CompletionRequest
from app.query.text import decode


@dataclass(frozen=True)
class EncodedPrompt:
    """One prompt of a request, as text and as what the model reads."""

    index: int
    text: str
    tokens: list[int]


@dataclass(frozen=True)
class PromptAnswer:
    """The choices for one prompt, and how many tokens they cost."""

    choices: list[CompletionChoice]
    prompt_tokens: int
    completion_tokens: int


def encode_prompts(encoder: PromptEncoder, request: CompletionRequest) -> list[EncodedPrompt]:
    """Every prompt of the request, checked against the model's limits.

    Raises:
        InvalidField: A prompt cannot be read, or leaves no room for the answer.
    """
    encoded = []
    for index, prompt in enumerate(request.prompts):
        tokens = encoder.encode(prompt, "prompt")
        encoder.check_room(len(tokens), request.max_tokens, "max_tokens")
        text = prompt
        if not isinstance(text, str):
            text = decode(encoder.tokenizer, tokens, special=True)
        encoded.append(EncodedPrompt(index, text, tokens))
    return encoded


def answer_prompt(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    request: CompletionRequest,
    sampling: Sampling,
    prompt: EncodedPrompt,
) -> PromptAnswer:
    """All choices for one prompt of a request, computed and rendered."""
    drawn = generate_choices(
        model, tokenizer, prompt.tokens, sampling, prompt_index=prompt.index, n=request.n
    )
    echoed: Sequence[TokenScore] = ()
    if request.echo and request.logprobs is not None:
        echoed = score_prompt(model, prompt.tokens, request.logprobs)
    choices = [
        _choice(tokenizer, request, prompt, echoed, choice, prompt.index * request.n + place)
        for place, choice in enumerate(drawn)
    ]
    return PromptAnswer(choices, len(prompt.tokens), sum(len(choice.tokens) for choice in drawn))


def _choice(
    tokenizer: PreTrainedTokenizerBase,
    request: CompletionRequest,
    prompt: EncodedPrompt,
    echoed: Sequence[TokenScore],
    choice: Choice,
    index: int,
) -> CompletionChoice:
    logprobs = None
    if request.logprobs is not None:
        logprobs = completion_logprobs(tokenizer, [*echoed, *choice.scores])
    return CompletionChoice(
        index=index,
        text=prompt.text + choice.text if request.echo else choice.text,
        logprobs=logprobs,
        finish_reason=choice.finish_reason,
    )
