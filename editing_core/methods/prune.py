"""PRUNE: restrain the singular values of the accumulated change (Ma et al., arXiv 2405.16821)."""

import torch
from torch import Tensor

from editing_core.methods.memit import LayerUpdate, ReshapedMemit


class Prune(ReshapedMemit):
    """MEMIT's Δ, so that no singular value σ of W − W₀ outgrows the largest of W₀, σ_max.

    Larger ones become ln σ − ln σ_max + σ_max. The published copies add the pruned sum onto the
    unpruned weights (AlphaEdit), or prune a snapshot that is never served (SPHERE): here the
    batch's update takes the served weights to the pruned ones.
    """

    def reshape(self, layer: LayerUpdate) -> Tensor:
        """The update (d_out, d_in) that leads to the pruned accumulated change."""
        before = layer.weight - layer.original
        left, sigma, right = torch.linalg.svd(before + layer.update, full_matrices=False)
        largest = torch.linalg.matrix_norm(layer.original, ord=2)
        damped = (sigma / largest).log() + largest
        pruned = left * torch.where(sigma > largest, damped, sigma) @ right
        change: Tensor = pruned - before
        return change
