"""`results.md`: what was measured, by which command, on which machine, flattering or not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from editing_core.benchmark.configuration import Configuration
from editing_core.benchmark.correlation import spearman
from editing_core.benchmark.journal import Run
from editing_core.benchmark.row import PERCENTAGES, Row
from editing_core.recipe import Recipe

TITLE = "Results of `errata bench`"

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


@dataclass(frozen=True)
class Results:
    """One benchmark as far as it is done.

    Attributes:
        configuration: What was measured.
        unedited: The measurement of the base model.
        runs: Method → how far it is.
        recipe: What edits were solved by.
    """

    configuration: Configuration
    unedited: Row
    runs: Mapping[str, Run]
    recipe: Recipe

    @property
    def rows(self) -> list[Row]:
        """The measurements of all methods."""
        return [row for run in self.runs.values() for row in run.rows]


def results_markdown(
    results: Results, circumstances: Mapping[str, str], *, title: str = TITLE, level: int = 1
) -> str:
    """The whole document, or, at a lower heading ``level``, its part in a larger one.

    Args:
        results: What was measured.
        circumstances: More to tell: the data, and so on.
        title: Its heading.
        level: Level of that heading.
    """
    configuration, rows = results.configuration, results.rows
    last = [row for row in rows if row.edits == configuration.edits]
    before = [row for row in rows if row.edits < configuration.edits]
    inner = "#" * (level + 1)
    parts = [
        f"{'#' * level} {title}\n",
        _circumstances(results, circumstances),
        _explanation(configuration),
        _table([results.unedited, *last]),
        f"{inner} On the way\n\n{_table(before)}" if before else "",
        _seconds(last, inner),
        _energy(rows, inner),
        _refusals(results.runs, inner),
    ]
    return "\n".join(part for part in parts if part)


def _circumstances(results: Results, circumstances: Mapping[str, str]) -> str:
    configuration, recipe = results.configuration, results.recipe
    measured = [results.unedited, *results.rows]
    patience = recipe.value.patience
    early = "" if patience is None else f", patience {patience}"
    chat = "with" if recipe != recipe.without_chat() else "without"
    layers = ", ".join(map(str, recipe.layers))
    told = {
        "command": _distinct(row.command for row in measured),
        "commit": _distinct(row.commit for row in measured),
        "machine": ", ".join(dict.fromkeys(row.machine for row in measured if row.machine)),
        **circumstances,
        "model": f"{configuration.model} (`{configuration.model_digest[:16]}`)",
        "recipe": f"`{configuration.recipe_digest[:16]}`: layers {layers}, at most "
        f"{recipe.value.steps} steps to a value{early}, contexts {chat} a conversation",
        "edits": f"{configuration.edits}, solved {configuration.batch_size} at a time",
        "seed": str(configuration.seed),
    }
    return "\n".join(f"- **{name}**: {value}" for name, value in told.items()) + "\n"


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in dict.fromkeys(values) if value)


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
    """One line a row; a column in which no row has anything is left out."""
    names = [name for name in _COLUMNS if any(getattr(row, name) is not None for row in rows)]
    headings = [_COLUMNS[name] for name in names]
    return _drawn(headings, [[_cell(row, name) for name in names] for row in rows])


def _cell(row: Row, name: str) -> str:
    value = getattr(row, name)
    if isinstance(value, float):
        return f"{value:.{_DIGITS.get(name, 1)}f}"
    return "–" if value is None else str(value)


def _seconds(rows: Sequence[Row], heading: str) -> str:
    phases = list(dict.fromkeys(phase for row in rows for phase in row.seconds))
    if not phases:
        return ""
    lines = [
        [row.method, *(f"{row.seconds.get(phase, 0.0):.1f}" for phase in phases)] for row in rows
    ]
    return f"{heading} Seconds in all, by phase\n\n" + _drawn(["method", *phases], lines)


def _energy(rows: Sequence[Row], heading: str) -> str:
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
    title = f"{heading} Energy and performance: Spearman's ρ over all rows\n\n"
    return title + _drawn(["metric", "with HE ratio", "with its distance from 1"], lines)


def _rho(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _refusals(runs: Mapping[str, Run], heading: str) -> str:
    lines = []
    for method, run in runs.items():
        left_out = [refusal for batch in run.batches for refusal in batch.refusals]
        if left_out:
            lines.append(
                f"- {method}: {len(left_out)} edits could not be solved, such as "
                f"{left_out[0].edit}: {left_out[0].reason}"
            )
    return f"{heading} Edits left out\n\n" + "\n".join(lines) + "\n" if lines else ""


def _drawn(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    ruler = ["---", *("---:" for _ in headings[1:])]
    return "".join(f"| {' | '.join(line)} |\n" for line in (headings, ruler, *lines))
