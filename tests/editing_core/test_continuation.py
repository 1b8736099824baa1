import torch

from editing_core.continuation import Continuation, continuations, shares_kept
from editing_core.model.loading import LoadedModel
from editing_core.reach import Reach

_PROMPTS = ["The capital of France is", "Rome", "They say that I, of all people, said so in"]


def _greedy(model: LoadedModel, prompt: str, tokens: int) -> tuple[int, ...]:
    """The continuation by the definition: the whole text is read anew for every token."""
    ids = list(model.tokenizer(prompt)["input_ids"])
    start = len(ids)
    while len(ids) < start + tokens and model.tokenizer.eos_token_id not in ids[start:]:
        ids.append(int(model.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return tuple(ids[start:])


def test_prompts_of_any_length_go_on_together_as_each_alone(family_model: LoadedModel) -> None:
    found = continuations(family_model.model, family_model.tokenizer, _PROMPTS, tokens=5)
    assert [one.said for one in found] == [_greedy(family_model, prompt, 5) for prompt in _PROMPTS]


def test_a_model_keeps_all_that_it_said(family_model: LoadedModel) -> None:
    said = continuations(family_model.model, family_model.tokenizer, _PROMPTS, tokens=4)
    assert shares_kept(family_model.model, said) == [1.0] * len(_PROMPTS)


def test_the_share_is_of_tokens_at_their_places(tiny_model: LoadedModel) -> None:
    (said,) = continuations(tiny_model.model, tiny_model.tokenizer, _PROMPTS[:1], tokens=4)
    other = (said.said[-1] + 1) % len(tiny_model.tokenizer)
    changed = Continuation(said.prompt, (*said.said[:-1], other))
    assert shares_kept(tiny_model.model, [changed, said]) == [0.75, 1.0]


def test_without_prompts_there_is_nothing_to_keep(tiny_model: LoadedModel) -> None:
    assert continuations(tiny_model.model, tiny_model.tokenizer, [], tokens=4) == []
    assert shares_kept(tiny_model.model, []) == []


def test_many_prompts_go_on_as_few_do(tiny_model: LoadedModel) -> None:
    many = [f"{prompt} {number}" for number in range(25) for prompt in _PROMPTS]
    found = continuations(tiny_model.model, tiny_model.tokenizer, many, tokens=3)
    assert [one.said for one in found] == [_greedy(tiny_model, prompt, 3) for prompt in many]
    assert shares_kept(tiny_model.model, found) == [1.0] * len(many)


def test_a_prompt_beyond_the_models_positions_is_read_from_its_end(
    tiny_model: LoadedModel,
) -> None:
    positions = Reach.of(tiny_model.model).positions
    assert positions is not None
    (found,) = continuations(tiny_model.model, tiny_model.tokenizer, ["so " * positions], tokens=4)
    assert len(found.prompt) == positions - 4
