from math import exp
from pathlib import Path
from typing import cast

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from editing_core.contexts import generate_contexts
from editing_core.edit import Edit
from editing_core.errors import InvalidEdit
from editing_core.measures.perplexity import perplexity
from editing_core.measures.probe import score
from editing_core.model.loading import LoadedModel, load_model
from editing_core.reach import Reach
from editing_core.recipe import Recipe
from editing_core.settings import ValueSettings
from editing_core.statement import Statement
from tests.support.tiny import build_tiny_model, tiny_tokenizer

_ITEMS = [
    ("The capital of France is", "Paris"),
    ("Rome", "the capital of Italy"),
    ("Therefore, because I said so, you know", "that"),
]


def test_scores_are_those_of_each_row_alone(tiny_model: LoadedModel) -> None:
    tokenizer = tiny_model.tokenizer
    for (prompt, target), found in zip(
        _ITEMS, score(tiny_model.model, tokenizer, _ITEMS), strict=True
    ):
        start = tokenizer(prompt)["input_ids"]
        wanted = tokenizer(" " + target)["input_ids"]
        logits = tiny_model.model(torch.tensor([start + wanted])).logits[0]
        log_p = logits.log_softmax(dim=1)[len(start) - 1 : -1]
        spoken = log_p[range(len(wanted)), wanted]
        assert found.logprob == pytest.approx(float(spoken.mean()), rel=1e-4)
        assert found.p == pytest.approx(exp(found.logprob))
        assert found.rank == int((log_p[0] > log_p[0, wanted[0]]).sum()) + 1
        assert _goes_on(tiny_model, start).startswith(found.argmax)
        assert found.argmax.strip()


def _goes_on(model: LoadedModel, ids: list[int]) -> str:
    """What the model says, greedily."""
    said = list(ids)
    for _ in range(6):
        said.append(int(model.model(torch.tensor([said])).logits[0, -1].argmax()))
    return str(model.tokenizer.decode(said[len(ids) :]))


@pytest.mark.parametrize("answer", ["北", "é", " 7", "\n\nRome"])
def test_the_most_probable_answer_is_told_in_whole_visible_characters(
    tiny_model: LoadedModel, answer: str
) -> None:
    model = _reciting(tiny_model, "The answer:" + answer)
    asked = [Statement("The answer:", target, "") for target in ("x", answer)]
    found, rest = score(model, tiny_model.tokenizer, asked)
    assert found.argmax.strip()[0] == answer.strip()[0]
    assert "\N{REPLACEMENT CHARACTER}" not in found.argmax
    assert (rest.match, rest.rank) == (True, 1)


def test_the_rank_is_that_of_the_first_token_that_is_not_blank(tiny_model: LoadedModel) -> None:
    tokenizer = tiny_model.tokenizer
    number = tokenizer(" 1815")["input_ids"]
    assert str(tokenizer.decode(number[:1])).isspace()
    model = _reciting(tiny_model, "It ended in 1946")
    (found,) = score(model, tokenizer, [("It ended in", "1815")])
    assert (found.rank, found.argmax) == (1, "1")  # of 1946, as of 1815
    (found,) = score(model, tokenizer, [("It ended in", "2015")])
    assert (found.rank > 1, found.argmax) == (True, "1")


def _reciting(tiny: LoadedModel, text: str) -> PreTrainedModel:
    return cast("PreTrainedModel", _Reciting(tiny, text))


class _Reciting:
    """A model that goes on with one text, and says that of no other."""

    def __init__(self, tiny: LoadedModel, text: str) -> None:
        self.config, self.device = tiny.model.config, torch.device("cpu")
        self._ids: list[int] = tiny.tokenizer(text)["input_ids"]
        self._embedding = tiny.model.get_input_embeddings()
        self._size = len(tiny.tokenizer)

    def get_input_embeddings(self) -> torch.nn.Module:
        return self._embedding

    def get_output_embeddings(self) -> torch.nn.Module:
        return torch.nn.Identity()

    def base_model(self, input_ids: torch.Tensor, use_cache: bool) -> BaseModelOutput:
        """The logits themselves stand for the hidden states."""
        del use_cache
        logits = torch.zeros(*input_ids.shape, self._size)
        for row in range(len(input_ids)):
            for place in range(min(input_ids.shape[1], len(self._ids) - 1)):
                if input_ids[row, : place + 1].tolist() == self._ids[: place + 1]:
                    logits[row, place, self._ids[place + 1]] = 9.0
        return BaseModelOutput(last_hidden_state=logits)


