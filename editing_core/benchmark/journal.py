"""A benchmark's folder: what has been done, so that a killed run goes on where it was.

    configuration.json        what is measured; a folder holds one
    recipe.json               what edits are solved by; the configuration holds its digest
    unedited.json             the row of the base model
    runs/<method>/run.json    batches and rows so far: the one place that says what is done
    runs/<method>/*.safetensors   the factors of each solved batch

A file appears whole or not at all, and ``run.json`` names only factors that are on disk before it.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from editing_core.benchmark.configuration import Configuration
from editing_core.benchmark.errors import FolderInUse, NoResults, OtherConfiguration
from editing_core.benchmark.row import Row, rows_to_json
from editing_core.recipe import Recipe
from editing_core.weights.delta import Delta


@dataclass(frozen=True)
class Refusal:
    """An edit that could not be solved.

    Attributes:
        edit: Its id.
        reason: What the core said.
    """

    edit: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """One batch that was edited.

    Attributes:
        edits: How many edits it held.
        deltas: Files of its factors, in the order they were written into the weights.
        refusals: Edits of it that were left out.
        seconds: Wall time by phase.
    """

    edits: int
    deltas: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Run:
    """How far one method is.

    Attributes:
        batches: The batches edited, in order.
        rows: The measurements made, in order.
    """

    batches: tuple[Batch, ...] = ()
    rows: tuple[Row, ...] = ()

    @property
    def edits(self) -> int:
        """Edits asked for so far."""
        return sum(batch.edits for batch in self.batches)

    @property
    def refused(self) -> int:
        """Edits that were left out so far."""
        return sum(len(batch.refusals) for batch in self.batches)

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of all batches by phase."""
        phases = list(dict.fromkeys(phase for batch in self.batches for phase in batch.seconds))
        return {
            phase: sum(batch.seconds.get(phase, 0.0) for batch in self.batches) for phase in phases
        }


class Journal:
    """The folder of one benchmark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def opened(self, configuration: Configuration, recipe: Recipe) -> Iterator[None]:
        """Hold the folder for this process, as the folder of ``configuration`` and its recipe.

        Raises:
            OtherConfiguration: It holds the results of another configuration.
            FolderInUse: Another process holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FolderInUse(f"another process is writing to {self.folder}") from error
            self._adopt(configuration)
            write_atomically(self.folder / "recipe.json", recipe.to_json().encode())
            yield

    def configuration(self) -> Configuration:
        """What is measured here.

        Raises:
            NoResults: This is no folder of a benchmark.
        """
        path = self.folder / "configuration.json"
        if not path.exists():
            raise NoResults(f"{self.folder} holds no results of errata bench: no {path.name}")
        return Configuration.from_json(path.read_text())

    def recipe(self) -> Recipe:
        """What edits are solved by here."""
        return Recipe.from_json((self.folder / "recipe.json").read_text())

    def unedited(self) -> Row | None:
        """The row of the base model, once it is there."""
        path = self.folder / "unedited.json"
        return Row.from_record(json.loads(path.read_text())[0]) if path.exists() else None

    def keep_unedited(self, row: Row) -> None:
        """Keep the row of the base model."""
        write_atomically(self.folder / "unedited.json", rows_to_json([row]).encode())

    def methods(self) -> list[str]:
        """Methods that have been begun here, by name."""
        return sorted(path.parent.name for path in self.folder.glob("runs/*/run.json"))

    def run(self, method: str) -> Run:
        """How far a method is."""
        path = self._run(method) / "run.json"
        if not path.exists():
            return Run()
        found = json.loads(path.read_text())
        batches = tuple(
            Batch(
                edits=batch["edits"],
                deltas=tuple(batch["deltas"]),
                refusals=tuple(Refusal(**refusal) for refusal in batch["refusals"]),
                seconds=batch["seconds"],
            )
            for batch in found["batches"]
        )
        return Run(batches, tuple(Row.from_record(row) for row in found["rows"]))

    def keep_run(self, method: str, run: Run) -> None:
        """Keep how far a method is; its factors must be kept already."""
        write_atomically(self._run(method) / "run.json", json.dumps(asdict(run)).encode())

    def keep_deltas(self, method: str, batch: int, deltas: Sequence[Delta]) -> tuple[str, ...]:
        """Keep the factors of a batch; returns the names of their files."""
        names = [f"{batch:05d}-{part:03d}.safetensors" for part in range(len(deltas))]
        for name, delta in zip(names, deltas, strict=True):
            write_atomically(self._run(method) / name, delta.to_bytes())
        return tuple(names)

    def has_deltas(self, method: str) -> bool:
        """Whether the factors of all of a method's batches are here."""
        names = [name for batch in self.run(method).batches for name in batch.deltas]
        return all((self._run(method) / name).exists() for name in names)

    def deltas(self, method: str) -> list[Delta]:
        """The factors of all batches, in the order they were written into the weights."""
        return [
            Delta.from_bytes((self._run(method) / name).read_bytes())
            for batch in self.run(method).batches
            for name in batch.deltas
        ]

    def _run(self, method: str) -> Path:
        return self.folder / "runs" / method

    def _adopt(self, configuration: Configuration) -> None:
        path = self.folder / "configuration.json"
        if not path.exists():
            write_atomically(path, configuration.to_json().encode())
            return
        differences = configuration.differences(Configuration.from_json(path.read_text()))
        if differences:
            told = "; ".join(
                f"{name} is {ours!r}, there {theirs!r}"
                for name, (ours, theirs) in differences.items()
            )
            raise OtherConfiguration(
                f"{self.folder} holds the results of another configuration ({told}); "
                "give another folder, or the same options"
            )


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, and is on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
