"""Teacher forcing: how well a model foretells targets, many prompts at a time.

Every prompt runs once, whatever the number of its targets: a target of one token is read off the
prompt's last position, a longer one continues on the prompt's keys and values. The LM head sees
only positions that predict a target token. Prompts of like length go together, end to end
without padding.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from editing_core.model.packed import PackedModel
from editing_core.model.packing import PackedRows
from editing_core.progress import Progress, silent
from editing_core.reach import Reach
from editing_core.statement import Statement, all_tokens_of

_POSITIONS = 2048  # of prompts in one forward pass; bounds memory
_HEAD_ROWS = 256  # positions whose logits are held at a time

Question = tuple[str, str]
"""A prompt and a target that may follow it."""


@dataclass(frozen=True)
class Forced:
    """What a model makes of a target after a prompt, each token given those before it.

    Attributes:
        nll: Mean of −log p(token) over the target's tokens.
        hits: For each token of the target, whether it is the arg-max.
    """

    nll: float
    hits: tuple[bool, ...]

    @property
    def match(self) -> bool:
        """Whether every token is the arg-max."""
        return all(self.hits)

    @property
    def share(self) -> float:
        """Share of the tokens that are the arg-max."""
        return sum(self.hits) / len(self.hits)


@dataclass(frozen=True)
class _Prompt:
    """A prompt with the targets asked after it, as token ids."""

    text: str
    ids: list[int]
    targets: dict[str, list[int]]


@torch.no_grad()
def force(
    packed: PackedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Iterable[Question],
    *,
    opens_turn: bool = False,
    progress: Progress = silent,
    step: str = "evaluate",
) -> dict[Question, Forced]:
    """What the model makes of each question; one that is asked twice costs once.

    Targets continue their prompts, or, with ``opens_turn``, answer them.

    A beginning-of-text token belongs to prompts only, never to targets, whatever the tokenizer
    adds by default.

    Raises:
        InvalidEdit: A target has no tokens, or a text is too long for the model.
    """
    prompts = _prompts(tokenizer, questions, opens_turn=opens_turn)
    reach = Reach.of(packed.model)
    for prompt in prompts:
        reach.check(prompt.ids + max(prompt.targets.values(), key=len), "prompt")
    found: dict[Question, Forced] = {}
    done = 0
    progress(step, 0, len(prompts))
    for chunk in _chunks(prompts):
        found |= _force_chunk(packed, chunk)
        done += len(chunk)
        progress(step, done, len(prompts))
    return found


def _prompts(
    tokenizer: PreTrainedTokenizerBase, questions: Iterable[Question], *, opens_turn: bool
) -> list[_Prompt]:
    """The distinct prompts, shortest first."""
    separator = "" if opens_turn else None
    distinct = list(dict.fromkeys(questions))
    asked = [Statement(prompt, target, separator) for prompt, target in distinct]
    prompts: dict[str, _Prompt] = {}
    for (text, target), tokens in zip(distinct, all_tokens_of(tokenizer, asked), strict=True):
        prompt = prompts.setdefault(text, _Prompt(text, tokens.prompt, {}))
        prompt.targets[target] = tokens.target
    return sorted(prompts.values(), key=lambda prompt: len(prompt.ids))


def _chunks(prompts: Sequence[_Prompt]) -> Iterator[list[_Prompt]]:
    chunk: list[_Prompt] = []
    positions = 0
    for prompt in prompts:
        if chunk and positions + len(prompt.ids) > _POSITIONS:
            yield chunk
            chunk, positions = [], 0
        chunk.append(prompt)
        positions += len(prompt.ids)
    if chunk:
        yield chunk


@dataclass(frozen=True)
class _Asked:
    """A target after the prompt in row ``row`` of a chunk."""

    row: int
    target: str
    ids: list[int]


def _force_chunk(packed: PackedModel, chunk: Sequence[_Prompt]) -> dict[Question, Forced]:
    asked = [
        _Asked(row, target, ids)
        for row, prompt in enumerate(chunk)
        for target, ids in prompt.targets.items()
    ]
    hidden = _hidden(packed, chunk, [one for one in asked if len(one.ids) > 1])
    at: list[int] = []
    spoken: list[int] = []
    following = len(chunk)  # where the positions of the next longer target begin
    for one in asked:
        rest = len(one.ids) - 1
        at += [one.row, *range(following, following + rest)]
        spoken += one.ids
        following += rest
    nll, hits = _read(packed, hidden, at, spoken)
    found, first = {}, 0
    for one in asked:
        last = first + len(one.ids)
        mean = sum(nll[first:last]) / len(one.ids)
        found[chunk[one.row].text, one.target] = Forced(mean, tuple(hits[first:last]))
        first = last
    return found


def _hidden(packed: PackedModel, chunk: Sequence[_Prompt], longer: Sequence[_Asked]) -> Tensor:
    """Hidden states that foretell a token: the prompts' last, then the longer targets' in turn."""
    device = packed.model.device
    rows = PackedRows.of([prompt.ids for prompt in chunk], device, record=bool(longer))
    last = packed.run(rows.tokens, rows.packing)[rows.packing.ends]  # (R, d)
    if not longer:
        return last
    owners = torch.tensor([one.row for one in longer], device=device)
    tails = [one.ids[:-1] for one in longer]
    continued = PackedRows.of(tails, device, prefix=rows.own.select(owners))
    return torch.cat([last, packed.run(continued.tokens, continued.packing)])


def _read(
    packed: PackedModel, hidden: Tensor, at: Sequence[int], spoken: Sequence[int]
) -> tuple[list[float], list[bool]]:
    """−log p of token ``spoken[m]`` at row ``at[m]`` of ``hidden``, and whether it is the top."""
    positions = torch.tensor(at, device=hidden.device)
    tokens = torch.tensor(spoken, device=hidden.device)
    nll = hidden.new_empty(len(at), dtype=torch.float32)
    hits = torch.empty(len(at), dtype=torch.bool, device=hidden.device)
    for first in range(0, len(hidden), _HEAD_ROWS):
        logits = packed.logits(hidden[first : first + _HEAD_ROWS]).float()  # (≤ 256, vocabulary)
        here = ((positions >= first) & (positions < first + len(logits))).nonzero().flatten()
        rows, expected = positions[here] - first, tokens[here]
        nll[here] = logits.logsumexp(1)[rows] - logits[rows, expected]
        hits[here] = logits.argmax(1)[rows] == expected
    return nll.tolist(), hits.tolist()
