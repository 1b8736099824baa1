"""Limits of the gates: set by the operator, made stricter by a request, never looser."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.errors import InvalidField
from app.kit.canonical import JsonObject
from app.settings import Settings

_AT_MOST = frozenset({"delta_norm", "subject_drift", "energy_drift", "perplexity_ratio"})

_Share = Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]
_Size = Annotated[float | None, Field(ge=0, allow_inf_nan=False, strict=True)]


class WantedLimits(BaseModel):
    """Limits that one edit is to be held to; what is left out stays as the service has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    delta_norm: _Size = None
    target_said: _Share = None
    target_p: _Share = None
    neighbours_kept: _Share = None
    relation_kept: _Share = None
    essence_kept: _Share = None
    subject_drift: _Size = None
    siblings_kept: _Share = None
    canaries_kept: _Share = None
    earlier_kept: _Share = None
    energy_drift: _Size = None
    perplexity_ratio: _Size = None

    def to_json(self) -> JsonObject | None:
        """The limits that are given, as they are stored; None without any."""
        return self.model_dump(exclude_none=True) or None


class Limits(BaseModel):
    """What each gate allows; every one is explained by the setting of its name.

    Attributes:
        delta_norm: Most relative change of a matrix.
        target_said: Least share of target tokens that are the arg-max.
        target_p: Least probability of the target.
        neighbours_kept: Least share of neighbours with the same answer.
        relation_kept: Least share of other subjects with which the prompt goes on as before.
        essence_kept: Least share of tokens about the subject that are said as before.
        subject_drift: Most divergence after the subject in ordinary text.
        siblings_kept: Least share of the subject's other facts that stay true.
        canaries_kept: Least share of canaries continued as by the base.
        earlier_kept: Least share of sampled earlier edits that stay true.
        energy_drift: Most relative distance of hyperspherical energy from the base's.
        perplexity_ratio: Most perplexity, relative to the base's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    delta_norm: float
    target_said: float
    target_p: float
    neighbours_kept: float
    relation_kept: float
    essence_kept: float
    subject_drift: float
    siblings_kept: float
    canaries_kept: float
    earlier_kept: float
    energy_drift: float
    perplexity_ratio: float

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """What the operator allows."""
        return cls(**{name: getattr(settings, f"gate_{name}") for name in cls.model_fields})

    def tightened(self, wanted: JsonObject | None) -> "Limits":
        """These, and stricter where an edit was stored with stricter ones."""
        given = WantedLimits.model_validate(wanted or {}).model_dump(exclude_none=True)
        kept = self.model_dump()
        stricter = {
            name: min(value, kept[name]) if name in _AT_MOST else max(value, kept[name])
            for name, value in given.items()
        }
        return self.model_copy(update=stricter)

    def refuse_looser(self, wanted: WantedLimits) -> None:
        """Make sure that a request asks for no less than these.

        Raises:
            InvalidField: It does; the message names both numbers.
        """
        kept = self.model_dump()
        for name, value in wanted.model_dump(exclude_none=True).items():
            at_most = name in _AT_MOST
            if value > kept[name] if at_most else value < kept[name]:
                side = "at most" if at_most else "at least"
                raise InvalidField(
                    f"gates.{name}",
                    f"{value:g} is looser than this service allows; give {side} {kept[name]:g}, "
                    "or leave it out",
                )
