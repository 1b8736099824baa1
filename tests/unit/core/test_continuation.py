import torch

from editing_core.continuation import Continuation, continuations, shares_kept
from editing_core.model.loading import LoadedModel

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
