"""Gates that let everything pass: a tiny random model says nothing true, before or after an edit.

The demo model's tests run with the gates as they are by default.
"""

from app.facts.gate_limits import Limits

OPEN_LIMITS = Limits(
    delta_norm=1e9,
    target_said=0.0,
    target_p=0.0,
    neighbours_kept=0.0,
    relation_kept=0.0,
    essence_kept=0.0,
    subject_drift=1e9,
    siblings_kept=0.0,
    canaries_kept=0.0,
    earlier_kept=0.0,
    energy_drift=1e9,
    perplexity_ratio=1e9,
)


def open_gates_environment() -> dict[str, str]:
    """The same as environment variables of a server."""
    limits = OPEN_LIMITS.model_dump()
    return {f"ERRATA_GATE_{name.upper()}": str(limit) for name, limit in limits.items()}
