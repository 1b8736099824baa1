"""How probable given texts are: `/v1/probe`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from app.errors import InvalidField
from app.query.answer import TokenUsage
from app.query.cost import tokens_at_most
from app.query.prompts import PromptEncoder
from app.query.schemas import ProbeItem, ProbeResult, ProbeScore
from editing_core.edit import without_end_space
from editing_core.errors import InvalidEdit
from editing_core.measures.probe import score
from editing_core.statement import Statement, tokens_of

_TOKENS_AT_ONCE = 512  # in one forward pass: bounds how long others wait, not results


@dataclass(frozen=True)
class Probe:
    """A prompt with its target, and how many tokens both are."""

    statement: Statement
    tokens: int


def encode_probes(
    encoder: PromptEncoder,
    tokenizer: PreTrainedTokenizerFast,
    items: Sequence[ProbeItem],
    usage: TokenUsage,
) -> list[Probe]:
    """The probes of a request, checked against the model's limits; `usage` is told of each.

    Raises:
        Refusal: One cannot be measured; its place is named.
    """
    probes = []
    for index, item in enumerate(items):
        prompt = encoder.encode(item.prompt, f"items[{index}].prompt")
        try:
            tokens = tokens_of(tokenizer, _statement(item))
            tokens.require_boundary()
        except InvalidEdit as error:
            raise InvalidField(f"items[{index}].{error.field}", str(error)) from error
        usage.read += len(prompt) + len(tokens.target)
        encoder.check_room(len(prompt), len(tokens.target), f"items[{index}].prompt")
        probes.append(Probe(_statement(item), len(prompt) + len(tokens.target)))
    return probes


def check_items(encoder: PromptEncoder, items: Sequence[ProbeItem]) -> None:
    """Make sure that no text of a request is too long to be read at all.

    Raises:
        InvalidField: One is; its place is named.
    """
    for index, item in enumerate(items):
        encoder.check_characters(item.prompt, f"items[{index}].prompt")
        encoder.check_characters(item.target, f"items[{index}].target")


def probes_at_most(items: Sequence[ProbeItem]) -> int:
    """How many tokens are read at most to measure these once."""
    return sum(tokens_at_most(item.prompt) + tokens_at_most(item.target) for item in items)


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, batch: Sequence[Probe]
) -> list[ProbeScore]:
    """The score of each probe of a batch under one model, in the order given."""
    return [
        ProbeScore(
            logprob=found.logprob,
            p=found.p,
            rank=found.rank,
            argmax=found.argmax,
            match=found.match,
        )
        for found in score(model, tokenizer, [probe.statement for probe in batch])
    ]


def _statement(item: ProbeItem) -> Statement:
    """What is measured: a space at the prompt's end is read with the target, as in any text."""
    whole = Statement(item.prompt, item.target, item.separator)
    end = len(without_end_space(item.prompt))
    return Statement(item.prompt[:end], item.target, item.prompt[end:] + whole.between)


def results(
    items: Sequence[ProbeItem], scores: Mapping[str, Sequence[ProbeScore]]
) -> list[ProbeResult]:
    """Each probe with its score under every revision."""
    return [
        ProbeResult(
            prompt=item.prompt,
            target=item.target,
            separator=_statement(item).between,
            revisions={revision: rows[index] for revision, rows in scores.items()},
        )
        for index, item in enumerate(items)
    ]


def batches(probes: Sequence[Probe]) -> Iterator[list[Probe]]:
    """The probes in their order, as many at a time as may go through the model together."""
    # Rows are padded to the longest, so a batch costs its rows times that.
    batch: list[Probe] = []
    for probe in probes:
        longest = max(other.tokens for other in (*batch, probe))
        if batch and longest * (len(batch) + 1) > _TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(probe)
    if batch:
        yield batch
