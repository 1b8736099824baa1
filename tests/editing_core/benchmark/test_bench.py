from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from editing_core.benchmark.bench import Bench, Subject
from editing_core.benchmark.collection import write_collection
from editing_core.benchmark.configuration import Configuration
from editing_core.benchmark.errors import FolderInUse, NoResults, OtherConfiguration
from editing_core.benchmark.journal import Batch, Journal, Refusal, Run
from editing_core.benchmark.metrics import measure
from editing_core.benchmark.report import Results, results_markdown
from editing_core.benchmark.row import Provenance
from editing_core.defaults import default_layers, default_recipe
from editing_core.editor import Editor
from editing_core.errors import UnknownMethod
from editing_core.measures.energy import hyperspherical_energy
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from editing_core.recipe import Recipe
from editing_core.statistics import collect
from editing_core.weights.delta import Delta, Weights, keys_of
from tests.support.records import compared

_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 200


@pytest.fixture(scope="module")
def subject(tiny_model: LoadedModel) -> Subject:
    statistics = collect(tiny_model, default_layers(tiny_model), _TEXT)
    recipe = default_recipe(tiny_model, statistics)
    return Subject(
        base=tiny_model,
        editor=lambda: Editor(tiny_model, recipe, statistics),
        layers=recipe.layers,
        records=compared(),
        reference=_TEXT[:400],
        provenance=Provenance("test", "a machine", "errata bench"),
    )


CONFIGURATION = Configuration(
    data_digest="d",
    form="counterfact",
    edits=5,
    batch_size=2,
    evaluate_every=3,
    limit_evaluation=3,
    seed=0,
    model="tiny",
    model_digest="m",
    recipe_digest="r",
    reference_digest="t",
)


RECIPE = Recipe(model_digest="m", statistics_digest="s", layers=(0,), contexts=(("{}",),))


@contextmanager
def opened(subject: Subject, folder: Path) -> Iterator[Bench]:
    journal = Journal(folder)
    with journal.opened(CONFIGURATION, RECIPE):
        yield Bench(subject, CONFIGURATION, journal)


def with_lost_record(subject: Subject) -> Subject:
    """The third of the records cannot be edited: its subject has no tokens."""
    records = [*subject.records]
    records[2] = replace(records[2], edit=replace(records[2].edit, subject=""))
    return replace(subject, records=tuple(records))


def test_a_row_is_what_the_core_makes_of_the_same_batches_by_hand(
    subject: Subject, tmp_path: Path
) -> None:
    with opened(subject, tmp_path) as bench:
        rows = bench.run("alphaedit+sphere")
    base, editor = subject.base, subject.editor()
    edits = [record.edit for record in subject.records]
    deltas: list[Delta] = []
    weights, view = Weights(subject.weights), base.model
    for first in (0, 2, 4):
        solution = editor.solve(
            view, edits[first : first + 2], method="alphaedit+sphere", past_keys=keys_of(deltas)
        )
        deltas.append(solution.delta)
        weights = weights.changed(add=[solution.delta])
        view = base.architecture.view_with(base.model, weights.materialise())
    assert [row.edits for row in rows] == [4, 5]
    found = measure(PackedModel(view, base.architecture), base.tokenizer, subject.records)
    assert (rows[-1].efficacy, rows[-1].specificity) == (found.efficacy, found.specificity)
    ratios = [
        hyperspherical_energy(after) / hyperspherical_energy(subject.weights[layer])
        for layer, after in weights.materialise().items()
    ]
    assert rows[-1].energy_ratio == pytest.approx(sum(ratios) / len(ratios))
    assert rows[-1].energy_ratio != 1


def test_the_unedited_model_is_measured_on_all_records_and_changes_nothing(
    subject: Subject, tmp_path: Path
) -> None:
    with opened(subject, tmp_path) as bench:
        row = bench.unedited()
        assert (row.edits, row.measured, row.energy_ratio) == (0, 5, 1.0)
        assert bench.unedited() == row


