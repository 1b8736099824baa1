from math import exp

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from editing_core.contexts import generate_contexts
from editing_core.evaluation.perplexity import perplexity
from editing_core.model.loading import LoadedModel
from editing_core.probe import score
from editing_core.recipe import Recipe, ValueSettings
from tests.tiny import tiny_tokenizer

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
        assert found.argmax == tokenizer.decode([int(log_p[0].argmax())])


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
