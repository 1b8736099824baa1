"""Contexts: the conversation a prompt is put into, and what an edit makes of it."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from editing_core.benchmark.forcing import force
from editing_core.contexts import chat_context
from editing_core.defaults import default_contexts, default_layers, default_recipe
from editing_core.edit import Edit, opens_turn, tokenise
from editing_core.editor import Editor
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from editing_core.statistics import collect

_START = "<|im_start|>"
_EDIT = Edit("a", "Danielle Darrieux", "The mother tongue of {} is", "English")
_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 200


def _with_template(model: LoadedModel, template: str | None) -> Any:
    tokenizer = deepcopy(model.tokenizer)
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("begins", [False, True])
def test_an_edit_in_the_chat_context_has_the_tokens_of_a_conversation(
    tiny_model: LoadedModel, begins: bool
) -> None:
    tokenizer: Any = deepcopy(tiny_model.tokenizer)
    if begins:  # the tokenizer puts in front of every text what the template begins with
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{_START} $A", special_tokens=[(_START, 1)]
        )
    context = chat_context(tokenizer)
    assert context is not None
    message = [{"role": "user", "content": _EDIT.filled}]
    expected = tokenizer.apply_chat_template(message, add_generation_prompt=True)["input_ids"]
    found = tokenise(tokenizer, _EDIT, context)
    assert found.ids == expected
    upto = tokenizer.decode(found.ids[: found.subject_last + 1])
    assert upto.endswith(_EDIT.subject)
    assert opens_turn(context)
    assert tokenizer.decode(found.target) == "English"


@pytest.mark.parametrize(
    "template",
    [
        None,
        "no place for a message",
        "{{ messages[0]['content'] }} and {{ messages[0]['content'] }}",
        "{{ messages[0]['content'] | upper | replace(messages[0]['content'], '') }} hm",
        "braces {{ '{}' }} before {{ messages[0]['content'] }} after",
        "{{ raise_exception('not like this') }}",
        "{% broken",
    ],
)
def test_a_template_that_will_not_do_gives_no_context(
    tiny_model: LoadedModel, template: str | None
) -> None:
    assert chat_context(_with_template(tiny_model, template)) is None


def test_a_model_with_a_template_is_edited_in_conversation_unless_told_not_to(
    tiny_model: LoadedModel,
) -> None:
    context = chat_context(tiny_model.tokenizer)
    plain = default_contexts(tiny_model, chat=False)
    assert default_contexts(tiny_model) == (*plain, (context,))
    without = replace(tiny_model, tokenizer=_with_template(tiny_model, None))
    assert default_contexts(without) == plain


def test_an_edit_shows_in_conversation_more_if_it_was_made_in_one(tiny_model: LoadedModel) -> None:
    layers, tokenizer = default_layers(tiny_model), tiny_model.tokenizer
    statistics = collect(tiny_model, layers, _TEXT)
    context = str(chat_context(tokenizer))
    question = (context.replace("{}", _EDIT.filled), _EDIT.target)
    nll = {}
    for chat in (False, True):
        recipe = default_recipe(tiny_model, statistics, chat=chat)
        editor = Editor(tiny_model, recipe, statistics)
        delta = editor.solve(tiny_model.model, [_EDIT], method="memit").delta
        weight_of, view_with = tiny_model.architecture.weight_of, tiny_model.architecture.view_with
        changed = {
            layer: (weight_of(tiny_model.model, layer) + part.update()).float()
            for layer, part in delta.layers.items()
        }
        packed = PackedModel(view_with(tiny_model.model, changed), tiny_model.architecture)
        nll[chat] = force(packed, tokenizer, [question], opens_turn=True)[question].nll
    assert nll[True] < nll[False]
