"""Sequential editing, measured: batch after batch by one method into one model."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import nan
from time import perf_counter
from typing import TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from editing_core.benchmark.configuration import Configuration
from editing_core.benchmark.journal import Batch, Journal, Refusal, Run
from editing_core.benchmark.metrics import Metrics, measure
from editing_core.benchmark.record import Record
from editing_core.benchmark.row import Provenance, Row, finite
from editing_core.edit import Edit
from editing_core.editor import Editor
from editing_core.errors import GridOverflow, InvalidEdit, KeyOutsideNullSpace, NonFinite
from editing_core.measures.energy import hyperspherical_energy
from editing_core.measures.perplexity import perplexity
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from editing_core.progress import Progress, silent
from editing_core.weights.delta import Delta, Weights, keys_of

UNEDITED = "unedited"

# What is wrong with an edit, or with a model that edits have broken; other errors end the run.
_UNSOLVABLE = (InvalidEdit, KeyOutsideNullSpace, NonFinite, GridOverflow)

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """What is edited and measured.

    Attributes:
        base: The model.
        editor: Makes an editor of it; each method gets its own, for an editor remembers.
        layers: All layers that some method edits.
        records: The records to edit, all of them, in order.
        reference: Text for perplexity that no statistics were collected on.
        provenance: What measures it.
    """

    base: LoadedModel
    editor: Callable[[], Editor]
    layers: tuple[int, ...]
    records: tuple[Record, ...]
    reference: str
    provenance: Provenance

    @property
    def weights(self) -> dict[int, Tensor]:
        """The unedited matrices, layer → (d_out, d_in)."""
        return self.base.matrices(self.layers)


class _Model:
    """The model as one method has left it: weights, and the keys of the edits in them."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._weights = Weights(subject.weights)
        self.past: dict[int, Tensor] = {}

    def add(self, delta: Delta) -> None:
        """Write a delta into the weights, and remember its keys."""
        self._weights = self._weights.changed(add=[delta])
        for layer, keys in keys_of([delta]).items():
            self.past[layer] = torch.cat([self.past.get(layer, keys[:0]), keys])

    def materialise(self) -> dict[int, Tensor]:
        """The matrices as they are now, layer → (d_out, d_in)."""
        return self._weights.materialise()

    def view(self) -> PreTrainedModel:
        """The model as it is now."""
        return self._subject.base.view(self.materialise())


@dataclass
class _Attempt:
    """One batch on its way into a model; an edit that cannot be solved leaves it."""

    editor: Editor
    method: str
    model: _Model
    deltas: list[Delta] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def write(self, edits: Sequence[Edit]) -> None:
        """Solve the edits together; if that fails, each half on its own."""
        try:
            solution = self.editor.solve(
                self.model.view(), edits, method=self.method, past_keys=self.model.past
            )
            self.model.add(solution.delta)
        except _UNSOLVABLE as error:
            if len(edits) == 1:
                self.refusals.append(Refusal(edits[0].id, str(error)))
                return
            middle = len(edits) // 2
            self.write(edits[:middle])
            self.write(edits[middle:])
            return
        self.deltas.append(solution.delta)
        for phase, took in asdict(solution.seconds).items():
            self.seconds[phase] = self.seconds.get(phase, 0.0) + took


