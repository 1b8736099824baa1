import pytest
import torch
from torch import Tensor

from editing_core.model.loading import LoadedModel
from editing_core.model.view import private_copy, view_of

_IDS = torch.tensor([[5, 9, 20, 3]])


def _path(model: LoadedModel) -> str:
    return model.architecture.parameter(1)


def _other(model: LoadedModel) -> Tensor:
    return model.model.get_parameter(_path(model)).data + 0.5


def test_a_view_shares_every_tensor_but_the_one_given(tiny_model: LoadedModel) -> None:
    other = _other(tiny_model)
    view = view_of(tiny_model.model, {_path(tiny_model): other})
    base = dict(tiny_model.model.named_parameters())
    for name, parameter in view.named_parameters():
        expected = other if name == _path(tiny_model) else base[name]
        assert parameter.data_ptr() == expected.data_ptr()


def test_a_view_answers_by_its_own_matrix_and_the_base_by_its_own(
    tiny_model: LoadedModel,
) -> None:
    before = tiny_model.model(_IDS).logits
    view = view_of(tiny_model.model, {_path(tiny_model): _other(tiny_model)})
    assert not torch.allclose(view(_IDS).logits, before)
    assert torch.equal(tiny_model.model(_IDS).logits, before)
    with torch.no_grad():
        tiny_model.model.get_parameter(_path(tiny_model)).add_(0.5)
        same = torch.equal(tiny_model.model(_IDS).logits, view(_IDS).logits)
        tiny_model.model.get_parameter(_path(tiny_model)).sub_(0.5)
    assert same


def test_a_view_of_a_view_changes_only_itself(tiny_model: LoadedModel) -> None:
    first = view_of(tiny_model.model, {_path(tiny_model): _other(tiny_model)})
    logits = first(_IDS).logits
    second = view_of(first, {_path(tiny_model): _other(tiny_model) + 1})
    assert torch.equal(first(_IDS).logits, logits)
    assert not torch.allclose(second(_IDS).logits, logits)


def test_a_matrix_of_another_shape_is_refused(tiny_model: LoadedModel) -> None:
    with pytest.raises(ValueError, match=_path(tiny_model)):
        view_of(tiny_model.model, {_path(tiny_model): torch.zeros(2, 2)})


def test_a_private_copy_has_a_config_of_its_own(tiny_model: LoadedModel) -> None:
    twin = private_copy(tiny_model.model)
    twin.config._attn_implementation = "eager"
    assert tiny_model.model.config._attn_implementation != "eager"
    configs = {id(vars(module)["config"]) for module in twin.modules() if "config" in vars(module)}
    assert configs == {id(twin.config)}
    assert torch.allclose(twin(_IDS).logits, tiny_model.model(_IDS).logits, rtol=1e-4, atol=1e-4)
