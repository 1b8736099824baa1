"""The weights that a ledger records, recomputed from a model and the artefacts of a bundle."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from app.errors import BrokenEvidence
from app.evidence.evidence import Bundle
from app.evidence.recount import Recount
from app.evidence.verification import WeightsChecked
from app.facts.placements import Placement
from app.ledger.records import BaseRecord
from editing_core.errors import EditingError
from editing_core.model.architecture import Site
from editing_core.model.loading import LoadedModel, load_model
from editing_core.progress import Progress
from editing_core.weights.delta import Delta, Weights
from editing_core.weights.digest import weights_digest

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SITES: dict[str, Site] = {"feed-forward": "feed-forward", "attention": "attention"}
# What tensors of the wrong names, shapes or number of rows raise on their way into a sum.
_UNFIT = (SafetensorError, EditingError, ValueError, KeyError, IndexError, TypeError, RuntimeError)


@dataclass(frozen=True)
class Recomputation:
    """Recomputes what a bundle says of weights.

    Attributes:
        model: The model: a bundled alias, a folder, or a GGUF file.
        cache_dir: Where a converted model is kept.
        every_revision: Whether to recompute each revision, not the newest only.
        progress: Told of long steps.
    """

    model: str
    cache_dir: Path
    every_revision: bool
    progress: Progress

    def __call__(self, bundle: Bundle, recount: Recount) -> WeightsChecked:
        """Compare the digests.

        Raises:
            BrokenEvidence: The model is not the ledger's, or a revision has other weights.
            EditingError: The model cannot be loaded.
        """
        base = recount.base
        if base is None:
            raise BrokenEvidence("entry", 0, "the ledger has no base, so no weights either")
        weights = self._base_weights(base)
        if self.every_revision:
            self._follow(weights, bundle, recount)
            return "every revision"
        newest = recount.steps[-1].number if recount.steps else 0
        recorded = recount.steps[-1].weights_digest if recount.steps else base.weights_digest
        _check(newest, _changed(weights, bundle, add=recount.live.values()), recorded)
        return "head"

    def _base_weights(self, base: BaseRecord) -> Weights:
        model = self._load(base)
        if model.digest != base.model_digest:
            raise BrokenEvidence(
                "model",
                self.model,
                f"the ledger is of model {base.model} with digest {base.model_digest}; "
                f"{self.model} has {model.digest}",
            )
        if not all(layer < model.architecture.layers for layer in base.layers):
            raise BrokenEvidence("entry", 0, f"{self.model} has no layers {sorted(base.layers)}")
        matrices = model.matrices(base.layers)
        weights = Weights(matrices)
        _check(0, weights, base.weights_digest)
        return weights

    def _load(self, base: BaseRecord) -> LoadedModel:
        if base.dtype not in _DTYPES or base.site not in _SITES:
            raise BrokenEvidence(
                "model", base.model, f"nobody can serve {base.dtype} at {base.site}"
            )
        return load_model(
            self.model,
            cache_dir=self.cache_dir,
            dtype=_DTYPES[base.dtype],
            site=_SITES[base.site],
            progress=self.progress,
        )

    def _follow(self, weights: Weights, bundle: Bundle, recount: Recount) -> None:
        step = "recompute revisions"
        absent, withheld = recount.unserved_artefacts() - bundle.artefacts(), 0
        for done, change in enumerate(recount.steps):
            self.progress(step, done, len(recount.steps))
            added, removed = _present(change.added, absent), _present(change.removed, absent)
            withheld += len(change.added) - len(added) - len(change.removed) + len(removed)
            weights = _changed(weights, bundle, add=added, subtract=removed)
            if not withheld:  # else it was withdrawn, and some of its live factors are not there
                _check(change.number, weights, change.weights_digest)
        self.progress(step, len(recount.steps), len(recount.steps))


def _present(placements: Collection[Placement], absent: Set[str]) -> list[Placement]:
    return [placement for placement in placements if placement.artefact not in absent]


def _changed(
    weights: Weights,
    bundle: Bundle,
    *,
    add: Collection[Placement] = (),
    subtract: Collection[Placement] = (),
) -> Weights:
    """The weights with these factors and without those; each artefact is read when its turn is."""
    for digest, (gained, lost) in _by_artefact(add, subtract).items():
        delta = _delta(bundle, digest)
        try:
            weights = weights.changed(
                add=[delta.select(gained)] if gained else (),
                subtract=[delta.select(lost)] if lost else (),
            )
        except _UNFIT as error:
            raise _unfit(digest, error) from error
    return weights


def _delta(bundle: Bundle, digest: str) -> Delta:
    data = bundle.artefact(digest)
    try:
        return Delta.from_bytes(data)
    except _UNFIT as error:
        raise _unfit(digest, error) from error


def _unfit(digest: str, error: Exception) -> BrokenEvidence:
    return BrokenEvidence("artefact", digest, f"artefact {digest} does not fit the model: {error}")


def _by_artefact(
    add: Collection[Placement], subtract: Collection[Placement]
) -> Mapping[str, tuple[list[int], list[int]]]:
    rows = defaultdict[str, tuple[list[int], list[int]]](lambda: ([], []))
    for placement in add:
        rows[placement.artefact][0].append(placement.row)
    for placement in subtract:
        rows[placement.artefact][1].append(placement.row)
    return rows


def _check(revision: int, weights: Weights, recorded: str) -> None:
    matrices: Mapping[int, Tensor] = weights.materialise()
    found = weights_digest(matrices)
    if found != recorded:
        raise BrokenEvidence(
            "revision",
            revision,
            f"revision {revision} was recorded with weights {recorded}, but base and factors "
            f"give {found}",
        )
