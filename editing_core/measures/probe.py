"""How strongly a model says a target: probability, rank and arg-max under teacher forcing."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editing_core.giving_way import GiveWay, go_on
from editing_core.reach import Reach
from editing_core.statement import Question, Tokens, all_tokens_of

_ROWS = 16  # rows a forward pass; bounds the logits in memory
_MOST_MORE = 4  # tokens that complete a character, or follow a blank
_BEFORE = 4  # tokens before a token that its text may depend on
_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Score:
    """What a model makes of a target after a prompt.

    Attributes:
        logprob: Mean log-probability of the target's tokens, teacher-forced.
        rank: Place, among all tokens, of the target's first token that is not blank; 1 is the
            arg-max.
        argmax: Text of the most probable token there, in whole characters: where it is blank or
            only part of a character, with what most probably follows.
        said: Share of the target's tokens that are the arg-max at their places.
    """

    logprob: float
    rank: int
    argmax: str
    said: float

    @property
    def match(self) -> bool:
        """Whether every target token is the arg-max at its place."""
        return self.said == 1.0

    @property
    def p(self) -> float:
        """Geometric mean of the target tokens' probabilities."""
        return exp(self.logprob)


@dataclass
class _Row:
    """A statement with what was read of it.

    Attributes:
        tokens: Its token ids.
        first: Index of the target's first token that is not blank.
        best: The most probable token there, and what most probably follows as far as it is needed.
    """

    tokens: Tokens
    first: int
    logprob: float
    rank: int
    said: float
    best: list[int]

    @property
    def before(self) -> list[int]:
        """What stands before ``best``."""
        return self.tokens.prompt + self.tokens.target[: self.first]


@torch.no_grad()
def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Question],
    give_way: GiveWay = go_on,
) -> list[Score]:
    """The score of each statement, in order; ``give_way`` is called between two forward passes.

    Raises:
        InvalidEdit: A target has no tokens, or a text is too long for the model.
    """
    scores: list[Score] = []
    reach = Reach.of(model)
    for first in range(0, len(items), _ROWS):
        give_way()
        tokens = all_tokens_of(tokenizer, items[first : first + _ROWS])
        for one in tokens:
            reach.check(one.prompt + one.target, "prompt")
        scores += _score_rows(model, tokenizer, tokens)
    return scores


def _score_rows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: Sequence[Tokens]
) -> list[Score]:
    hidden = hidden_states(model, [one.prompt + one.target[:-1] for one in tokens])  # (R, width, d)
    rows = []
    for one, states in zip(tokens, hidden, strict=True):
        start = len(one.prompt) - 1
        read = states[start : start + len(one.target)]
        log_p = model.get_output_embeddings()(read).float().log_softmax(dim=-1)  # (T, vocabulary)
        rows.append(_read(log_p, one, tokenizer))
    texts = _texts(model, tokenizer, rows, Reach.of(model))
    return [
        Score(row.logprob, row.rank, text, row.said) for row, text in zip(rows, texts, strict=True)
    ]


def hidden_states(model: PreTrainedModel, rows: Sequence[list[int]]) -> Tensor:
    """What a model makes of rows of token ids before the head: (R, longest row, d)."""
    width = max(map(len, rows))
    # Right padding: causal attention keeps it out of every position that is read.
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=model.device)
    hidden: Tensor = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    return hidden


def _read(log_p: Tensor, tokens: Tokens, tokenizer: PreTrainedTokenizerBase) -> _Row:
    ids = torch.tensor(tokens.target, device=log_p.device)
    spoken = log_p.gather(1, ids[:, None])[:, 0]  # (T,)
    best = log_p.argmax(dim=1)
    first = next(
        (at for at in range(len(ids)) if _text(tokenizer, tokens.prompt, tokens.target[: at + 1])),
        0,
    )
    return _Row(
        tokens=tokens,
        first=first,
        logprob=float(spoken.mean()),
        rank=int((log_p[first] > spoken[first]).sum()) + 1,
        said=float((best == ids).float().mean()),
        best=[int(best[first])],
    )


def _texts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[_Row], reach: Reach
) -> list[str]:
    """What each row most probably goes on with, as text that can be read."""
    for _ in range(_MOST_MORE):
        unread = [
            row
            for row in rows
            if not _is_whole(tokenizer, row) and reach.allows(len(row.before) + len(row.best))
        ]
        if not unread:
            break
        hidden = hidden_states(model, [row.before + row.best for row in unread])
        for row, states in zip(unread, hidden, strict=True):
            last = states[len(row.before) + len(row.best) - 1]
            row.best.append(int(model.get_output_embeddings()(last).argmax()))
    return [_decoded(tokenizer, row.before, row.best).rstrip(_INCOMPLETE) for row in rows]


def _is_whole(tokenizer: PreTrainedTokenizerBase, row: _Row) -> bool:
    text = _decoded(tokenizer, row.before, row.best)
    return bool(text.strip()) and not text.endswith(_INCOMPLETE)


def _text(tokenizer: PreTrainedTokenizerBase, before: list[int], ids: list[int]) -> str:
    return _decoded(tokenizer, before, ids).strip()


def _decoded(tokenizer: PreTrainedTokenizerBase, before: list[int], ids: list[int]) -> str:
    """The text of tokens after others: some tokenizers drop a space where a text begins."""
    context = before[-_BEFORE:]
    start, whole = str(tokenizer.decode(context)), str(tokenizer.decode(context + ids))
    return whole[len(start) :] if whole.startswith(start) else str(tokenizer.decode(ids))