def test_a_text_beyond_the_models_positions_is_refused_by_name(tmp_path: Path) -> None:
    folder = build_tiny_model(tmp_path / "gpt2", family="gpt2")
    model = load_model(str(folder), cache_dir=tmp_path)
    long = "The capital of France is" + " that" * 1500
    with pytest.raises(InvalidEdit, match=r"tokens; this model has \d+ positions") as refused:
        score(model.model, model.tokenizer, [(long, "Rome")])
    assert refused.value.field == "prompt"
    edit = Edit("e", "France", "The capital of {} is" + " that" * 1500, "Rome")
    with pytest.raises(InvalidEdit, match=r"this model has \d+ positions"):
        Reach.of(model.model).check_edit(model.tokenizer, edit, ("{}",))


def test_a_match_is_what_greedy_decoding_says(tiny_model: LoadedModel) -> None:
    tokenizer, checked = tiny_model.tokenizer, 0
    elsewhere = tokenizer(" zz")["input_ids"][0]
    for prompt in sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)[60:]:
        ids = tokenizer(prompt)["input_ids"]
        best = int(tiny_model.model(torch.tensor([ids])).logits[0, -1].argmax())
        word = str(tokenizer.decode([best]))
        if not word.strip() or tokenizer(" " + word.strip())["input_ids"] != [best]:
            continue  # not the start of a target: those begin with a space, and go on
        said, other = score(tiny_model.model, tokenizer, [(prompt, word), (prompt, "zz")])
        assert (said.rank, said.match, said.argmax) == (1, True, word)
        assert (other.rank == 1, other.match) == (best == elsewhere, False)
        checked += 1
    assert checked > 10


def test_perplexity_is_that_of_the_models_own_loss(tiny_model: LoadedModel) -> None:
    text = "The capital of France is Paris. " * 8
    ids = torch.tensor([tiny_model.tokenizer(text)["input_ids"]])
    loss = float(tiny_model.model(ids, labels=ids).loss)
    found = perplexity(tiny_model.model, tiny_model.tokenizer, text)
    assert found == pytest.approx(exp(loss), rel=1e-4)


def test_perplexity_of_a_model_with_a_first_token_is_that_after_it(
    tiny_model: LoadedModel,
) -> None:
    text, first = "The capital of France is Paris. ", tiny_model.tokenizer.eos_token_id
    tokenizer = tiny_tokenizer()
    post = TemplateProcessing(
        single=f"{tokenizer.eos_token} $A", special_tokens=[(tokenizer.eos_token, first)]
    )
    tokenizer.backend_tokenizer.post_processor = post
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    assert int(ids[0, 0]) == first
    loss = float(tiny_model.model(ids, labels=ids).loss)
    assert perplexity(tiny_model.model, tokenizer, text) == pytest.approx(exp(loss), rel=1e-4)


def test_contexts_follow_from_the_seed_and_hold_one_slot(tiny_model: LoadedModel) -> None:
    one, same, other = (
        generate_contexts(tiny_model.model, tiny_model.tokenizer, seed=seed) for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other
    assert one[0] == ("{}",)
    assert [context.count("{") for context in one[1]] == [1] * 5


def test_a_recipe_survives_its_json_and_its_digest_tells_every_change() -> None:
    recipe = Recipe("m", "s", (4, 5), (("{}",), ("So. {}", "Hence. {}")), ValueSettings(steps=3))
    read = Recipe.from_json(recipe.to_json())
    assert read == recipe
    assert read.digest == recipe.digest
    assert Recipe("m", "s", (4, 6), recipe.contexts).digest != recipe.digest