class Bench:
    """One benchmark: the methods measured on one subject by one configuration, in one journal.

    The journal must be open. Whatever is in it already is not done again.
    """

    def __init__(
        self,
        subject: Subject,
        configuration: Configuration,
        journal: Journal,
        progress: Progress = silent,
    ) -> None:
        self._subject, self._configuration, self._journal = subject, configuration, journal
        self._progress = progress
        self._energies = {
            layer: hyperspherical_energy(weight) for layer, weight in subject.weights.items()
        }

    def unedited(self) -> Row:
        """The row of the base model, on the records that each method's last row is of."""
        row = self._journal.unedited()
        if row is None:
            row = self._row(UNEDITED, Run(), _Model(self._subject), self._subject.records)
            self._journal.keep_unedited(row)
        return row

    def run(self, method: str) -> tuple[Row, ...]:
        """Edit and measure until all edits are made; the rows, in order.

        Raises:
            UnknownMethod: There is no such method.
        """
        configuration, journal = self._configuration, self._journal
        run, model, editor = journal.run(method), self._model(method), self._subject.editor()
        while True:
            self._progress(f"{method}: edits", run.edits, configuration.edits)
            if _measurement_due(configuration, run):
                edited = configuration.sample(self._subject.records[: run.edits])
                run = replace(run, rows=(*run.rows, self._row(method, run, model, edited)))
                journal.keep_run(method, run)
            if run.edits >= configuration.edits:
                return run.rows
            attempt = _Attempt(editor, method, model)
            run = replace(run, batches=(*run.batches, self._edit(attempt, run)))
            journal.keep_run(method, run)

    def weights_after(self, method: str) -> dict[int, Tensor]:
        """The matrices as a method has left them so far, layer → (d_out, d_in)."""
        return self._model(method).materialise()

    def _model(self, method: str) -> _Model:
        model = _Model(self._subject)
        for delta in self._journal.deltas(method):
            model.add(delta)
        return model

    def _edit(self, attempt: _Attempt, run: Run) -> Batch:
        """Make the next batch of edits, and keep its factors."""
        end = min(run.edits + self._configuration.batch_size, self._configuration.edits)
        edits = [record.edit for record in self._subject.records[run.edits : end]]
        started = perf_counter()
        attempt.write(edits)
        attempt.seconds["total"] = perf_counter() - started
        names = self._journal.keep_deltas(attempt.method, len(run.batches), attempt.deltas)
        return Batch(len(edits), names, tuple(attempt.refusals), attempt.seconds)

    def _row(self, method: str, run: Run, model: _Model, records: tuple[Record, ...]) -> Row:
        base, weights, editing = self._subject.base, model.materialise(), run.seconds
        view = base.view(weights)
        took: dict[str, float] = {}
        with_energy = model.past or weights
        energies = _timed(
            took,
            "energy",
            lambda: {layer: hyperspherical_energy(weights[layer]) for layer in with_energy},
        )
        metrics = _timed(took, "metrics", lambda: self._metrics(view, method, run, records))
        surprise = _timed(took, "perplexity", lambda: self._perplexity(view))
        return Row(
            method=method,
            edits=run.edits,
            **asdict(metrics),
            perplexity=finite(surprise),
            energy_ratio=_mean([e / self._energies[layer] for layer, e in energies.items()]),
            seconds_per_edit=editing.get("total", 0.0) / max(run.edits, 1),
            seconds=editing | took,
            energy={str(layer): energy for layer, energy in energies.items()},
            measured=len(records),
            refused=run.refused,
            **asdict(self._subject.provenance),
        )

    def _metrics(
        self, view: PreTrainedModel, method: str, run: Run, records: tuple[Record, ...]
    ) -> Metrics:
        base = self._subject.base
        return measure(
            PackedModel(view, base.architecture),
            base.tokenizer,
            records,
            progress=self._progress,
            step=f"{method}: measure after {run.edits}",
        )

    def _perplexity(self, view: PreTrainedModel) -> float:
        try:
            return perplexity(view, self._subject.base.tokenizer, self._subject.reference)
        except OverflowError:  # a broken model's loss, beyond what exp can hold
            return nan


def _measurement_due(configuration: Configuration, run: Run) -> bool:
    measured = run.rows[-1].edits if run.rows else 0
    before = run.edits - (run.batches[-1].edits if run.batches else 0)
    return run.edits > measured and configuration.measured_after(before, run.edits)


def _timed(seconds: dict[str, float], phase: str, work: Callable[[], T]) -> T:
    started = perf_counter()
    result = work()
    seconds[phase] = perf_counter() - started
    return result


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
