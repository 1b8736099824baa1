"""`results.md`: what was measured, by which command, on which machine, flattering or not."""

from collections.abc import Mapping, Sequence

from editing_core.evaluation.configuration import Configuration
from editing_core.evaluation.correlation import spearman
from editing_core.evaluation.journal import Refusal
from editing_core.evaluation.row import PERCENTAGES, Row

_COLUMNS = {
    "method": "method",
    "edits": "edits",
    "efficacy": "efficacy",
    "efficacy_accuracy": "acc.",
    "generalization": "generalization",
    "generalization_accuracy": "acc.",
    "specificity": "specificity",
    "specificity_accuracy": "acc.",
    "chat_efficacy": "in chat",
    "chat_efficacy_accuracy": "acc.",
    "perplexity": "perplexity",
    "energy_ratio": "HE ratio",
    "seconds_per_edit": "s/edit",
    "measured": "records",
    "refused": "refused",
}
_DIGITS = {"perplexity": 2, "energy_ratio": 5, "seconds_per_edit": 2}
_MEANING = {
    True: "Efficacy, generalization and specificity are success: P(new) > P(true), the reverse on "
    "neighbours, by the geometric mean over tokens.",
    False: "Efficacy, generalization and specificity are the share of target tokens that are the "
    "arg-max, specificity against the gold answer.",
}


def results_markdown(
    rows: Sequence[Row],
    unedited: Row,
    configuration: Configuration,
    circumstances: Mapping[str, str],
    refusals: Mapping[str, Sequence[Refusal]],
) -> str:
    """The whole document.

    Args:
        rows: The measurements of all methods.
        unedited: The measurement of the base model.
        configuration: What was measured.
        circumstances: More to tell: command, commit, machine, and so on.
        refusals: Method → edits it left out.
    """
    parts = [
        "# Results of `errata bench`\n",
        _circumstances(configuration, circumstances),
        _explanation(configuration),
        _table([unedited, *rows]),
        _seconds([row for row in rows if row.edits == configuration.edits]),
        _energy(rows),
        _refusals(refusals),
    ]
    return "\n".join(part for part in parts if part)


def _circumstances(configuration: Configuration, circumstances: Mapping[str, str]) -> str:
    told = {
        **circumstances,
        "model": f"{configuration.model} (`{configuration.model_digest[:16]}`)",
        "recipe": f"`{configuration.recipe_digest[:16]}`",
        "edits": f"{configuration.edits}, solved {configuration.batch_size} at a time",
        "seed": str(configuration.seed),
    }
    return "\n".join(f"- **{name}**: {value}" for name, value in told.items()) + "\n"


def _explanation(configuration: Configuration) -> str:
    limit = configuration.limit_evaluation
    sampled = (
        ""
        if limit is None
        else f" Before the last edit, at most {limit} of them are measured, drawn by the seed."
    )
    return (
        f"Percentages, on the records edited so far, after all of those edits.{sampled} "
        f"{_MEANING[configuration.form.startswith('counterfact')]} *acc.* is accuracy: all target "
        "tokens are the arg-max under teacher forcing (the true answer on neighbours). *in chat* "
        "is efficacy with the prompt as a user's message and the target as the answer. *HE ratio* "
        "is the hyperspherical energy of the edited matrices relative to the unedited ones. "
        "*s/edit* is editing alone, without measuring.\n"
    )


def _table(rows: Sequence[Row]) -> str:
    return _drawn(
        list(_COLUMNS.values()), [[_cell(row, name) for name in _COLUMNS] for row in rows]
    )


def _cell(row: Row, name: str) -> str:
    value = getattr(row, name)
    if isinstance(value, float):
        return f"{value:.{_DIGITS.get(name, 1)}f}"
    return "–" if value is None else str(value)


def _seconds(rows: Sequence[Row]) -> str:
    phases = list(dict.fromkeys(phase for row in rows for phase in row.seconds))
    if not phases:
        return ""
    lines = [
        [row.method, *(f"{row.seconds.get(phase, 0.0):.1f}" for phase in phases)] for row in rows
    ]
    return "## Seconds in all, by phase\n\n" + _drawn(["method", *phases], lines)


def _energy(rows: Sequence[Row]) -> str:
    lines = []
    for name in PERCENTAGES:
        pairs = [(r.energy_ratio, value) for r in rows if (value := getattr(r, name)) is not None]
        performance = [value for _, value in pairs]
        ratio = spearman([ratio for ratio, _ in pairs], performance)
        drift = spearman([abs(ratio - 1) for ratio, _ in pairs], performance)
        if ratio is not None or drift is not None:
            lines.append([name.replace("_", " "), _rho(ratio), _rho(drift)])
    if not lines:
        return ""
    heading = "## Energy and performance: Spearman's ρ over all rows\n\n"
    return heading + _drawn(["metric", "with HE ratio", "with its distance from 1"], lines)


def _rho(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _refusals(refusals: Mapping[str, Sequence[Refusal]]) -> str:
    lines = [
        f"- {method}: {len(left_out)} edits could not be solved, such as {left_out[0].edit}: "
        f"{left_out[0].reason}"
        for method, left_out in refusals.items()
        if left_out
    ]
    return "## Edits left out\n\n" + "\n".join(lines) + "\n" if lines else ""


def _drawn(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    ruler = ["---", *("---:" for _ in headings[1:])]
    return "".join(f"| {' | '.join(line)} |\n" for line in (headings, ruler, *lines))
