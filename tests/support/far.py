"""A second device without a second device: arithmetic is the host's, rules are an accelerator's.

Tensors that are `far` hold ordinary tensors. Each operation on them is done by the host on what
they hold, so values are real and code may ask for them; but, as on a GPU, an operation that is
given tensors of both devices is refused. Only copies may be given both, and an operation may read
numbers (tensors without dimensions) and indices of the host. `torch.inference_mode` is not for
them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_NAME = "far"
_aten = torch.ops.aten
_COPIES = {_aten.copy_.default, _aten._to_copy.default}


class _Backend:
    """What PyTorch asks of a device: there are none, when others in this process look for some."""

    def is_available(self) -> bool:
        return False

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 0

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, _seed: int) -> None:
        pass


class _Far(Tensor):
    """A tensor whose device is `far`; `near` has its entries."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> "_Far":
        found = torch.Tensor._make_wrapper_subclass(
            cls,
            near.shape,
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=torch.device(_NAME, 0),
        )
        found.near = near
        return found

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise RuntimeError(f"{func} on a far tensor outside of far_device()")


class _Dispatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Does on the host what is asked of `far`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        is_far = any(isinstance(tensor, _Far) for tensor in given)
        if is_far:
            _refuse_mixed(func, given)
        if kwargs.get("device") is not None:
            is_far = torch.device(kwargs["device"]).type == _NAME
            kwargs["device"] = torch.device("cpu") if is_far else kwargs["device"]
        elif func is _aten.copy_.default:
            is_far = isinstance(args[0], _Far)
        with no_dispatch():
            out = func(*tree_map(_near, args), **tree_map(_near, kwargs))
            if not is_far:
                return out
            known = {id(tensor.near): tensor for tensor in given if isinstance(tensor, _Far)}
            return tree_map(lambda leaf: _far(leaf, known), out)


class _Functions(TorchFunctionMode):
    """What PyTorch does with a tensor before it comes to operations."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.tolist and isinstance(args[0], _Far):
            return args[0].cpu().tolist()
        if func is torch.tensor and kwargs.get("device") is not None:
            return func(*args, **kwargs | {"device": "cpu"}).to(kwargs["device"])
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], _Far):
            args = (args[0], _index(args[1], args[0].device), *args[2:])
        return func(*args, **kwargs)


def _index(index: Any, device: torch.device) -> Any:
    """An index as PyTorch makes one of it: lists and tensors of the host are brought over."""
    if isinstance(index, tuple):
        return tuple(_index(part, device) for part in index)
    if isinstance(index, list):
        index = torch.tensor(index)
    return index.to(device) if isinstance(index, Tensor) else index


def _refuse_mixed(func: Any, given: list[Tensor]) -> None:
    if func in _COPIES:
        return
    near = [tensor for tensor in given if tensor.dim() and not isinstance(tensor, _Far)]
    if near:
        raise RuntimeError(f"{func}: expected all tensors on one device, found cpu and {_NAME}")


def _near(leaf: Any) -> Any:
    return leaf.near if isinstance(leaf, _Far) else leaf


def _far(leaf: Any, known: dict[int, _Far]) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    found = known.get(id(leaf))  # what was changed in place stays the same tensor
    return _Far(leaf) if found is None else found


@contextmanager
def far_device() -> Iterator[torch.device]:
    """A device whose tensors do not mix with the host's."""
    if torch._C._get_privateuse1_backend_name() != _NAME:
        _setup_privateuseone_for_python_backend(_NAME, _Backend())
    # Gradients on this thread: modes are of one thread.
    one_thread = torch.autograd.set_multithreading_enabled(False)
    dispatch = _Dispatch()  # type: ignore[no-untyped-call]
    with one_thread, dispatch, _Functions():
        yield torch.device(_NAME, 0)
