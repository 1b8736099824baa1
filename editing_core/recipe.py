"""Everything that decides an edit's arithmetic for one model, in one record with one digest."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from editing_core.edit import opens_turn
from editing_core.settings import (
    AlphaEditSettings,
    EmmetSettings,
    FineTuneSettings,
    MemitSettings,
    SphereSettings,
    ValueSettings,
)

_PARTS: dict[str, type[Any]] = {
    "value": ValueSettings,
    "sphere": SphereSettings,
    "memit": MemitSettings,
    "alphaedit": AlphaEditSettings,
    "emmet": EmmetSettings,
    "finetune": FineTuneSettings,
}
# Options that the JSON always has: recipes in use were written, and digested, with them.
_NESTED = {
    "value": ("steps", "learning_rate", "clamp", "weight_decay", "kl", "stop_loss"),
    "finetune": ("steps", "learning_rate", "stop_loss", "largest_change"),
}
_FLAT = {
    "eta": ("sphere", "eta"),
    "alpha": ("sphere", "alpha"),
    "principal_source": ("sphere", "principal_source"),
    "every_k": ("sphere", "every_k"),
    "memit_lambda": ("memit", "weight"),
    "alphaedit_tau": ("alphaedit", "tau"),
    "alphaedit_l2": ("alphaedit", "l2"),
    "alphaedit_alpha": ("alphaedit", "alpha"),
    "emmet_ridge": ("emmet", "ridge"),
}


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
        sphere: Settings of SPHERE.
        memit: Settings of MEMIT.
        alphaedit: Settings of AlphaEdit.
        emmet: Settings of EMMET.
        finetune: Settings of FT.
    """

    model_digest: str
    statistics_digest: str
    layers: tuple[int, ...]
    contexts: tuple[tuple[str, ...], ...]
    value: ValueSettings = field(default_factory=ValueSettings)
    sphere: SphereSettings = field(default_factory=SphereSettings)
    memit: MemitSettings = field(default_factory=MemitSettings)
    alphaedit: AlphaEditSettings = field(default_factory=AlphaEditSettings)
    emmet: EmmetSettings = field(default_factory=EmmetSettings)
    finetune: FineTuneSettings = field(default_factory=FineTuneSettings)

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
        """The layer that methods of one layer edit: the second, as published (5 of 4 to 8)."""
        return self.layers[min(1, len(self.layers) - 1)]

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe's JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces to choose; no patience where there is none.

        Published results name recipes by such digests.
        Options younger than recipes that are in use stand in the part they belong to, and only
        where they differ from their default: a new one changes no digest.
        """
        record = asdict(self)
        parts = {name: record.pop(name) for name in _PARTS}
        for name, (part, option) in _FLAT.items():
            record[name] = parts[part].pop(option)
        for name, options in parts.items():
            written, usual = _NESTED.get(name, ()), asdict(_PARTS[name]())
            kept = {o: v for o, v in options.items() if o in written or v != usual[o]}
            if kept:
                record[name] = kept
        return json.dumps(record, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        record: dict[str, Any] = json.loads(text)
        options = {name: record.pop(name, {}) for name in _PARTS}
        for name, (part, option) in _FLAT.items():
            if name in record:
                options[part][option] = record.pop(name)
        parts: dict[str, Any] = {name: kind(**options[name]) for name, kind in _PARTS.items()}
        rest = {name: _tuples(found) for name, found in record.items()}
        return cls(**parts, **rest)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
