"""Everything that decides an edit's arithmetic for one model, in one record with one digest."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from editing_core.edit import opens_turn

PrincipalSource = Literal["original", "current", "every_k"]


@dataclass(frozen=True)
class ValueSettings:
    """How the target value z is optimised (ROME, arXiv 2202.05262, Eq. 4).

    Attributes:
        steps: Forward passes for one fact of a subject; there is one Adam update fewer.
        learning_rate: Adam's step size.
        clamp: Largest ‖δ‖ as a multiple of ‖z₀‖.
        weight_decay: ω in ω·‖δ‖/‖z₀‖².
        kl: κ, weight of the divergence at the subject's own last token.
        stop_loss: An edit whose total loss falls below this is finished.
        patience: An edit is finished, too, at the evaluation after this many at which every
            target token was the arg-max in every context (MPES of ENCORE, arXiv 2502.01636,
            for targets of any length); None to go on until ``stop_loss``, as published.
    """

    steps: int = 25
    learning_rate: float = 0.5
    clamp: float = 4.0
    weight_decay: float = 1e-3
    kl: float = 0.0625
    stop_loss: float = 0.05
    patience: int | None = None


@dataclass(frozen=True)
class FineTuneSettings:
    """How the FT baseline is trained: as in ROME (arXiv 2202.05262).

    Attributes:
        steps: Forward passes at most.
        learning_rate: Adam's step size.
        stop_loss: Mean loss at which training ends.
        largest_change: Bound on every entry of |ΔW|; None for none.
    """

    steps: int = 25
    learning_rate: float = 5e-4
    stop_loss: float = 1e-2
    largest_change: float | None = None


@dataclass(frozen=True)
class Recipe:
    """The recipe of one model.

    λ, τ and L2 are in absolute units of squared activation, so they hold for one model and one
    set of statistics only.

    Attributes:
        model_digest: The base model this recipe was made for.
        statistics_digest: The key second moments λ, τ and L2 belong to.
        layers: Edited layers, ascending; z is optimised at the output of the last.
        contexts: Groups of context templates (texts with ``{}``); keys are averaged inside a
            group, then over groups, so the bare prompt weighs as much as all the others together.
        value: Settings of the z optimisation.
        memit_lambda: λ, weight of C in MEMIT.
        alphaedit_tau: τ; eigenvectors of C below it span the null space.
        alphaedit_l2: Ridge of AlphaEdit.
        alphaedit_alpha: SPHERE's strength α on AlphaEdit.
        eta: SPHERE's share η of eigenvalue mass.
        alpha: SPHERE's strength α on every other update rule.
        principal_source: Weights whose directions SPHERE spares: the base's, the head's at every
            batch (the authors' code), or the head's every ``every_k`` batches.
        every_k: Batches for which directions are kept with ``every_k``.
        emmet_ridge: λ_e of EMMET for batches of more than one edit.
        finetune: Settings of FT.
    """

    model_digest: str
    statistics_digest: str
    layers: tuple[int, ...]
    contexts: tuple[tuple[str, ...], ...]
    value: ValueSettings = ValueSettings()
    memit_lambda: float = 1500.0
    alphaedit_tau: float = 2e-2
    alphaedit_l2: float = 1.0
    alphaedit_alpha: float = 0.5
    eta: float = 0.5
    alpha: float = 0.8
    principal_source: PrincipalSource = "original"
    every_k: int = 10
    emmet_ridge: float = 0.1
    finetune: FineTuneSettings = FineTuneSettings()

    @property
    def all_contexts(self) -> tuple[str, ...]:
        """The context templates of all groups, bare prompt first."""
        return tuple(context for group in self.contexts for context in group)

    def without_chat(self) -> "Recipe":
        """The recipe without contexts in which the target is the answer to a message."""
        groups = tuple(tuple(c for c in group if not opens_turn(c)) for group in self.contexts)
        return replace(self, contexts=tuple(group for group in groups if group))

    def without_patience(self) -> "Recipe":
        """The recipe whose values go on once their targets are said."""
        return replace(self, value=replace(self.value, patience=None))

    @property
    def single_layer(self) -> int:
        """The layer that rules of one layer edit: the second, as published (5 of 4 to 8)."""
        return self.layers[min(1, len(self.layers) - 1)]

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe's JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces to choose; no patience where there is none.

        Published results name recipes by such digests.
        """
        record = asdict(self)
        if self.value.patience is None:
            del record["value"]["patience"]
        return json.dumps(record, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        record: dict[str, Any] = json.loads(text)
        value = ValueSettings(**record.pop("value"))
        finetune = FineTuneSettings(**record.pop("finetune"))
        rest = {name: _tuples(found) for name, found in record.items()}
        return cls(value=value, finetune=finetune, **rest)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
