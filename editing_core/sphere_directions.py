"""The principal directions SPHERE spares, per layer, found as seldom as the recipe allows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from editing_core.model.loading import LoadedModel
from editing_core.settings import SphereSettings
from editing_core.sphere import principal_directions


@dataclass
class _Found:
    """Directions U (d_in, r) of one layer, and how often they were used."""

    directions: Tensor
    uses: int = 0


class Directions:
    """Principal directions by ``principal_source`` of SPHERE's settings.

    They are found on the device of the weight, where the decomposition is fast, and wanted on
    ``device``, where edits are solved.

    ``original``: of the base model, once. ``current``: of the weights as they are, at every use
    (the authors' code). ``every_k``: of the weights as they are, kept for ``every_k`` uses.
    """

    def __init__(self, base: LoadedModel, settings: SphereSettings, device: torch.device) -> None:
        self._base, self._settings, self._device = base, settings, device
        self._found: dict[int, _Found] = {}

    def of(self, layer: int, weight: Tensor) -> Tensor:
        """U (d_in, r) for ``layer``, whose matrix (d_out, d_in) is now ``weight``."""
        source = self._settings.principal_source
        if source == "current":
            return self._find(weight)
        found = self._found.get(layer)
        if found is None or (source == "every_k" and found.uses >= self._settings.every_k):
            if source == "original":
                weight = self._base.architecture.weight_of(self._base.model, layer)
            found = self._found[layer] = _Found(self._find(weight))
        found.uses += 1
        return found.directions

    def _find(self, weight: Tensor) -> Tensor:
        return principal_directions(weight, self._settings.eta).to(self._device)
