"""SPHERE: keep updates out of the principal directions of the weights.

Liu et al., "Energy-Regularized Sequential Model Editing on Hyperspheres" (arXiv 2510.01172):
Δ ← Δ (I − α U Uᵀ), where U spans the leading eigenvectors of ÂᵀÂ/n, Â the weight with rows of
unit length. As the authors' code does, rows are normalised and the directions kept are those
that hold a share η of the eigenvalue mass.
"""

import torch
from torch import Tensor

from editing_core.errors import NonFinite

_EPSILON = 1e-8  # added to row norms, as in the authors' code


def principal_directions(weight: Tensor, eta: float) -> Tensor:
    """Leading eigenvectors U (d_in, r) of ÂᵀÂ/n for ``weight`` (d_out, d_in).

    They come from the d_out × d_out Gram matrix ÂÂᵀ/n, which has the same non-zero spectrum:
    with eigenpairs (Λ, W) of the Gram, U = Âᵀ W Λ^(−1/2) / √n. r is one
    more than the number of leading eigenvalues whose cumulative share stays within ``eta``.

    Raises:
        NonFinite: The weight holds NaN or infinity.
    """
    if not torch.isfinite(weight).all():
        raise NonFinite("weight holds NaN or infinity; SPHERE has no directions for it")
    rows = weight.double()
    rows = rows / (rows.norm(dim=1, keepdim=True) + _EPSILON)  # Â (n, d_in)
    n = rows.shape[0]
    values, vectors = torch.linalg.eigh(rows @ rows.T / n)  # ascending
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    share = values.cumsum(0) / values.sum()
    within = int((share <= eta).sum())
    rank = min(within + 1, int((values > values[0] * 1e-12).sum()))
    directions: Tensor = rows.T @ vectors[:, :rank] / (values[:rank] * n).sqrt()
    return directions


def project(right: Tensor, directions: Tensor, alpha: float) -> Tensor:
    """P⊥ applied to the input side: ``right`` (B, d_in) → right − α (right U) Uᵀ.

    Works for the right factor of Δ = left · right and for a dense Δ (d_out, d_in) alike.
    """
    return right - alpha * (right @ directions) @ directions.T
