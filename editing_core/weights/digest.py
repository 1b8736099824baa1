"""Digests of tensors: the same bits give the same digest on every machine."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and little-endian bytes, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def weights_digest(weights: Mapping[int, Tensor]) -> str:
    """Digest of edited matrices by layer: what a revision records of its weights."""
    return tensors_digest({str(layer): weight for layer, weight in weights.items()})
