"""How fast the editing core is, as ratios taken in one run: `make bench`."""

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from app.kit.permissions import keep_to_ourselves
from benchmarks.memory import PeakMemory
from benchmarks.published import optimise_published
from editing_core.defaults import bundled_text, default_recipe, prepare_statistics
from editing_core.edit import Edit
from editing_core.editor import Editor
from editing_core.methods.alphaedit import AlphaEdit
from editing_core.methods.base import LayerProblem
from editing_core.model.loading import LoadedModel, load_model
from editing_core.model.packed import PackedModel
from editing_core.recipe import Recipe
from editing_core.sphere import principal_directions
from editing_core.statistics import Statistics
from editing_core.values import optimise

REPOSITORY = Path(__file__).parent.parent
RECORDS = REPOSITORY / "tests" / "acceptance" / "data" / "counterfact_20.jsonl"
_BATCH = 16
_METHOD = "alphaedit+sphere"
_SINGLES = 3  # edits that the slow path is timed on
_PAST = 2000  # live edits
_RUNS = 5


def _linear_flops(x: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
    return 2 * x.numel() * weight[0]


FLOPS = {torch.ops.mkldnn._linear_pointwise: _linear_flops}


@dataclass(frozen=True)
class Figure:
    """One measured line: what, how much, and what was aimed for."""

    what: str
    measured: str
    aim: str = ""


def show(console: Console, title: str, figures: Sequence[Figure]) -> None:
    """Print figures as a table."""
    table = Table(title=title)
    for heading in ("what", "measured", "aim"):
        table.add_column(heading)
    for figure in figures:
        table.add_row(figure.what, figure.measured, figure.aim)
    console.print(table)


def seconds(work: Callable[[], object], runs: int = 1) -> float:
    """Median wall time of ``work`` over ``runs``."""
    found = []
    for _ in range(runs):
        started = perf_counter()
        work()
        found.append(perf_counter() - started)
    return median(found)


def gemm_rate(model: LoadedModel) -> float:
    """FLOP/s of the largest product of a step: positions × width by width × key width."""
    rows, wide, width = 512, model.architecture.key_width, model.architecture.width
    left, right = torch.randn(rows, width), torch.randn(width, wide)
    return 2 * rows * width * wide / seconds(lambda: left @ right, runs=50)


def value_figures(model: LoadedModel, recipe: Recipe, edits: list[Edit]) -> list[Figure]:
    """The z optimisation against the published way, alone and in a batch."""
    packed = PackedModel(model.model, model.architecture)
    whole = replace(recipe, value=replace(recipe.value, patience=None))

    def fast(batch: list[Edit], recipe: Recipe = whole) -> float:
        return seconds(lambda: optimise(packed, model.tokenizer, batch, recipe)) / len(batch)

    slow, single = [], []
    fast(edits[:1])
    for edit in edits[:_SINGLES]:  # in turn, so that a change of the machine's speed hits both
        slow.append(seconds(partial(optimise_published, model, edit, whole)))
        single.append(fast([edit]))
    batch = fast(edits[:_BATCH])
    early = fast(edits[:_BATCH], recipe)
    counter = FlopCounterMode(display=False, custom_mapping=FLOPS)
    with counter:
        optimise(packed, model.tokenizer, edits[:_BATCH], whole)
    flops, rate = counter.get_total_flops() / _BATCH, gemm_rate(model)
    published = sum(slow) / len(slow)
    return [
        Figure("z, published form, s an edit", f"{published:.2f}"),
        Figure(
            "z, single edit, times faster", f"{published / (sum(single) / len(single)):.1f}", "4"
        ),
        Figure(f"z, {_BATCH} edits together, times faster", f"{published / batch:.1f}", "6"),
        Figure(
            f"z, {_BATCH} edits, stopping early, times faster", f"{published / early:.1f}", "10"
        ),
        Figure("z, FLOPs an edit, as published", f"{flops / 1e12:.3f} T", "0.26 T"),
        Figure("z, share of the measured GEMM rate", f"{flops / batch / rate:.0%}", "60 %"),
    ]


def algebra_figures(model: LoadedModel, recipe: Recipe, statistics: Statistics) -> list[Figure]:
    """What the solve of one layer costs with few and with many edits before, in batches."""
    layer, width = recipe.layers[0], model.architecture.key_width
    moment, method = statistics.layers[layer], AlphaEdit()
    keys = torch.randn(_PAST + (_RUNS + 1) * _BATCH, width).double()
    memory = method.memory(moment, recipe)

    def solve(past: int) -> None:
        new = keys[past : past + _BATCH].T
        problem = LayerProblem(new, new, keys[:past].T, moment, memory=memory)
        method.adjusted_keys(problem, recipe)

    def next_batches(past: int) -> float:
        solve(past)  # what came before is remembered from here on
        batches = range(past + _BATCH, past + (_RUNS + 1) * _BATCH, _BATCH)
        return median(seconds(partial(solve, batch)) for batch in batches) / _BATCH

    early, late = next_batches(0), next_batches(_PAST)
    weight = model.architecture.weight_of(model.model, layer)
    find = seconds(lambda: principal_directions(weight, recipe.sphere.eta), _RUNS)
    return [
        Figure("solve, first edits, ms an edit and layer", f"{1e3 * early:.2f}"),
        Figure(f"solve, edit {_PAST} against the first, times", f"{late / early:.1f}", "under 2"),
        Figure("SPHERE directions, ms a layer (once)", f"{1e3 * find:.0f}"),
    ]


def batch_figures(
    model: LoadedModel, recipe: Recipe, statistics: Statistics, edits: list[Edit]
) -> list[Figure]:
    """One large batch by the whole editor: time, memory, bytes."""
    editor = Editor(model, recipe, statistics)
    editor.solve(model.model, edits[:1], method=_METHOD)  # finds SPHERE's directions
    with PeakMemory() as memory:
        solution = editor.solve(model.model, edits, method=_METHOD)
    took = solution.seconds
    total = took.values + took.keys + took.solve + took.projection
    stored = len(solution.delta.to_bytes())
    keys = sum(part.keys.nbytes for part in solution.delta.layers.values())
    count = len(edits)
    return [
        Figure(f"batch of {count}, s an edit", f"{total / count:.2f}"),
        Figure("SPHERE, cached directions, share of it", f"{took.projection / total:.2%}", "0.5 %"),
        Figure(
            f"batch of {count}, peak extra memory, GB", f"{memory.extra / 1e9:.2f}", "under 1.5"
        ),
        Figure("delta on disk, factors, kB an edit", f"{(stored - keys) / count / 1e3:.1f}", "45"),
        Figure("delta on disk, with keys, kB an edit", f"{stored / count / 1e3:.1f}", "80"),
    ]


def _records() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]


def _edits(numerals: Sequence[str] = ("",)) -> list[Edit]:
    """Twenty facts, each of as many namesakes as there are numerals."""
    return [
        Edit.create(
            id=f"{record['case_id']}{numeral}",
            subject=record["subject"] + numeral,
            prompt=record["prompt"],
            target=record["target_new"],
        )
        for numeral in numerals
        for record in _records()
    ]


def main() -> None:
    """Measure and show."""
    keep_to_ourselves()
    cache = Path(os.environ.get("ERRATA_DATA_DIR", REPOSITORY / ".errata")) / "cache"
    model = load_model("smollm2-135m", cache_dir=cache)
    statistics = prepare_statistics(model, text=bundled_text("statistics"), cache_dir=cache)
    recipe = default_recipe(model, statistics, chat=False)  # contexts as published
    hundred = _edits(["", " II", " III", " IV", " V"])
    figures = (
        value_figures(model, recipe, _edits())
        + algebra_figures(model, recipe, statistics)
        + batch_figures(model, recipe, statistics, hundred)
    )
    title = f"{model.name}, {torch.get_num_threads()} threads, {platform.machine()}"
    show(Console(), title, figures)


if __name__ == "__main__":
    main()
