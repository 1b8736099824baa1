import pytest
import torch

from editing_core.model.loading import LoadedModel, load_model
from editing_core.passages import Passage, count_names, divergence, passages
from tests.support.tiny import build_tiny_model

_TEXT = "The president of France met presidents. A president speaks. Vice-president? The president."


def test_a_name_is_found_as_a_word() -> None:
    found = passages(_TEXT, "president", 9)
    assert [passage.after[:4] for passage in found] == [" of ", " spe", "? Th", "."]
    assert all(passage.before.endswith("president") for passage in found)
    assert passages(_TEXT, "resident", 9) == []


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_passages_are_spread_over_the_text(most: int) -> None:
    text = " ".join(f"a king {number}" for number in range(100))
    found = passages(text, "king", most)
    assert 1 <= len(found) <= most
    assert len({passage.after for passage in found}) == len(found)
    assert found[0].after.split()[0] == "0"
    assert int(found[-1].after.split()[0]) >= 100 - 100 // most - most


def test_a_passage_begins_with_a_whole_word() -> None:
    text = "wordwordword " * 20 + "the king sleeps"
    (found,) = passages(text, "king", 1)
    assert set(found.before.split()[:-2]) == {"wordwordword"}


def test_a_state_does_not_diverge_from_itself(tiny_model: LoadedModel) -> None:
    read = passages(_TEXT, "president", 9)
    assert divergence(tiny_model.model, tiny_model.model, tiny_model.tokenizer, read) == 0.0


def test_divergence_is_the_mean_over_what_follows_the_names(
    tiny_model: LoadedModel, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = build_tiny_model(tmp_path_factory.mktemp("other") / "tiny", seed=7)
    other = load_model(str(folder), cache_dir=folder.parent)
    read = [Passage("The president", " of France met"), Passage("A president", " speaks")]
    total, count = 0.0, 0
    for passage in read:
        name = tiny_model.tokenizer(passage.before)["input_ids"]
        follows = tiny_model.tokenizer(passage.after, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([name + follows])
        for place in range(len(name) - 1, len(name) + len(follows) - 1):
            p = tiny_model.model(ids).logits[0, place].log_softmax(0)
            q = other.model(ids).logits[0, place].log_softmax(0)
            total += float((p.exp() * (p - q)).sum())
            count += 1
    found = divergence(tiny_model.model, other.model, tiny_model.tokenizer, read)
    assert found is not None
    assert found == pytest.approx(total / count, rel=1e-4)
    assert found > 0


def test_without_passages_nothing_is_told(tiny_model: LoadedModel) -> None:
    model, tokenizer = tiny_model.model, tiny_model.tokenizer
    assert divergence(model, model, tokenizer, []) is None
    assert divergence(model, model, tokenizer, [Passage("The end", "")]) is None


def test_a_name_is_counted_as_a_word() -> None:
    assert count_names(_TEXT, "president") == 4
    assert count_names(_TEXT, "resident") == 0
