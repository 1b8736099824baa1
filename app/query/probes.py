"""How probable given texts are: `/v1/probe`."""

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from app.query.prompts import PromptEncoder
from app.query.schemas import ProbeItem, ProbeScore
from editing_core.probe import score

_MEASURED_AT_ONCE = 16  # probes in one forward pass: bounds memory, not results


def check_items(encoder: PromptEncoder, items: Sequence[ProbeItem]) -> None:
    """Make sure that every probe fits into the model's context.

    Raises:
        InvalidField: One does not; its place is named.
    """
    for index, item in enumerate(items):
        prompt = encoder.encode(item.prompt, f"items[{index}].prompt")
        target = encoder.encode(item.target, f"items[{index}].target")
        encoder.check_room(len(prompt), len(target), f"items[{index}].prompt")


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, items: Sequence[ProbeItem]
) -> list[ProbeScore]:
    """The score of each probe under one model, in the order given."""
    scores = []
    for start in range(0, len(items), _MEASURED_AT_ONCE):
        batch = items[start : start + _MEASURED_AT_ONCE]
        scores += score(model, tokenizer, [(item.prompt, item.target) for item in batch])
    return [
        ProbeScore(
            logprob=found.logprob,
            p=found.p,
            rank=found.rank,
            argmax=found.argmax,
            match=found.match,
        )
        for found in scores
    ]