def test_an_edit_that_cannot_be_solved_is_left_out_alone_and_told_of(
    subject: Subject, tmp_path: Path
) -> None:
    lost, journal = with_lost_record(subject), Journal(tmp_path)
    configuration = replace(CONFIGURATION, batch_size=5, limit_evaluation=None)
    with journal.opened(configuration, RECIPE):
        (row,) = Bench(lost, configuration, journal).run("memit")
        (batch,) = journal.run("memit").batches
        solved = [edit for delta in journal.deltas("memit") for edit in delta.edits]
    assert (row.edits, row.refused, row.measured) == (5, 1, 5)
    assert [refusal.edit for refusal in batch.refusals] == ["2"]
    assert "no tokens" in batch.refusals[0].reason
    assert solved == ["0", "1", "3", "4"]


def test_a_folder_is_held_by_one_process_and_one_configuration(tmp_path: Path) -> None:
    held = Journal(tmp_path).opened(CONFIGURATION, RECIPE)
    with held, pytest.raises(FolderInUse), Journal(tmp_path).opened(CONFIGURATION, RECIPE):
        pass
    other = replace(CONFIGURATION, batch_size=7, form="zsre")
    with (
        pytest.raises(OtherConfiguration, match="form is 'zsre', there 'counterfact'; batch_size"),
        Journal(tmp_path).opened(other, RECIPE),
    ):
        pass


def test_an_unknown_method_is_refused(subject: Subject, tmp_path: Path) -> None:
    with opened(subject, tmp_path) as bench, pytest.raises(UnknownMethod):
        bench.run("memitt")


def test_before_the_end_a_sample_drawn_by_the_seed_is_measured() -> None:
    records = compared()
    assert CONFIGURATION.sample(records) == records
    sampled = CONFIGURATION.sample(records[:4])
    assert len(sampled) == 3
    assert sampled == CONFIGURATION.sample(records[:4])
    assert list(sampled) == sorted(sampled, key=records.index)
    assert {replace(CONFIGURATION, seed=seed).sample(records[:4]) for seed in range(20)} > {sampled}


@pytest.mark.parametrize(
    ("batch_size", "expected"), [(1, [3, 6, 7]), (2, [4, 6, 7]), (5, [5, 7]), (7, [7])]
)
def test_measurements_are_due_at_the_first_batch_beyond_each_step(
    batch_size: int, expected: list[int]
) -> None:
    configuration = replace(CONFIGURATION, edits=7)
    ends = [*range(batch_size, 7, batch_size), 7]
    due = [
        now
        for before, now in zip([0, *ends], ends, strict=False)
        if configuration.measured_after(before, now)
    ]
    assert due == expected


def test_the_report_tells_what_was_left_out_and_draws_missing_numbers_as_a_dash(
    subject: Subject, tmp_path: Path
) -> None:
    with opened(subject, tmp_path) as bench:
        row = bench.unedited()
    broken = replace(row, method="memit", edits=5, perplexity=None, refused=1)
    batch = Batch(5, (), (Refusal("7", "too far"),), {})
    results = Results(CONFIGURATION, row, {"memit": Run((batch,), (broken,))}, RECIPE)
    told = results_markdown(results, {})
    assert "| memit | 5 |" in told
    assert "| – |" in told
    assert "- memit: 1 edits could not be solved, such as 7: too far" in told


def test_folders_of_one_configuration_become_one_section(subject: Subject, tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("main", "more", "other"))
    for folder, method in ((one, "memit"), (two, "alphaedit")):
        with opened(subject, folder) as bench:
            bench.unedited()
            bench.run(method)
    other = replace(CONFIGURATION, edits=2, evaluate_every=2)
    journal = Journal(three)
    with journal.opened(other, RECIPE):
        bench = Bench(subject, other, journal)
        bench.unedited()
        bench.run("memit")
    for factors in tmp_path.glob("*/runs/*/*.safetensors"):
        factors.unlink()  # what is told needs none of them
    out = tmp_path / "docs" / "results.md"
    write_collection([one, two, three], out)
    told = out.read_text()
    assert [line for line in told.splitlines() if line.startswith("## ")] == ["## main", "## other"]
    main, rest = told.split("## other")
    assert all(f"| {method} | 5 |" in main for method in ("memit", "alphaedit"))
    assert "| memit | 2 |" in rest
    assert "alphaedit" not in rest
    for part in (main, rest):
        assert "**machine**: a machine" in part
    for name in ("main", "other"):
        assert f"](results/{name}-metrics.png)" in told
        assert (out.parent / "results" / f"{name}-energy.png").exists()


def test_a_folder_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoResults, match=str(tmp_path)):
        write_collection([tmp_path], tmp_path / "results.md")
