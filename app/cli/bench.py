"""`errata bench`: what to run, where it ran, and what it leaves behind."""

import hashlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import transformers

from app.resident.opening import Prepared
from app.resident.preparation import prepare
from app.settings import Settings
from editing_core.benchmark.bench import Bench, Subject
from editing_core.benchmark.configuration import Configuration
from editing_core.benchmark.errors import OtherConfiguration
from editing_core.benchmark.journal import Journal, Run, write_atomically
from editing_core.benchmark.plots import check_plots, plot_energy, plot_metrics, plot_weights
from editing_core.benchmark.reading import Reading, read_records
from editing_core.benchmark.report import Results, results_markdown
from editing_core.benchmark.row import Provenance, rows_to_json
from editing_core.defaults import bundled_text
from editing_core.methods import method_named
from editing_core.progress import Progress
from editing_core.recipe import Recipe

_UNKNOWN = "unknown"


@dataclass(frozen=True)
class BenchOptions:
    """What the command line asks for.

    Attributes:
        data: File of the records.
        form: Its format.
        methods: The methods, in the order they run.
        out: Folder of results.
        edits: Records to edit.
        batch_size: Edits solved together.
        evaluate_every: Edits from one measurement to the next.
        limit_evaluation: Most records measured before the end.
        seed: Of what is drawn.
        reference: Text for perplexity; None for the bundled one.
        recipe: The recipe to edit by; None for that of the data directory.
        chat: Whether contexts in the form of a conversation are used, where the recipe has any.
        patience: Early stop of values; None for what the recipe says.
        command: The command line itself, for the report.
    """

    data: Path
    form: str
    methods: tuple[str, ...]
    out: Path
    edits: int
    batch_size: int
    evaluate_every: int
    limit_evaluation: int | None
    seed: int
    reference: str | None
    recipe: Recipe | None
    chat: bool
    patience: int | None
    command: str


def run_bench(settings: Settings, options: BenchOptions, progress: Progress) -> str:
    """Run what is not done yet and write the results; returns ``results.json``.

    Raises:
        EditingError: The data, a method's name, the model or the folder will not do.
    """
    check_plots()
    for method in options.methods:
        method_named(method)
    reading = read_records(options.data, options.form)
    reading.first(options.edits)  # too few records: to be known before the model is loaded
    prepared = prepare(settings, progress)
    prepared = replace(prepared, recipe=_recipe(options, prepared))
    reference = bundled_text("reference") if options.reference is None else options.reference
    subject = Subject(
        base=prepared.base,
        editor=prepared.editor,
        layers=prepared.recipe.layers,
        records=reading.first(options.edits),
        reference=reference,
        provenance=Provenance(_commit(), _machine(), options.command),
    )
    configuration = _configuration(options, prepared, reference)
    journal = Journal(options.out)
    with journal.opened(configuration, prepared.recipe):
        bench = Bench(subject, configuration, journal, progress)
        sitting = _Sitting(options, reading, subject, configuration, journal, bench)
        bench.unedited()
        for method in options.methods:
            bench.run(method)
            sitting.write_results()
        sitting.write_plots()
    return (options.out / "results.json").read_text(encoding="utf-8")


def _recipe(options: BenchOptions, prepared: Prepared) -> Recipe:
    recipe = prepared.recipe if options.recipe is None else options.recipe
    if recipe.statistics_digest != prepared.statistics.digest:
        raise OtherConfiguration(
            f"the recipe is for statistics {recipe.statistics_digest[:16]}, the model has "
            f"{prepared.statistics.digest[:16]}; give one that was made for this model"
        )
    if options.patience is not None:
        recipe = replace(recipe, value=replace(recipe.value, patience=options.patience))
    return recipe if options.chat else recipe.without_chat()


def _configuration(options: BenchOptions, prepared: Prepared, reference: str) -> Configuration:
    return Configuration(
        data_digest=hashlib.sha256(options.data.read_bytes()).hexdigest(),
        form=options.form,
        edits=options.edits,
        batch_size=options.batch_size,
        evaluate_every=options.evaluate_every,
        limit_evaluation=options.limit_evaluation,
        seed=options.seed,
        model=prepared.base.name,
        model_digest=prepared.base.digest,
        recipe_digest=prepared.recipe.digest,
        reference_digest=hashlib.sha256(reference.encode()).hexdigest(),
    )


@dataclass(frozen=True)
class _Sitting:
    """One call of the command on an open journal, and what it leaves behind."""

    options: BenchOptions
    reading: Reading
    subject: Subject
    configuration: Configuration
    journal: Journal
    bench: Bench

    @property
    def runs(self) -> dict[str, Run]:
        """How far the methods asked for are, then those of earlier sittings."""
        methods = dict.fromkeys([*self.options.methods, *self.journal.methods()])
        return {method: self.journal.run(method) for method in methods}

    def write_results(self) -> None:
        """Write ``results.json`` and ``results.md``."""
        out, configuration = self.options.out, self.configuration
        results = Results(configuration, self.bench.unedited(), self.runs, self.journal.recipe())
        document = results_markdown(results, self._circumstances())
        write_atomically(out / "results.json", rows_to_json(results.rows).encode())
        write_atomically(out / "results.md", document.encode())

    def write_plots(self) -> None:
        """Write ``metrics.png``, ``energy.png`` and ``weights.png``.

        The last shows methods whose factors are here; they need not be, once a run is done.
        """
        out, subject, runs = self.options.out, self.subject, self.runs
        rows = [row for run in runs.values() for row in run.rows]
        plot_metrics(out / "metrics.png", rows, self.bench.unedited())
        plot_energy(out / "energy.png", rows)
        layer = subject.layers[min(1, len(subject.layers) - 1)]  # the one that all methods edit
        after = {
            method: self.bench.weights_after(method)[layer]
            for method in runs
            if self.journal.has_deltas(method)
        }
        if not after:
            return  # everything was edited elsewhere
        before = subject.weights[layer]
        plot_weights(out / "weights.png", before, after, layer=layer, seed=self.options.seed)

    def _circumstances(self) -> dict[str, str]:
        reading, configuration = self.reading, self.configuration
        return {
            "data": f"{self.options.data.name} (`{configuration.data_digest[:16]}`), "
            f"{self.options.form}; {len(reading.records)} usable records, "
            f"{reading.conflicting} conflicting and {reading.unusable} unusable dropped",
            "reference text": f"{len(self.subject.reference)} characters "
            f"(`{configuration.reference_digest[:16]}`)",
        }


def _commit() -> str:
    """Version of this code: the commit of its checkout, marked if files differ from it."""
    git = shutil.which("git")
    if git is None:
        return _UNKNOWN
    command = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() or _UNKNOWN


def _machine() -> str:
    return (
        f"{_processor()}, {os.cpu_count()} cores, torch {torch.__version__} on "
        f"{torch.get_num_threads()} threads, transformers {transformers.__version__}, "
        f"Python {platform.python_version()}, {platform.system()}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
