import pytest
import torch
from torch import Tensor

from editing_core.errors import UnsupportedModel
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel, hidden_of
from editing_core.model.packing import Packing, Prefix

_ROWS = [[5, 9, 20, 3, 40], [7], [300, 2, 11], [17] * 6 + [18], list(range(30, 60))]


def _lengths(rows: list[list[int]]) -> Tensor:
    return torch.tensor([len(row) for row in rows])


def _tokens(rows: list[list[int]]) -> Tensor:
    return torch.tensor([token for row in rows for token in row])


def _plain(model: LoadedModel, layer: int | None) -> Tensor:
    """Each row alone through the model's own forward, end to end."""
    if layer is None:
        outputs = [model.model.base_model(torch.tensor([row])).last_hidden_state for row in _ROWS]
        return torch.cat([output[0] for output in outputs])
    found: list[Tensor] = []
    block = model.model.get_submodule(f"{model.architecture.blocks}.{layer}")
    handle = block.register_forward_hook(lambda _m, _a, out: found.append(hidden_of(out)[0]))
    for row in _ROWS:
        model.model(torch.tensor([row]))
    handle.remove()
    return torch.cat(found)


@pytest.fixture
def packed(family_model: LoadedModel) -> PackedModel:
    return PackedModel(family_model.model, family_model.architecture)


@pytest.mark.parametrize("last", [0, 2, 3, None])
def test_packed_rows_come_out_as_each_row_alone(
    family_model: LoadedModel, packed: PackedModel, last: int | None
) -> None:
    found = packed.run(_tokens(_ROWS), Packing.of(_lengths(_ROWS)), last=last)
    assert torch.allclose(found, _plain(family_model, last), rtol=1e-4, atol=1e-4)


def test_a_run_may_enter_where_another_left(packed: PackedModel) -> None:
    tokens, packing = _tokens(_ROWS), Packing.of(_lengths(_ROWS))
    half = packed.run(tokens, packing, last=1)
    found = packed.run(tokens, packing, entering=half, first=2)
    assert torch.allclose(found, packed.run(tokens, packing), atol=1e-6)


def test_a_run_needs_a_block_to_enter(packed: PackedModel) -> None:
    tokens, packing = _tokens(_ROWS), Packing.of(_lengths(_ROWS))
    top = packed.run(tokens, packing, last=3)
    with pytest.raises(UnsupportedModel, match="no block 4 to enter: the model has 4"):
        packed.run(tokens, packing, entering=top, first=4)


def test_remembered_prefixes_replace_their_positions(packed: PackedModel) -> None:
    tokens, lengths = _tokens(_ROWS), _lengths(_ROWS)
    before = torch.tensor([3, 0, 2, 6, 20])
    whole = Packing.of(lengths)
    hidden = packed.run(tokens, whole, last=1)
    is_prefix = whole.positions[0] < before[torch.repeat_interleave(lengths)]
    prefix = Prefix(before)
    packed.run(
        tokens[is_prefix],
        Packing.of(before, record=prefix),
        entering=hidden[is_prefix],
        first=2,
    )
    rest = packed.run(
        tokens[~is_prefix],
        Packing.of(lengths - before, prefix=prefix),
        entering=hidden[~is_prefix],
        first=2,
    )
    assert torch.allclose(rest, packed.run(tokens, whole)[~is_prefix], atol=1e-5)


def test_keys_are_the_inputs_of_the_edited_matrix(
    family_model: LoadedModel, packed: PackedModel
) -> None:
    layer, seen = 1, []
    module = family_model.model.get_submodule(family_model.architecture.module(layer))
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0][0]))
    family_model.model(torch.tensor([_ROWS[0]]))
    handle.remove()
    tokens, packing = _tokens(_ROWS), Packing.of(_lengths(_ROWS))
    entering = packed.run(tokens, packing, last=layer - 1)
    found = packed.keys(tokens, packing, entering, layer, torch.tensor([0, 4]))
    assert torch.allclose(found, seen[0][[0, 4]], atol=1e-5)


def test_logits_are_the_models_own(family_model: LoadedModel, packed: PackedModel) -> None:
    final = packed.run(_tokens(_ROWS[:1]), Packing.of(_lengths(_ROWS[:1])))
    expected = family_model.model(torch.tensor([_ROWS[0]])).logits[0]
    assert torch.allclose(packed.logits(final), expected, atol=1e-4)


def test_the_model_itself_is_left_as_it_was(family_model: LoadedModel) -> None:
    before = family_model.model(torch.tensor([_ROWS[0]])).logits
    implementation = family_model.model.config._attn_implementation
    packed = PackedModel(family_model.model, family_model.architecture)
    packed.run(_tokens(_ROWS), Packing.of(_lengths(_ROWS)))
    after = family_model.model(torch.tensor([_ROWS[0]])).logits
    assert family_model.model.config._attn_implementation == implementation != "errata_packed"
    assert torch.equal(after, before)
