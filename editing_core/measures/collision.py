"""How near new keys come to remembered ones: edits of near keys contend for one output."""

from collections.abc import Mapping

from torch import Tensor

_SHORTEST = 1e-30  # a key without length is near none


def key_collisions(new: Mapping[int, Tensor], remembered: Mapping[int, Tensor]) -> dict[int, float]:
    """Layer → the largest cosine between a new key and a remembered one.

    Args:
        new: Layer → keys (B, d_in).
        remembered: Layer → keys (N, d_in).

    Returns:
        Only layers that have keys of both.
    """
    return {
        layer: _largest_cosine(keys, remembered[layer])
        for layer, keys in new.items()
        if layer in remembered and len(keys) and len(remembered[layer])
    }


def _largest_cosine(new: Tensor, remembered: Tensor) -> float:
    products = remembered @ new.T  # (N, B)
    lengths = remembered.norm(dim=1)[:, None] * new.norm(dim=1)
    return float((products / lengths.clamp_min(_SHORTEST)).max().clamp(-1, 1))
