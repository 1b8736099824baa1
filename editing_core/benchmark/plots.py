"""Plots of a benchmark: metrics along the edits, energy against them, weight rows on a plane."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editing_core.benchmark.correlation import spearman
from editing_core.benchmark.errors import MissingExtra
from editing_core.benchmark.row import PERCENTAGES, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = 3.2  # inches of one panel
_COLUMNS = 4
_MOST_ROWS = 1000  # of a matrix; t-SNE of more takes minutes and shows no more
_NEIGHBOURS = 30.0  # t-SNE's perplexity


def check_plots() -> None:
    """Whether plots can be made, to be known before hours of measuring.

    Raises:
        MissingExtra: matplotlib or scikit-learn is not installed.
    """
    for package in ("matplotlib", "sklearn"):
        if find_spec(package) is None:
            raise MissingExtra(
                f"plots need {package}, which is not installed; run: pip install 'errata[bench]'"
            )


def plot_metrics(path: Path, rows: Sequence[Row], unedited: Row | None) -> None:
    """Each metric against the number of edits, one line a method."""
    names = (*PERCENTAGES, "perplexity", "energy_ratio")
    figure, panels = _panels(len(names))
    for panel, name in zip(panels, names, strict=True):
        for method in _methods(rows):
            own = [row for row in rows if row.method == method]
            points = _points([unedited, *own] if unedited else own, "edits", name)
            panel.plot(*_columns(points), marker="o", markersize=3, label=method)
        panel.set_xlabel("edits")
        panel.set_title(_title(name))
        if name in PERCENTAGES:
            panel.set_ylim(-2, 102)
    panels[names.index("perplexity")].set_yscale("log")
    _save(figure, panels[0], path)


def plot_energy(path: Path, rows: Sequence[Row]) -> None:
    """Each performance against the energy ratio, over all methods, with Spearman's ρ."""
    figure, panels = _panels(len(PERCENTAGES))
    for panel, name in zip(panels, PERCENTAGES, strict=True):
        for method in _methods(rows):
            own = [row for row in rows if row.method == method]
            points = _columns(_points(own, "energy_ratio", name))
            panel.plot(*points, linestyle="", marker="o", markersize=4, label=method)
        rho = spearman(*_columns(_points(rows, "energy_ratio", name)))
        panel.set_title(_title(name) + ("" if rho is None else f" (ρ = {rho:.2f})"))
        panel.set_xlabel("energy ratio")
    _save(figure, panels[0], path)


def plot_weights(
    path: Path, before: Tensor, after: Mapping[str, Tensor], *, layer: int, seed: int
) -> None:
    """Directions of a matrix's rows before and after, on one plane a method, by t-SNE.

    Args:
        path: The image to write.
        before: The unedited matrix (d_out, d_in).
        after: Method → edited matrix.
        layer: Which layer they are of, for the title.
        seed: Of t-SNE, and of the choice of rows where there are too many.
    """
    figure, panels = _panels(len(after))
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(before), generator=generator)[:_MOST_ROWS]
    for panel, (method, matrix) in zip(panels, after.items(), strict=True):
        plane = _plane(torch.cat([before[rows], matrix[rows].to(before)]), seed)
        for half, label in ((plane[: len(rows)], "before"), (plane[len(rows) :], "after")):
            x, y = half.T.tolist()
            panel.scatter(x, y, s=3, label=label, alpha=0.6)
        panel.set_title(f"{method}, layer {layer}")
        panel.set_xticks([])
        panel.set_yticks([])
    _save(figure, panels[0], path)


def _plane(rows: Tensor, seed: int) -> Tensor:
    """Unit rows (N, d) on a plane (N, 2)."""
    from sklearn.manifold import TSNE

    unit = torch.nn.functional.normalize(rows.float().cpu(), dim=1).numpy()
    perplexity = min(_NEIGHBOURS, (len(rows) - 1) / 3)
    flat = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(unit)
    return torch.from_numpy(flat)


def _panels(count: int) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    columns = min(count, _COLUMNS)
    lines = ceil(count / columns)
    figure = Figure(figsize=(_SIZE * columns, _SIZE * lines + 0.6), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).flatten().tolist()
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def _save(figure: "Figure", first: "Axes", path: Path) -> None:
    handles, labels = first.get_legend_handles_labels()
    columns = min(len(labels), _COLUMNS)
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    figure.savefig(path, dpi=110)


def _methods(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.method for row in rows))


def _points(rows: Sequence[Row], x: str, y: str) -> list[tuple[float, float]]:
    """The pairs of rows that have both."""
    pairs = ((getattr(row, x), getattr(row, y)) for row in rows)
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _title(name: str) -> str:
    return name.replace("_", " ")
