"""All that differs between the base and a revision, exactly, in one safetensors file.

Tensors are named ``part.layer.name``. The change of a layer's matrix (d_out, d_in) is the sum over
its parts: ``leftᵀ right`` of a part with factors, ``matrix`` of a dense one. The sum is exact in
float64. Keys are left out: nobody needs them to apply a change, and they tell more of the edits.
"""

import json
from collections import defaultdict
from collections.abc import Iterable

import torch
from safetensors.torch import load, save
from torch import Tensor

from editing_core.weights.delta import Delta, Dense, Factors
from editing_core.weights.header import metadata_in

_NAMES = {Factors: ("left", "right"), Dense: ("matrix",)}


def live_delta_bytes(deltas: Iterable[Delta]) -> bytes:
    """The changes of all live edits; equal deltas in equal order give equal bytes."""
    tensors, edits = dict[str, Tensor](), list[tuple[str, ...]]()
    for number, delta in enumerate(_joined(deltas)):
        edits.append(delta.edits)
        for layer, part in delta.layers.items():
            for name in _NAMES[type(part)]:
                tensors[f"{number}.{layer}.{name}"] = getattr(part, name).contiguous()
    return save(tensors, metadata={"edits": json.dumps(edits)})


def live_deltas(data: bytes) -> list[Delta]:
    """Read what ``live_delta_bytes`` wrote; the parts have no keys."""
    edits = [tuple(ids) for ids in json.loads(metadata_in(data)["edits"])]
    found = [defaultdict[int, dict[str, Tensor]](dict) for _ in edits]
    for path, tensor in load(data).items():
        number, layer, name = path.split(".")
        found[int(number)][int(layer)][name] = tensor
    return [
        Delta(ids, {layer: _part(len(ids), part) for layer, part in sorted(layers.items())})
        for ids, layers in zip(edits, found, strict=True)
    ]


def _joined(deltas: Iterable[Delta]) -> list[Delta]:
    """One part for all that has factors in the same layers; each dense one stays by itself."""
    factored, dense = defaultdict[tuple[int, ...], list[Delta]](list), list[Delta]()
    for delta in deltas:
        if all(isinstance(part, Factors) for part in delta.layers.values()):
            factored[tuple(sorted(delta.layers))].append(delta)
        else:
            dense.append(delta)
    return [_stacked(layers, same) for layers, same in sorted(factored.items())] + dense


def _stacked(layers: tuple[int, ...], deltas: list[Delta]) -> Delta:
    edits = tuple(edit for delta in deltas for edit in delta.edits)
    return Delta(
        edits, {layer: _rows([delta.layers[layer] for delta in deltas]) for layer in layers}
    )


def _rows(parts: list[Factors | Dense]) -> Factors:
    factors = [part for part in parts if isinstance(part, Factors)]
    left, right = (torch.cat([getattr(part, name) for part in factors]) for name in _NAMES[Factors])
    return Factors(left, right, left.new_zeros(len(left), 0))


def _part(edits: int, tensors: dict[str, Tensor]) -> Factors | Dense:
    keys = torch.zeros(edits, 0)
    return Dense(**tensors, keys=keys) if "matrix" in tensors else Factors(**tensors, keys=keys)
