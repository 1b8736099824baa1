"""The metrics against their definitions, written down slowly: one full forward pass a number."""

from dataclasses import asdict, replace
from itertools import permutations
from statistics import mean
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from editing_core.benchmark import forcing
from editing_core.benchmark.forcing import force
from editing_core.benchmark.metrics import Metrics, measure
from editing_core.benchmark.record import Neighbour, Record
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from tests.support.records import asked, compared
from tests.support.tiny import tiny_tokenizer


@pytest.fixture
def packed(tiny_model: LoadedModel) -> PackedModel:
    return PackedModel(tiny_model.model, tiny_model.architecture)


class Slow:
    """One token at a time, the whole model each time."""

    def __init__(self, model: LoadedModel, tokenizer: PreTrainedTokenizerFast) -> None:
        self.model, self.tokenizer = model.model, tokenizer

    def target(self, target: str) -> list[int]:
        ids: list[int] = self.tokenizer(f" {target}", add_special_tokens=False)["input_ids"]
        return ids

    def steps(self, prompt: str, target: str) -> list[tuple[float, bool]]:
        """For each token of the target: its log p, and whether it is the arg-max."""
        ids: list[int] = self.tokenizer(prompt)["input_ids"]
        return self.follow(ids, self.target(target))

    def chat(self, prompt: str, target: str) -> list[tuple[float, bool]]:
        """The same with the prompt as a message and the target as the answer."""
        message = [{"role": "user", "content": prompt}]
        ids: Any = self.tokenizer.apply_chat_template(message, add_generation_prompt=True)
        answer: list[int] = self.tokenizer(target, add_special_tokens=False)["input_ids"]
        return self.follow(list(ids["input_ids"]), answer)

    @torch.no_grad()
    def follow(self, ids: list[int], tokens: list[int]) -> list[tuple[float, bool]]:
        found = []
        for token in tokens:
            log_p = self.model(torch.tensor([ids])).logits[0, -1].double().log_softmax(0)
            found.append((float(log_p[token]), int(log_p.argmax()) == token))
            ids = [*ids, token]
        return found

    def nll(self, prompt: str, target: str) -> float:
        return -mean(log_p for log_p, _ in self.steps(prompt, target))

    def accuracy(self, prompt: str, target: str) -> float:
        return float(all(hit for _, hit in self.steps(prompt, target)))

    def chat_nll(self, prompt: str, target: str) -> float:
        return -mean(log_p for log_p, _ in self.chat(prompt, target))

    def chat_share(self, prompt: str, target: str) -> float:
        return mean(float(hit) for _, hit in self.chat(prompt, target))

    def tokens(self, prompt: str, target: str) -> float:
        return mean(float(hit) for _, hit in self.steps(prompt, target))


def slow_counterfact(slow: Slow, records: tuple[Record, ...]) -> Metrics:
    def prefers(prompt: str, this: str, other: str) -> float:
        return float(slow.nll(prompt, this) < slow.nll(prompt, other))

    said = [record for record in records if record.paraphrases]
    near = [record for record in records if record.neighbours]
    return Metrics(
        efficacy=100
        * mean(prefers(r.edit.filled, r.edit.target, str(r.target_true)) for r in records),
        generalization=100
        * mean(
            mean(prefers(p, r.edit.target, str(r.target_true)) for p in r.paraphrases) for r in said
        ),
        specificity=100
        * mean(
            mean(prefers(n.prompt, n.answer, r.edit.target) for n in r.neighbours) for r in near
        ),
        efficacy_accuracy=100 * mean(slow.accuracy(r.edit.filled, r.edit.target) for r in records),
        generalization_accuracy=100
        * mean(mean(slow.accuracy(p, r.edit.target) for p in r.paraphrases) for r in said),
        specificity_accuracy=100
        * mean(mean(slow.accuracy(n.prompt, n.answer) for n in r.neighbours) for r in near),
        chat_efficacy=100
        * mean(
            slow.chat_nll(r.edit.filled, r.edit.target)
            < slow.chat_nll(r.edit.filled, str(r.target_true))
            for r in records
        ),
        chat_efficacy_accuracy=100
        * mean(slow.chat_share(r.edit.filled, r.edit.target) == 1 for r in records),
    )


def slow_zsre(slow: Slow, records: tuple[Record, ...]) -> Metrics:
    three = (
        [[(r.edit.filled, r.edit.target)] for r in records],
        [[(p, r.edit.target) for p in r.paraphrases] for r in records],
        [[(n.prompt, n.answer) for n in r.neighbours] for r in records],
    )
    values = [
        *(100 * mean(mean(slow.tokens(*q) for q in case) for case in cases) for cases in three),
        *(100 * mean(mean(slow.accuracy(*q) for q in case) for case in cases) for cases in three),
        100 * mean(slow.chat_share(*q) for (q,) in three[0]),
        100 * mean(slow.chat_share(*q) == 1 for (q,) in three[0]),
    ]
    return Metrics(*values)


