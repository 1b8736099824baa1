"""Ordinary text around a name, and how differently two states of a model read on from it.

An edit of "the president" also changes what is said of every other president. Whether a subject
is such a common word, ordinary text tells: it has passages that name it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editing_core.beginning import begun_once
from editing_core.measures.probe import hidden_states

_BEFORE, _AFTER = 60, 100  # characters of a passage before the name's end, and after it
_TOKENS = 20  # after the name: more would dilute what the name does


@dataclass(frozen=True)
class Passage:
    """A piece of text: up to where a name ends, and what follows."""

    before: str
    after: str


def count_names(text: str, name: str) -> int:
    """How often a text holds a name as a word."""
    return len(_places(text, name))


def passages(text: str, name: str, most: int) -> list[Passage]:
    """Up to ``most`` passages of a text that hold a name as a word, spread over the text."""
    found = _places(text, name)
    found = found[:: -(-len(found) // most) or 1]
    return [
        Passage(_from_a_word(text, start - _BEFORE, end), text[end : end + _AFTER])
        for start, end in found
    ]


@torch.no_grad()
def divergence(
    before: PreTrainedModel,
    after: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    read: Sequence[Passage],
) -> float | None:
    """Mean KL(before ‖ after) of the next token after the names, in nats; None without passages."""
    rows = [_Row.of(tokenizer, passage) for passage in read]
    rows = [row for row in rows if row.follows]
    if not rows:
        return None
    tokens = [row.name + row.follows for row in rows]
    total, count = 0.0, 0
    for row, was, is_ in zip(
        rows, hidden_states(before, tokens), hidden_states(after, tokens), strict=True
    ):
        places = slice(len(row.name) - 1, len(row.name) + len(row.follows) - 1)
        p, q = _log_p(before, was[places]), _log_p(after, is_[places])  # (T, vocabulary)
        total += float((p.exp() * (p - q)).sum())
        count += len(row.follows)
    return total / count


@dataclass(frozen=True)
class _Row:
    """Token ids up to the end of the name, and after it."""

    name: list[int]
    follows: list[int]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, passage: Passage) -> "_Row":
        follows = tokenizer(passage.after, add_special_tokens=False)["input_ids"]
        name = begun_once(tokenizer, tokenizer(passage.before)["input_ids"])
        return cls(name, follows[:_TOKENS])


def _places(text: str, name: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text)]


def _from_a_word(text: str, start: int, end: int) -> str:
    """The text from the first whole word at or after ``start``."""
    if start <= 0:
        return text[:end]
    blank = text.find(" ", start, end)
    return text[blank + 1 if blank >= 0 else start : end]


def _log_p(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    log_p: Tensor = model.get_output_embeddings()(hidden).float().log_softmax(dim=-1)
    return log_p
