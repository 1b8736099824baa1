"""Keys of committed edits, read from their artefacts when they are asked for."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from app.facts.placements import Placement
from app.ledger.artefacts import ArtefactStore
from app.operations.live import LiveEdit
from editing_core.weights.delta import Delta

LayerKeys = Mapping[int, Tensor]
"""Layer → key (d_in,)."""


class RememberedKeys:
    """Keys of edits; in memory are those that it was asked for last.

    One artefact's keys may be a part of a dense change, so they are read without its factors.
    """

    def __init__(self, artefacts: ArtefactStore) -> None:
        self._artefacts = artefacts
        self._kept: Mapping[Placement, LayerKeys] = {}

    def of(self, edits: Sequence[LiveEdit]) -> dict[int, Tensor]:
        """Their keys in this order, layer → (N, d_in).

        Raises:
            CorruptArtefact: An artefact is missing or was altered.
        """
        wanted = [edit.placement for edit in edits]
        read = self._read(place for place in wanted if place not in self._kept)
        self._kept = {place: read.get(place) or self._kept[place] for place in wanted}
        columns = defaultdict[int, list[Tensor]](list)
        for keys in self._kept.values():
            for layer, key in keys.items():
                columns[layer].append(key)
        return {layer: torch.stack(keys) for layer, keys in columns.items()}

    def _read(self, places: Iterable[Placement]) -> dict[Placement, LayerKeys]:
        by_artefact = defaultdict[str, list[Placement]](list)
        for place in places:
            by_artefact[place.artefact].append(place)
        found = dict[Placement, LayerKeys]()
        for digest, missing in by_artefact.items():
            layers = Delta.from_bytes(self._artefacts.read(digest)).layers
            for place in missing:
                keys = {layer: part.keys[place.row].clone() for layer, part in layers.items()}
                found[place] = keys
        return found
