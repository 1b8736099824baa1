"""Gates that let everything pass: a tiny random model says nothing true, before or after an edit.

The demo model's tests run with the gates as they are by default.
"""

OPEN_GATES = {
    "gate_delta_norm": 1e9,
    "gate_target_said": 0.0,
    "gate_target_p": 0.0,
    "gate_neighbours_kept": 0.0,
    "gate_canaries_kept": 0.0,
    "gate_earlier_kept": 0.0,
    "gate_energy_drift": 1e9,
    "gate_perplexity_ratio": 1e9,
}


def open_gates_environment() -> dict[str, str]:
    """The same as environment variables of a server."""
    return {f"ERRATA_{name.upper()}": str(value) for name, value in OPEN_GATES.items()}
