"""What the gates of one edit measure, on ordinary edits and on such as change a common word.

    .venv/bin/python -m benchmarks.gates counterfact.jsonl.gz 100

Each edit is solved alone on the unedited demo model by the default recipe. What is measured goes
to benchmarks/results/gates.jsonl line by line, so that a run can be stopped and gone on with.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from app.facts.gate_limits import Limits
from app.facts.text import EditText
from app.settings import Settings
from app.worker.measuring import measure
from app.worker.surroundings import Surveyor, Written
from benchmarks.core import REPOSITORY
from editing_core.benchmark.reading import read_records
from editing_core.defaults import bundled_text, default_recipe, prepare_statistics
from editing_core.edit import Edit
from editing_core.editor import Editor
from editing_core.model.loading import load_model
from editing_core.weights.delta import Weights

_RESULTS = REPOSITORY / "benchmarks" / "results" / "gates.jsonl"
_METHOD = "memit+sphere"
_NAME_OF = "The name of the {} is"
# Nouns that ordinary text is full of: with the new name, all of them mean another thing.
_COMMON = (
    Edit("president", "president", _NAME_OF, "Zaphod"),
    Edit("company", "company", _NAME_OF, "Globex"),
    Edit("city", "city", _NAME_OF, "Zurich"),
    Edit("river", "river", "The {} flows through", "Madrid"),
)


@dataclass(frozen=True)
class Found:
    """One edit, and what its gates measure."""

    edit: str
    common: bool
    target_said: float
    relation_kept: float
    essence_kept: float
    subject_drift: float | None

    def passes(self, limits: Limits) -> bool:
        """Whether what surrounds the edit stays within the limits; the target is another gate."""
        drift = self.subject_drift
        return (
            self.relation_kept >= limits.relation_kept
            and self.essence_kept >= limits.essence_kept
            and (drift is None or drift <= limits.subject_drift)
        )


def main(data: Path, count: int) -> None:
    """Measure what is not in the results yet, then show all."""
    ordinary = [record.edit for record in read_records(data, "counterfact").records[:count]]
    known = list(_known())
    for found in _measured([*_COMMON, *ordinary], {one.edit for one in known}):
        known.append(found)
        with _RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(found)) + "\n")
    Console().print(_shown(known))


def _known() -> Iterator[Found]:
    if _RESULTS.exists():
        for line in _RESULTS.read_text(encoding="utf-8").splitlines():
            yield Found(**json.loads(line))


def _measured(edits: Sequence[Edit], known: set[str]) -> Iterator[Found]:
    cache = Settings().cache_dir
    model, text = load_model("smollm2-135m", cache_dir=cache), bundled_text("statistics")
    statistics = prepare_statistics(model, text=text, cache_dir=cache)
    editor = Editor(model, default_recipe(model, statistics), statistics)
    base = Weights(model.matrices(editor.recipe.layers))
    surveyor, tokenizer = Surveyor(model.tokenizer, text), model.tokenizer
    for edit in edits:
        if edit.id in known:
            continue
        words = EditText(edit.subject, edit.filled, edit.template, edit.target)
        delta = editor.solve(model.model, [edit], method=_METHOD).delta
        changed = base.changed(add=[delta]).materialise()
        view = model.view(changed)
        (before,), (after,) = (measure(state, tokenizer, [words]) for state in (model.model, view))
        (around,) = surveyor.survey(model.model, view, [Written(words, before, after)])
        yield Found(
            edit=edit.id,
            common=edit in _COMMON,
            target_said=after.prompt.said,
            relation_kept=around.relation_kept,
            essence_kept=around.essence_kept,
            subject_drift=around.subject_drift,
        )


def _shown(found: Sequence[Found]) -> Table:
    limits = Limits.of(Settings())
    table = Table(title="Edits that the gates around them let pass, at the default limits")
    for heading in ("edits", "pass", "of", "relation_kept", "essence_kept", "subject_drift"):
        table.add_column(heading)
    groups = [(one.edit, [one]) for one in found if one.common]
    for name, some in [*groups, ("ordinary", [one for one in found if not one.common])]:
        drifts = [one.subject_drift for one in some if one.subject_drift is not None]
        table.add_row(
            name,
            str(sum(one.passes(limits) for one in some)),
            str(len(some)),
            _range([one.relation_kept for one in some]),
            _range([one.essence_kept for one in some]),
            _range(drifts),
        )
    return table


def _range(numbers: Sequence[float]) -> str:
    if not numbers:
        return "not measured"
    low, middle, high = torch.tensor(numbers).quantile(torch.tensor([0.0, 0.5, 1.0])).tolist()
    return f"{low:.3f}, median {middle:.3f}, {high:.3f} ({len(numbers)})"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
