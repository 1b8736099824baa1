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
"""Layer → key (d_in,), or the keys (n, d_in) of n edits."""


class RememberedKeys:
    """Keys of edits; in memory are those that it was asked for last, and the newest commit's.

    One artefact's keys may be a part of a dense change, so they are read without its factors.
    """

    def __init__(self, artefacts: ArtefactStore) -> None:
        self._artefacts = artefacts
        self._kept: Mapping[Placement, LayerKeys] = {}
        self._newest: Mapping[str, LayerKeys] = {}

    def hand_over(self, artefact: str | None, delta: Delta | None) -> None:
        """Have the keys of a delta that was just stored, so that none is read back."""
        if artefact is None or delta is None:
            self._newest = {}
        else:
            self._newest = {artefact: _keys_in(delta)}

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
            stored = self._newest.get(digest)
            if stored is None:
                stored = _keys_in(Delta.from_bytes(self._artefacts.read(digest)))
            for place in missing:
                found[place] = {layer: keys[place.row].clone() for layer, keys in stored.items()}
        return found


def _keys_in(delta: Delta) -> LayerKeys:
    """Layer → keys (n, d_in), in the order of its edits."""
    return {layer: part.keys for layer, part in delta.layers.items()}
