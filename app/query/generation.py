"""What a model says after a prompt. Pure: a view and token ids in, choices out.

Prompts are never padded into one batch: the answer to a prompt must not depend on its company,
and sums over a padded row differ in the last bits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, cast

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)

from app.query.sampling import Ending, Sampler, Sampling, TokenScore, choice_generator, token_scores
from app.query.text import Detokenizer

FinishReason = Literal["stop", "length"]

_ROW_TOKENS = 8192  # cached keys and values of one `generate` call: bounds memory, not results
_SCORED_AT_ONCE = 256  # positions whose logits over the whole vocabulary are held at a time


@dataclass(frozen=True)
class Choice:
    """One continuation. Every sampled token is counted, an end token included."""

    text: str
    tokens: tuple[int, ...]
    scores: tuple[TokenScore, ...]
    finish_reason: FinishReason


class _Generates(Protocol):
    # transformers declares `generate` in a form that no type checker can bind to a model.
    def generate(
        self,
        inputs: torch.Tensor,
        *,
        attention_mask: torch.Tensor,
        generation_config: GenerationConfig,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
    ) -> torch.Tensor: ...


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The token ids after which the model has nothing more to say."""
    ids = getattr(model.generation_config, "eos_token_id", None)
    if ids is None:
        ids = tokenizer.eos_token_id
    if ids is None:
        return frozenset()
    return frozenset(ids) if isinstance(ids, list) else frozenset([int(ids)])


def generate_choices(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    prompt_index: int = 0,
    n: int = 1,
) -> list[Choice]:
    """`n` continuations of one prompt.

    Args:
        model: The model of one view.
        tokenizer: Its tokenizer, not shared with another thread.
        prompt: Token ids, at least one.
        sampling: How to choose; the same sampling, prompt index and n give the same choices.
        prompt_index: The prompt's place in its request, so that equal prompts draw differently.
        n: How many continuations.
    """
    if sampling.max_tokens == 0:
        return [Choice("", (), (), "length")] * n
    if sampling.greedy:
        return _generate(model, tokenizer, prompt, sampling, prompt_index, range(1)) * n
    width = max(1, _ROW_TOKENS // (len(prompt) + sampling.max_tokens))
    choices: list[Choice] = []
    for start in range(0, n, width):
        rows = range(start, min(start + width, n))
        choices += _generate(model, tokenizer, prompt, sampling, prompt_index, rows)
    return choices


def _generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    sampling: Sampling,
    prompt_index: int,
    rows: range,
) -> list[Choice]:
    detokenizer = Detokenizer(tokenizer, prompt)
    ends = end_tokens(model, tokenizer)
    generators = [choice_generator(sampling.seed, prompt_index, row) for row in rows]
    sampler = Sampler(sampling, generators)
    ending = Ending(detokenizer, len(rows), ends, sampling.stop)
    input_ids = torch.tensor([list(prompt)] * len(rows), device=model.device)  # (rows, T)
    output = cast("_Generates", model).generate(
        input_ids,
        attention_mask=torch.ones_like(input_ids),
        generation_config=_generation_config(tokenizer, sampling.max_tokens, ends),
        logits_processor=LogitsProcessorList([sampler]),
        stopping_criteria=StoppingCriteriaList([ending]),
    )
    return [
        _choice(detokenizer, tokens, length, tuple(scores), sampling.stop)
        for tokens, length, scores in zip(
            output[:, len(prompt) :].tolist(), ending.lengths, sampler.scores, strict=True
        )
    ]


def _generation_config(
    tokenizer: PreTrainedTokenizerBase, max_tokens: int, ends: frozenset[int]
) -> GenerationConfig:
    # A field left None takes the model's own default; these are set, so that a request says all.
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends, default=0)
    return GenerationConfig(
        max_new_tokens=max_tokens,
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        use_cache=True,
        eos_token_id=sorted(ends) or None,
        pad_token_id=pad,
    )


def _choice(
    detokenizer: Detokenizer,
    tokens: Sequence[int],
    length: int | None,
    scores: tuple[TokenScore, ...],
    stop: tuple[str, ...],
) -> Choice:
    kept = tuple(tokens[:length])
    text = detokenizer.text(kept)
    cuts = [at for at in (text.find(end) for end in stop) if at >= 0]
    return Choice(
        text=text[: min(cuts)] if cuts else text,
        tokens=kept,
        scores=scores[: len(kept)],
        finish_reason="length" if length is None else "stop",
    )


@torch.no_grad()
def score_prompt(
    model: PreTrainedModel, prompt: Sequence[int], top_logprobs: int
) -> list[TokenScore]:
    """How probable the model finds each token of a prompt, given those before it."""
    scores = [TokenScore(prompt[0], None)]
    ids = torch.tensor([list(prompt)], device=model.device)  # (1, T)
    cache = None
    for start, end in _spans(len(prompt) - 1):
        output = model(input_ids=ids[:, start:end], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        scores += token_scores(output.logits[0], ids[0, start + 1 : end + 1], top_logprobs)
    return scores


def _spans(length: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, _SCORED_AT_ONCE):
        yield start, min(start + _SCORED_AT_ONCE, length)
