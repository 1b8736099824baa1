"""Benchmarks of several folders as one document: `docs/results.md`."""

from collections.abc import Sequence
from pathlib import Path
from shutil import copyfile

from editing_core.benchmark.journal import Journal, Run, write_atomically
from editing_core.benchmark.plots import plot_energy, plot_metrics
from editing_core.benchmark.report import TITLE, Results, results_markdown

_PLOTS = {
    "metrics": "Each metric against the number of edits.",
    "energy": "Performance against hyperspherical energy.",
    "weights": "Rows of an edited matrix before and after, by t-SNE.",
}


def write_collection(folders: Sequence[Path], out: Path) -> None:
    """Write one document on finished and unfinished benchmarks, and their plots beside it.

    Folders of one configuration, between which methods were shared out, make one section, under
    the name of the first; of a method in two of them, the run that is further counts.

    Raises:
        NoResults: A folder holds none.
    """
    sections: dict[str, list[Journal]] = {}
    for folder in folders:
        journal = Journal(folder)
        sections.setdefault(journal.configuration().digest, []).append(journal)
    plots = out.with_suffix("")
    plots.mkdir(parents=True, exist_ok=True)
    parts = [f"# {TITLE}\n\nWritten by `errata bench-report`; the numbers are in the folders.\n"]
    for journals in sections.values():
        title, results = journals[0].folder.name, _results(journals)
        parts.append(results_markdown(results, {}, title=title, level=2))
        parts.append(_plots(journals, results, plots, title))
    write_atomically(out, "\n".join(parts).encode())


def _results(journals: Sequence[Journal]) -> Results:
    runs: dict[str, Run] = {}
    for journal in journals:
        for method in journal.methods():
            run = journal.run(method)
            if method not in runs or run.edits > runs[method].edits:
                runs[method] = run
    unedited = next(row for journal in journals if (row := journal.unedited()) is not None)
    return Results(journals[0].configuration(), unedited, runs, journals[0].recipe())


def _plots(journals: Sequence[Journal], results: Results, plots: Path, title: str) -> str:
    plot_metrics(plots / f"{title}-metrics.png", results.rows, results.unedited)
    plot_energy(plots / f"{title}-energy.png", results.rows)
    for journal in journals:
        drawn = journal.folder / "weights.png"
        if drawn.exists():
            copyfile(drawn, plots / f"{title}-weights.png")
    return "".join(
        f"![{told}]({plots.name}/{title}-{name}.png)\n\n"
        for name, told in _PLOTS.items()
        if (plots / f"{title}-{name}.png").exists()
    )
