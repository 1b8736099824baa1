"""The principal directions SPHERE spares, per layer, found as seldom as the recipe allows."""

from dataclasses import dataclass

from torch import Tensor

from editing_core.model.loading import LoadedModel
from editing_core.recipe import Recipe
from editing_core.sphere import principal_directions


@dataclass
class _Found:
    """Directions U (d_in, r) of one layer, and how often they were used."""

    directions: Tensor
    uses: int = 0


class Directions:
    """Principal directions by ``recipe.principal_source``.

    ``original``: of the base model, once. ``current``: of the weights as they are, at every use
    (the authors' code). ``every_k``: of the weights as they are, kept for ``recipe.every_k`` uses.
    """

    def __init__(self, base: LoadedModel, recipe: Recipe) -> None:
        self._base, self._recipe = base, recipe
        self._found: dict[int, _Found] = {}

    def of(self, layer: int, weight: Tensor) -> Tensor:
        """U (d_in, r) for ``layer``, whose matrix (d_out, d_in) is now ``weight``."""
        source, eta = self._recipe.principal_source, self._recipe.eta
        if source == "current":
            return principal_directions(weight, eta)
        found = self._found.get(layer)
        if found is None or (source == "every_k" and found.uses >= self._recipe.every_k):
            if source == "original":
                weight = self._base.architecture.weight_of(self._base.model, layer)
            found = self._found[layer] = _Found(principal_directions(weight, eta))
        found.uses += 1
        return found.directions
