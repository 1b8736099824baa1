"""A text that begins as the tokenizer begins every text: it is the same to a model as without."""

import copy
from collections.abc import Iterable

import pytest
import torch

from editing_core.beginning import begun_once
from editing_core.continuation import continuations
from editing_core.edit import Edit, tokenise
from editing_core.measures.probe import score
from editing_core.model.loading import LoadedModel, load_model
from editing_core.passages import Passage, divergence
from tests.support.tiny import build_tiny_model, tiny_tokenizer
from tests.support.tokenizers import beginning

_PROMPTS = ["The capital of France is", "Rome", " So"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("begun") / "tiny"
    return load_model(str(build_tiny_model(folder, tokenizer=beginning())), cache_dir=folder.parent)


def _begun(texts: Iterable[str]) -> list[str]:
    return [f"<s>{text}" for text in texts]


def test_the_fixtures_tokenizer_begins_texts_by_itself(model: LoadedModel) -> None:
    begin = model.tokenizer.bos_token_id
    for text in _begun(_PROMPTS):
        assert model.tokenizer(text)["input_ids"][:2] == [begin, begin]


def test_a_beginning_stays_where_the_tokenizer_adds_none() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    ids = tokenizer("<s><s>Rome")["input_ids"]
    assert begun_once(tokenizer, ids) == ids


def test_a_target_is_as_probable_and_goes_on_as_without(model: LoadedModel) -> None:
    plain = score(model.model, model.tokenizer, [(prompt, "Paris") for prompt in _PROMPTS])
    begun = score(model.model, model.tokenizer, [(prompt, "Paris") for prompt in _begun(_PROMPTS)])
    assert begun == plain
    said = continuations(model.model, model.tokenizer, _PROMPTS, tokens=4)
    assert continuations(model.model, model.tokenizer, _begun(_PROMPTS), tokens=4) == said


@pytest.mark.parametrize("context", ["{}", "So it is. {}"])
def test_the_subject_of_an_edit_is_where_it_is_without(model: LoadedModel, context: str) -> None:
    edit = Edit("e", "France", "The capital of {} is", "Rome")
    plain = tokenise(model.tokenizer, edit, context)
    assert tokenise(model.tokenizer, edit, f"<s>{context}") == plain
    assert str(model.tokenizer.decode(plain.ids[plain.subject_last])).endswith("e")


def test_a_passage_is_read_as_without(model: LoadedModel) -> None:
    other = copy.deepcopy(model.model)
    with torch.no_grad():
        other.get_input_embeddings().get_parameter("weight").mul_(1.5)
    passages = [Passage(f"{mark}The president", " of France met") for mark in ("", "<s>")]
    plain, begun = (divergence(model.model, other, model.tokenizer, [one]) for one in passages)
    assert plain is not None
    assert begun == plain > 0
