import asyncio
import json
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from app.errors import InvalidField
from app.generation.choice_text import end_tokens
from app.generation.engine import Prompt
from app.generation.grammar import Grammars
from app.generation.scheduler import Scheduler
from app.generation.shaping import Shape
from tests.support.asking import ask_alone, hear, sampling, scheduling

PERSON = {
    "type": "object",
    "properties": {"name": {"enum": ["Ada", "Éva"]}, "married": {"type": "boolean"}},
    "required": ["name", "married"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def grammars(model: PreTrainedModel, tokenizer: Any) -> Grammars:
    return Grammars(tokenizer, model.config.vocab_size, end_tokens(model, tokenizer))


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_random_model_answers_in_the_form_asked_for(
    model: PreTrainedModel, tokenizer: Tokenizer, grammars: Grammars, temperature: float
) -> None:
    asked = sampling(
        max_tokens=100, temperature=temperature, shape=Shape(grammar=grammars.of(PERSON))
    )
    prompt = tokenizer("Rome")["input_ids"]
    for heard in ask_alone(model, tokenizer, prompt, asked, 4):
        person = json.loads(heard.text)
        assert heard.finish_reason == "stop"
        assert list(person) == ["name", "married"]
        assert person["name"] in ("Ada", "Éva")
        assert type(person["married"]) is bool
        assert heard.text == json.dumps(person, ensure_ascii=False)


def test_scores_are_the_models_own(
    model: PreTrainedModel, tokenizer: Tokenizer, grammars: Grammars
) -> None:
    prompt = tokenizer("Rome")["input_ids"]
    asked = sampling(shape=Shape(grammar=grammars.of(PERSON)), top_logprobs=1)
    (heard,) = ask_alone(model, tokenizer, prompt, asked)
    with torch.no_grad():
        first = model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    chosen = tokenizer.convert_tokens_to_ids("{")
    assert heard.scores[0].token.text == "{"
    assert heard.scores[0].logprob == pytest.approx(float(first[chosen]), abs=1e-4)


def test_every_answer_has_a_grammar_of_its_own(grammars: Grammars, tokenizer: Tokenizer) -> None:
    grammar, logits = grammars.of(PERSON), torch.zeros(len(tokenizer))
    used = grammar.copy()
    used.advance(int(tokenizer("{")["input_ids"][0]))
    fresh = grammar.copy().masked(logits).isfinite()
    assert torch.equal(grammar.masked(logits).isfinite(), fresh)
    assert not torch.equal(used.masked(logits).isfinite(), fresh)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "nonsense"}, "nonsense"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"$ref": "http://127.0.0.1/x"}, "not present"),
        ({"type": "string", "pattern": "(a+"}, "regex"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "[Uu]nsatisfiable"),
        ({"enum": ["x" * 50_000]}, "at most 50000"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_refused_with_the_reason(
    grammars: Grammars, schema: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidField, match=told) as refused:
        grammars.of(schema)
    assert refused.value.field == "response_format"


def test_a_schema_nested_without_end_is_refused(grammars: Grammars) -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(300):
        schema = {"type": "array", "items": schema}
    with pytest.raises(InvalidField):
        grammars.of(schema)


def test_a_schema_that_takes_too_long_at_a_later_token_ends_its_own_answer_only(
    model: PreTrainedModel, tokenizer: Tokenizer, grammars: Grammars
) -> None:
    branches = [{"properties": {f"k{i}": {"maxLength": i}}} for i in range(1000)]
    many = Shape(grammar=grammars.of({"type": "object", "anyOf": branches}))
    prompt = tokenizer("Rome")["input_ids"]
    plain = Prompt(0, prompt, sampling(temperature=1.0))

    async def both(scheduler: Scheduler) -> list[Any]:
        hard = Prompt(0, prompt, sampling(max_tokens=300, shape=many))
        hearing = (hear(scheduler, model, [prompt]) for prompt in (hard, plain))
        return await asyncio.gather(*hearing, return_exceptions=True)

    with scheduling(tokenizer) as scheduler:
        failed, well = asyncio.run(both(scheduler))
    assert isinstance(failed, InvalidField)
    assert failed.field == "response_format"
    assert well == ask_alone(model, tokenizer, prompt, plain.sampling)


def test_a_model_without_an_end_writes_text_only(model: PreTrainedModel, tokenizer: Any) -> None:
    endless = Grammars(tokenizer, model.config.vocab_size, frozenset())
    with pytest.raises(InvalidField, match="no token that ends"):
        endless.of(PERSON)
