"""The keys of past edits, mapped and factored once, grown batch by batch.

Solves that remember need (ρI + K̂_pK̂_pᵀ)⁻¹ for the mapped keys K̂_p of all live edits. While they
are few, it is had from the Cholesky factor of ρI + K̂_pᵀK̂_p, which each batch extends; where edits
were undone, the part before the first of them stays. Once they are many, the inverse itself is
smaller, and each batch changes it by the rank of what came and went. Neither solves anew what was
solved before, but for the inverse, which is made anew before rounding has added up.
"""

from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor

Projection = Callable[[Tensor], Tensor]
"""A linear map as a function of keys (d_in, N)."""

# Taking a key k away multiplies rounding by up to (1 + k⊥ᵀk⊥/ρ)²: 10⁴ of 2⁵³ leaves 11 digits.
_LEAST_REMAINDER = 1e-2


class PastKeys:
    """What one layer remembers of live edits, under one linear map of keys and one ridge.

    Args:
        project: Takes keys (d_in, N) to K̂; must stay the same function.
        ridge: ρ, positive.
    """

    def __init__(self, project: Projection, ridge: float) -> None:
        self._project, self._ridge = project, ridge
        self._raw = torch.zeros(0, 0)  # (N, d_in), as last seen
        self._projected = torch.zeros(0, 0, dtype=torch.float64)  # K̂_p (d_in, N), while few
        self._factor = torch.zeros(0, 0, dtype=torch.float64)  # lower Cholesky factor, while few
        self._inverse: Tensor | None = None  # (ρI + K̂_pK̂_pᵀ)⁻¹ (d_in, d_in), once many
        self._changes = 0  # keys that came or went since the inverse was made anew

    def recall(self, raw: Tensor) -> None:
        """Remember exactly the keys ``raw`` (N, d_in): work only for what differs from before."""
        if 2 * len(raw) > raw.shape[1]:
            self._recall_many(raw)
        elif self._inverse is not None:
            self._recall_few(raw, 0)
        else:
            self._recall_few(raw, _common_rows(self._raw, raw))
        self._raw = raw

    def unexplained(self, keys: Tensor) -> Tensor:
        """K⊥ = K̂ − K̂_p (ρI + K̂_pᵀK̂_p)⁻¹ K̂_pᵀK̂ for mapped keys K̂ (d_in, B)."""
        if self._inverse is not None:  # the same by the push-through identity
            return self._ridge * (self._inverse @ keys)
        if not self._projected.shape[1]:
            return keys
        explained = torch.cholesky_solve(self._projected.T @ keys, self._factor)
        return keys - self._projected @ explained

    def _recall_few(self, raw: Tensor, kept: int) -> None:
        fresh = self._mapped(raw[kept:])
        old = self._projected[:, :kept] if kept else fresh[:, :0]
        self._factor = self._extended(self._factor[:kept, :kept], old, fresh)
        self._projected, self._inverse = torch.cat([old, fresh], dim=1), None

    def _recall_many(self, raw: Tensor) -> None:
        if self._inverse is not None:
            self._inverse = self._exchanged(self._inverse, *_difference(self._raw, raw))
        if self._inverse is None:
            every = self._mapped(raw)
            gram = every @ every.T
            gram.diagonal().add_(self._ridge)
            self._inverse, self._changes = torch.cholesky_inverse(torch.linalg.cholesky(gram)), 0
            self._projected, self._factor = every[:, :0], every[:0, :0]

    def _exchanged(self, inverse: Tensor, gone: Tensor, new: Tensor) -> Tensor | None:
        """The inverse without the keys ``gone`` (a, d_in) and with the keys ``new`` (b, d_in).

        By Woodbury, with K̂ the mapped keys of both and S = ±1 on the diagonal, + for the new:
        (M + K̂SK̂ᵀ)⁻¹ = M⁻¹ − M⁻¹K̂ (S + K̂ᵀM⁻¹K̂)⁻¹ K̂ᵀM⁻¹. None where that costs as much as to
        make it anew, all told since it was, or loses digits: M may be all but singular without
        a key that goes.
        """
        self._changes += len(gone) + len(new)
        if self._changes > inverse.shape[0]:
            return None
        if not len(gone) + len(new):
            return inverse
        keys = self._mapped(torch.cat([gone, new]))
        reach = inverse @ keys  # (d_in, m)
        core = keys.T @ reach
        core.diagonal()[: len(gone)].sub_(1)
        core.diagonal()[len(gone) :].add_(1)
        if float(torch.linalg.eigvalsh(core).abs().min()) < _LEAST_REMAINDER:
            return None
        return torch.addmm(inverse, reach, torch.linalg.solve(core, reach.T), alpha=-1)

    def _mapped(self, raw: Tensor) -> Tensor:
        return self._project(raw.double().T)

    def _extended(self, factor: Tensor, old: Tensor, fresh: Tensor) -> Tensor:
        """The Cholesky factor with rows for ``fresh`` (d_in, m) below those for ``old``."""
        kept, new = old.shape[1], fresh.shape[1]
        corner = fresh.T @ fresh
        corner.diagonal().add_(self._ridge)
        extended = corner.new_zeros(kept + new, kept + new)
        extended[:kept, :kept] = factor
        if kept:
            below = torch.linalg.solve_triangular(factor, old.T @ fresh, upper=False).T
            extended[kept:, :kept] = below
            corner -= below @ below.T
        extended[kept:, kept:] = torch.linalg.cholesky(corner)
        return extended


def _difference(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that ``before`` has and ``after`` lacks, and the other way round; equal ones count."""
    start = _common_rows(before, after)
    end = _common_rows(before[start:].flip(0), after[start:].flip(0))
    before, after = (rows[start : len(rows) - end] for rows in (before, after))
    places = defaultdict[bytes, list[int]](list)
    for place, row in enumerate(before.cpu().numpy()):
        places[row.tobytes()].append(place)
    new = []
    for place, row in enumerate(after.cpu().numpy()):
        same = places.get(row.tobytes())
        if same:
            same.pop()
        else:
            new.append(place)
    gone = sorted(place for left in places.values() for place in left)
    return before[gone], after[new]


def _common_rows(before: Tensor, after: Tensor) -> int:
    """How many leading rows of two matrices are equal."""
    if before.shape[1:] != after.shape[1:]:
        return 0
    count = min(len(before), len(after))
    if torch.equal(before[:count], after[:count]):
        return count
    differing = (before[:count] != after[:count]).any(dim=1).nonzero()
    return int(differing[0])
