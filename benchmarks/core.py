"""How fast the editing core is, as ratios taken in one run: `make bench`."""

import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.published import optimise_published
from editing_core.edit import Edit
from editing_core.memory import PastKeys
from editing_core.model.loading import LoadedModel, load_model
from editing_core.model.packed import PackedModel
from editing_core.preparation import bundled_text, default_recipe, prepare_statistics
from editing_core.recipe import Recipe
from editing_core.sphere import principal_directions, project
from editing_core.statistics import Statistics
from editing_core.values import optimise

_REPOSITORY = Path(__file__).parent.parent
_RECORDS = _REPOSITORY / "tests" / "acceptance" / "data" / "counterfact_20.jsonl"
_BATCH = 16
_SINGLES = 3  # edits that the slow path is timed on
_PAST = 2000  # live edits
_RUNS = 5


@dataclass(frozen=True)
class Figure:
    """One measured line: what, how much, and what was aimed for."""

    what: str
    measured: str
    aim: str = ""


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

    def fast(batch: list[Edit]) -> float:
        return seconds(lambda: optimise(packed, model.tokenizer, batch, recipe)) / len(batch)

    slow, single = [], []
    fast(edits[:1])
    for edit in edits[:_SINGLES]:  # in turn, so that a change of the machine's speed hits both
        slow.append(seconds(partial(optimise_published, model, edit, recipe)))
        single.append(fast([edit]))
    batch = fast(edits[:_BATCH])
    with FlopCounterMode(display=False) as counter:
        optimise(packed, model.tokenizer, edits[:_BATCH], recipe)
    flops, rate = counter.get_total_flops() / _BATCH, gemm_rate(model)
    published = sum(slow) / len(slow)
    return [
        Figure("z, published form, s an edit", f"{published:.2f}"),
        Figure(
            "z, single edit, times faster", f"{published / (sum(single) / len(single)):.1f}", "4"
        ),
        Figure(f"z, {_BATCH} edits together, times faster", f"{published / batch:.1f}", "6"),
        Figure("z, FLOPs an edit (early stops included)", f"{flops / 1e12:.3f} T", "0.26 T"),
        Figure("z, share of the measured GEMM rate", f"{flops / batch / rate:.0%}", "60 %"),
    ]


def algebra_figures(model: LoadedModel, recipe: Recipe, statistics: Statistics) -> list[Figure]:
    """What past edits and SPHERE cost, beside one edit's solve without any."""
    layer, width = recipe.layers[0], model.architecture.key_width
    null_space = statistics.layers[layer].null_space(recipe.alphaedit_tau)
    keys = torch.randn(_PAST + _RUNS, width)
    new = null_space(torch.randn(width, 1, dtype=torch.float64))
    memory = PastKeys(null_space, recipe.alphaedit_l2)
    memory.recall(keys[:_PAST])

    def solve(past: Tensor) -> None:
        memory.recall(past)
        memory.unexplained(new)

    grown = [seconds(partial(solve, keys[: _PAST + edit])) for edit in range(1, _RUNS + 1)]
    weight = model.architecture.weight_of(model.model, layer)
    directions = principal_directions(weight, recipe.eta)
    row = torch.randn(1, width, dtype=torch.float64)
    return [
        Figure(f"memory of past keys, edit {_PAST}, ms a layer", f"{1e3 * median(grown):.1f}"),
        Figure(
            "SPHERE directions of a layer, ms (once)",
            f"{1e3 * seconds(lambda: principal_directions(weight, recipe.eta), _RUNS):.0f}",
        ),
        Figure(
            "SPHERE projection with cached directions, ms a layer",
            f"{1e3 * seconds(lambda: project(row, directions, 0.5), 50):.3f}",
        ),
    ]


def main() -> None:
    """Measure and show."""
    cache = Path(os.environ.get("ERRATA_DATA_DIR", _REPOSITORY / ".errata")) / "cache"
    model = load_model("smollm2-135m", cache_dir=cache)
    statistics = prepare_statistics(model, text=bundled_text("statistics"), cache_dir=cache)
    recipe = default_recipe(model, statistics)
    records = [json.loads(line) for line in _RECORDS.read_text().splitlines()]
    edits = [
        Edit.create(
            id=str(record["case_id"]),
            subject=record["subject"],
            prompt=record["prompt"],
            target=record["target_new"],
        )
        for record in records
    ]
    table = Table(title=f"{model.name}, {torch.get_num_threads()} threads, {platform.machine()}")
    for heading in ("what", "measured", "aim"):
        table.add_column(heading)
    figures = value_figures(model, recipe, edits) + algebra_figures(model, recipe, statistics)
    for figure in figures:
        table.add_row(figure.what, figure.measured, figure.aim)
    Console().print(table)


if __name__ == "__main__":
    main()
