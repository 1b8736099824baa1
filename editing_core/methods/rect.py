"""RECT: regularise the relative change of weights (Gu et al., arXiv 2401.04700)."""

import torch
from torch import Tensor

from editing_core.methods.memit import LayerUpdate, ReshapedMemit

_KEPT = 0.4  # share of entries that stay
_EPSILON = 1e-8  # added to weights before dividing by them, as in the authors' code


class Rect(ReshapedMemit):
    """MEMIT's Δ, of which only the 40 % of entries with the largest |Δ/W| are kept.

    Layers are solved with whole updates; entries are dropped, then SPHERE acts, on the finished
    ones. The result is not low-rank, so edits of a batch cannot be undone one by one.
    """

    def reshape(self, layer: LayerUpdate) -> Tensor:
        """Zero the entries (d_out, d_in) that change their weight least, relatively."""
        relative = (layer.update / (layer.weight + _EPSILON)).abs()
        dropped = relative.numel() - int(_KEPT * relative.numel())
        threshold = relative.flatten().kthvalue(dropped).values
        return torch.where(relative > threshold, layer.update, 0)
