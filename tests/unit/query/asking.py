"""A decoder on its own thread, and what transformers itself would say, run alone."""

import asyncio
import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from app.generation.engine import Ask
from app.generation.sampling import Sampler, Sampling, choice_generator
from app.generation.scheduler import Decoder
from app.generation.scored import ScoredWord
from app.generation.thread import GenerationThread


def sampling(**changes: Any) -> Sampling:
    asked: dict[str, Any] = {
        "max_tokens": 12,
        "temperature": 0.0,
        "top_p": 1.0,
        "stop": (),
        "seed": 1,
        "top_logprobs": 0,
    }
    return Sampling(**asked | changes)


@contextmanager
def decoding(tokenizer: Tokenizer, *, max_rows: int = 32) -> Iterator[Decoder]:
    thread = GenerationThread()
    yield Decoder(thread, copy.deepcopy(tokenizer), max_rows=max_rows)
    thread.close()


@dataclass
class Heard:
    """What a listener was told of one choice."""

    text: str = ""
    scores: list[ScoredWord] = field(default_factory=list)
    tokens: int = 0
    finish_reason: str | None = None

    @property
    def words(self) -> list[str]:
        return [score.word.text for score in self.scores]


async def hear(decoder: Decoder, model: PreTrainedModel, asks: Sequence[Ask]) -> list[Heard]:
    """Every choice, in order, once all are complete."""
    heard = [Heard() for ask in asks for _ in range(ask.n)]
    async for piece in decoder.pieces(model, asks):
        choice = heard[piece.choice]
        assert choice.finish_reason is None
        choice.text += piece.text
        choice.scores += piece.scores
        choice.tokens += piece.tokens
        choice.finish_reason = piece.finish_reason
    return heard


def ask_alone(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: Sequence[int], asked: Sampling, n: int = 1
) -> list[Heard]:
    with decoding(tokenizer) as decoder:
        return asyncio.run(hear(decoder, model, [Ask(0, list(prompt), asked, n)]))


def bare_generate(model: Any, prompt: Sequence[int], max_tokens: int) -> list[int]:
    """What transformers itself answers, greedily."""
    ids = torch.tensor([list(prompt)])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=max_tokens,
        pad_token_id=0,
    )
    tokens: list[int] = output[0, len(prompt) :].tolist()
    return tokens


@torch.no_grad()
def plain_draws(model: PreTrainedModel, ask: Ask, choice: int) -> list[int]:
    """What a seed draws when the whole text is read anew for each token: no cache, no company."""
    sampler = Sampler(ask.sampling, choice_generator(ask.sampling.seed, ask.index, choice))
    ids = list(ask.tokens)
    for _ in range(ask.sampling.max_tokens):
        ids.append(sampler.choose(model(torch.tensor([ids])).logits[0, -1]).id)
    return ids[len(ask.tokens) :]
