"""The update rules, by name; ``+sphere`` adds the SPHERE projection to any of them.

To add a rule, write a class that fulfils ``Method`` (most need only ``LowRank`` and their own
``adjusted_keys``) and list it in ``_RULES``; it then has ``mine`` and ``mine+sphere`` everywhere:
in the service, the benchmark and the tests. Without touching this package, an ``Editor`` takes
``plans={**PLANS, **plans_of("mine", Mine())}``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from editing_core.errors import UnknownMethod
from editing_core.methods.alphaedit import AlphaEdit
from editing_core.methods.base import LayerProblem, LayerUpdate, LowRank, Method
from editing_core.methods.emmet import Emmet
from editing_core.methods.finetune import FineTune
from editing_core.methods.memit import Memit, MemitSequential
from editing_core.methods.prune import Prune
from editing_core.methods.rect import Rect
from editing_core.methods.rome import Rome

__all__ = [
    "METHOD_NAMES",
    "PLANS",
    "FineTune",
    "LayerProblem",
    "LayerUpdate",
    "LowRank",
    "Method",
    "Plan",
    "plan_named",
    "plans_of",
]

Sphere = Literal["none", "post", "solve", "reproject"]
"""Where SPHERE acts: not at all, on the finished update (the paper), inside the solve, or on the
finished update that is then put back into the null space."""

_RULES: dict[str, type[Method]] = {
    "ft": FineTune,
    "memit": Memit,
    "memit-seq": MemitSequential,
    "alphaedit": AlphaEdit,
    "rect": Rect,
    "prune": Prune,
    "emmet": Emmet,
    "rome": Rome,
}
_SUFFIXES: dict[str, Sphere] = {"": "none", "+sphere": "post"}
_NULL_SPACE_SUFFIXES: dict[str, Sphere] = {
    "+sphere=solve": "solve",
    "+sphere=reproject": "reproject",
}


@dataclass(frozen=True)
class Plan:
    """An update rule, and where SPHERE acts on it."""

    rule: Method
    sphere: Sphere


def plans_of(name: str, rule: Method) -> dict[str, Plan]:
    """A rule under its name, without SPHERE and with it in every way it can be had."""
    suffixes = _SUFFIXES | (_NULL_SPACE_SUFFIXES if rule.has_null_space else {})
    return {name + suffix: Plan(rule, sphere) for suffix, sphere in suffixes.items()}


PLANS: Mapping[str, Plan] = {
    name: plan
    for rule_name, rule in _RULES.items()
    for name, plan in plans_of(rule_name, rule()).items()
}

METHOD_NAMES = tuple(PLANS)


def plan_named(name: str, plans: Mapping[str, Plan] = PLANS) -> Plan:
    """The update rule of ``name`` and where SPHERE acts on it.

    Raises:
        UnknownMethod: No such name; the message lists those there are.
    """
    if name not in plans:
        raise UnknownMethod(f"method {name!r} is unknown; choose one of {', '.join(plans)}")
    return plans[name]
