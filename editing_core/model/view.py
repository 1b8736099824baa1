"""Views: models that share every tensor with another one but the matrices given.

A view costs copies of module objects, not of weights, and nothing that a reader of the base
or of another view can see is ever written.
"""

from collections.abc import Mapping
from copy import copy
from typing import TypeVar

from torch import Tensor, nn
from transformers import PreTrainedModel

M = TypeVar("M", bound=nn.Module)


def view_of(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> PreTrainedModel:
    """A model equal to ``model`` except for the parameters named in ``weights``.

    Args:
        model: The model to share with; it is not changed.
        weights: New tensors by dotted parameter path; shape, dtype and device of the old ones.

    Raises:
        AttributeError: A path names no parameter of the model.
        ValueError: A tensor differs from the parameter it replaces in shape, dtype or device.
    """
    view = _shallow(model)
    fresh: dict[str, nn.Module] = {"": view}
    for path, tensor in weights.items():
        old = model.get_parameter(path)
        found, expected = ((x.shape, x.dtype, x.device) for x in (tensor, old))
        if found != expected:
            raise ValueError(f"{path} is given {found}; the model holds {expected}")
        parent, name = path.rsplit(".", 1)
        module = _own(fresh, parent)
        module._parameters[name] = nn.Parameter(tensor, requires_grad=False)
    return view


def private_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A view whose module objects, and config, are all its own; every tensor is shared.

    Its attention implementation can be changed, and hooks attached, without anyone noticing.
    """
    config = copy(model.config)
    twin = _deep_shallow(model)
    for module in twin.modules():
        if getattr(module, "config", None) is model.config:
            vars(module)["config"] = config
    return twin


def _own(fresh: dict[str, nn.Module], path: str) -> nn.Module:
    """The view's own copy of the module at ``path``, copying the way down to it once."""
    if path not in fresh:
        parent_path, _, name = path.rpartition(".")
        parent = _own(fresh, parent_path)
        child = parent._modules[name]
        if child is None:
            raise AttributeError(f"{path} is no module of the model")
        parent._modules[name] = fresh[path] = _shallow(child)
    return fresh[path]


def _deep_shallow(module: M) -> M:
    twin = _shallow(module)
    for name, child in twin._modules.items():
        if child is not None:
            twin._modules[name] = _deep_shallow(child)
    return twin


def _shallow(module: M) -> M:
    """Copy of one module object: own registries, same tensors and children."""
    twin = copy(module)
    for registry, value in vars(module).items():
        if isinstance(value, dict):
            vars(twin)[registry] = copy(value)
    return twin