def foretold(slow: Slow) -> list[tuple[str, str, str]]:
    """Pairs of words, and what the model says after them, if that is a word."""
    words = ("The", "France", "Rome", "Italy", "said", "because", "English", "you", "Paris", "so")
    found = []
    for one, two in permutations(words, 2):
        with torch.no_grad():
            ids = torch.tensor([slow.tokenizer(f"{one} {two}")["input_ids"]])
            token = int(slow.model(ids).logits[0, -1].argmax())
        said = str(slow.tokenizer.decode([token])).strip()
        if said and slow.target(said) == [token]:
            found.append((one, two, said))
    return found


def likely(slow: Slow, records: tuple[Record, ...]) -> tuple[Record, ...]:
    """The same records, some asking for what the model says, so that accuracies are not zero."""
    changed = []
    for n, (record, (one, two, said)) in enumerate(zip(records, foretold(slow), strict=False)):
        # Every other target goes on after its first word, so that some of its tokens are wrong.
        target = f"{said} and so" if n % 2 else said
        edit = replace(record.edit, subject=one, template=f"{{}} {two}", target=target)
        neighbour = Neighbour(f"{one} {two}", said if n % 2 else f"{said} and so")
        neighbours = (*record.neighbours, neighbour)
        paraphrases = (*record.paraphrases, f"{one} {two}")
        changed.append(replace(record, edit=edit, paraphrases=paraphrases, neighbours=neighbours))
    assert len(changed) == len(records)
    return tuple(changed)


def equal(fast: Metrics, slow: Metrics) -> None:
    assert asdict(fast) == pytest.approx(asdict(slow))


def with_beginning() -> PreTrainedTokenizerFast:
    """A tokenizer that puts a token before every text."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )  # which its chat template begins with, too
    assert tokenizer("a")["input_ids"][0] == 1
    return tokenizer


@pytest.mark.parametrize("beginning", [False, True])
def test_counterfact_equals_its_definition(
    tiny_model: LoadedModel, packed: PackedModel, beginning: bool
) -> None:
    tokenizer = with_beginning() if beginning else tiny_model.tokenizer
    slow = Slow(tiny_model, tokenizer)
    for records in (compared(), likely(slow, compared())):
        equal(measure(packed, tokenizer, records), slow_counterfact(slow, records))


@pytest.mark.parametrize("beginning", [False, True])
def test_zsre_equals_its_definition_and_never_asks_for_a_beginning_of_text(
    tiny_model: LoadedModel, packed: PackedModel, beginning: bool
) -> None:
    tokenizer = with_beginning() if beginning else tiny_model.tokenizer
    slow = Slow(tiny_model, tokenizer)
    records = likely(slow, asked())
    found = measure(packed, tokenizer, records)
    equal(found, slow_zsre(slow, records))
    assert found.efficacy is not None
    assert found.efficacy_accuracy is not None
    assert found.efficacy > found.efficacy_accuracy > 0


def test_every_answer_is_the_slow_one_however_prompts_are_split_into_passes(
    tiny_model: LoadedModel, packed: PackedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(tiny_model, tiny_model.tokenizer)
    questions = [
        (prompt, target)
        for prompt in ("The", "The capital of France is", "you know that", "I said so, because")
        for target in ("a", "Rome is the capital", "French")
    ]
    whole = force(packed, tiny_model.tokenizer, questions)
    monkeypatch.setattr(forcing, "_POSITIONS", 4)
    monkeypatch.setattr(forcing, "_HEAD_ROWS", 3)
    split = force(packed, tiny_model.tokenizer, questions)
    for question in questions:
        for found in (whole[question], split[question]):
            steps = slow.steps(*question)
            assert found.nll == pytest.approx(-mean(log_p for log_p, _ in steps), rel=1e-4)
            assert found.hits == tuple(hit for _, hit in steps)


def test_a_model_that_says_nothing_finite_succeeds_nowhere(tiny_model: LoadedModel) -> None:
    layer = tiny_model.architecture.layers - 1
    broken = torch.full_like(tiny_model.architecture.weight_of(tiny_model.model, layer), torch.nan)
    view = tiny_model.architecture.view_with(tiny_model.model, {layer: broken})
    found = measure(PackedModel(view, tiny_model.architecture), tiny_model.tokenizer, compared())
    assert set(asdict(found).values()) == {0.0}


def test_nothing_asked_gives_no_number(tiny_model: LoadedModel, packed: PackedModel) -> None:
    records = tuple(replace(record, paraphrases=()) for record in compared())
    found = measure(packed, tiny_model.tokenizer, records)
    assert found.generalization is None
    assert found.generalization_accuracy is None
    assert found.efficacy is not None
