from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from app.generation.detokenizer import token_text
from app.generation.engine import Prompt
from app.generation.shaping import Shape, Shaper
from tests.support.asking import ask_alone, plain_draws, sampling

LOGITS = torch.tensor([1.0, 2.0, 3.0, 4.0])


def test_a_bias_is_added_to_its_token() -> None:
    shaped = Shaper(Shape(logit_bias=((1, 5.0), (3, -100.0)))).shaped(LOGITS)
    assert shaped.tolist() == [1.0, 7.0, 3.0, -96.0]


def test_penalties_are_openais() -> None:
    """μ[j] − c[j]·α_frequency − [c[j] > 0]·α_presence, with c the counts of the answer's tokens."""
    shaper = Shaper(Shape(frequency_penalty=0.5, presence_penalty=0.25))
    assert torch.equal(shaper.shaped(LOGITS), LOGITS)
    for token in (3, 3, 0):
        shaper.note(token)
    assert shaper.shaped(LOGITS).tolist() == [0.25, 2.0, 3.0, 2.75]


def test_nothing_asked_leaves_the_logits_themselves() -> None:
    shaper = Shaper(Shape())
    shaper.note(1)
    assert shaper.shaped(LOGITS) is LOGITS


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_a_bias_forbids_is_never_said(
    model: PreTrainedModel, tokenizer: Tokenizer, temperature: float
) -> None:
    prompt = tokenizer("Rome")["input_ids"]
    asked = sampling(temperature=temperature)
    first, *_ = plain_draws(model, Prompt(0, prompt, asked), 0)
    biased = replace(asked, shape=Shape(logit_bias=((first, -100.0),)))
    said = plain_draws(model, Prompt(0, prompt, biased), 0)
    (heard,) = ask_alone(model, tokenizer, prompt, biased)
    assert first not in said
    assert heard.words == [token_text(tokenizer, token) for token in said]
