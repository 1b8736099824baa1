"""What people see on a terminal: tables, verdicts, and how far long steps are."""

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import typer
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from app.client.answers import Answer, Edit, LedgerEntry, Operation

_HASH_CHARS = 12


def as_json(answer: Answer | Sequence[Answer]) -> str:
    """An answer, or a list of them, as the server sent it."""
    if isinstance(answer, Answer):
        return json.dumps(answer.model_dump(mode="json"), indent=2)
    return json.dumps([item.model_dump(mode="json") for item in answer], indent=2)


def show(answer: Answer | Sequence[Answer], machine: bool, told: RenderableType) -> None:
    """Print an answer: as JSON for machines, else as it is told."""
    if machine:
        typer.echo(as_json(answer))
    elif isinstance(told, str):
        typer.echo(told)
    else:
        Console().print(told)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> Table:
    """A plain table; texts from outside are never read as markup."""
    drawn = Table(title=title or None, title_justify="left", title_style="bold")
    for heading in headings:
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(str(cell)) for cell in row))
    return drawn


def outcome_line(found: Edit | Operation) -> str:
    """What became of an edit or a rollback, in one line."""
    if found.revision is not None:
        return f"{found.id} {found.status} as revision {found.revision}"
    return f"{found.id} {found.status}" + (f": {found.reason}" if found.reason else "")


def edit_table(edit: Edit) -> Group | None:
    """What became of an edit, with its numbers and gates; None if there are none yet."""
    report = edit.report or {}
    rows = [
        (moment, f"{found['p_target']:.4f}", found["rank_target"], repr(found["argmax"]))
        for moment in ("before", "after")
        if (found := report.get(moment))
    ]
    if not rows:
        return None
    headings = ["", f"p({edit.target})", "rank", "most probable"]
    numbers = table(headings, rows, outcome_line(edit))
    gates = [_gate_row(gate) for gate in report.get("gates", ())]
    return Group(numbers, *([table(["gate", "measured", "allowed", ""], gates)] if gates else ()))


def _gate_row(gate: Mapping[str, Any]) -> tuple[str, str, str, str]:
    measured = "—" if gate["measured"] is None else f"{gate['measured']:.4g}"
    return gate["name"], measured, f"{gate['allowed']:.4g}", "" if gate["passed"] else "failed"


def ledger_table(entries: Iterable[LedgerEntry], title: str = "") -> Table:
    """Ledger entries, oldest first."""
    rows = [
        (entry.index, entry.at[:19], entry.kind, ledger_summary(entry), entry.hash[:_HASH_CHARS])
        for entry in entries
    ]
    return table(["#", "at (UTC)", "kind", "what", "hash"], rows, title)


def ledger_summary(entry: LedgerEntry) -> str:
    """The gist of one entry's payload."""
    told = entry.payload
    if entry.kind == "revision":
        made_by = ", ".join(map(str, told.get("operations", ()))) or "nothing"
        return f"revision {told.get('number')} ({told.get('kind')}) by {made_by}"
    if entry.kind == "base":
        return f"revision 0, the base model {told.get('model')}"
    if entry.kind == "erasure":
        return f"erased the words of {told.get('id')}"
    if entry.kind == "withdrawal":
        return f"withdrew what holds {told.get('edit')} ({told.get('why')})"
    if entry.kind == "key":
        made = f"made for {', '.join(map(str, told.get('scopes', ())))}"
        return f"API key {told.get('id')} {'revoked' if told.get('revoked') else made}"
    if entry.kind == "snapshot":
        change = "loses" if told.get("removed") else "gets"
        return f"revision {told.get('revision')} {change} the label {told.get('label')}"
    what = told.get("status", "accepted again" if "former_seq" in told else "accepted")
    goal = f" to revision {told['to_revision']}" if "to_revision" in told else ""
    reason = f": {told['reason']}" if told.get("reason") else ""
    return f"{what} {told.get('id')}{goal}{reason}"


class StepDisplay:
    """Shows long steps as bars on a terminal, and as one line each elsewhere.

    An instance is itself the progress callback of the core: `display(step, done, total)`, which
    any thread may call.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._ended: set[str] = set()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bars as they are; what is reported later is ignored."""
        self._bars.stop()

    def __call__(self, step: str, done: int, total: int) -> None:
        """Note that `done` of `total` parts of a step are done."""
        with self._lock:
            if step not in self._tasks:
                self._tasks[step] = self._bars.add_task(step, total=total)
                if self._bars.disable:
                    self._console.print(f"{step} …", markup=False)
            self._bars.update(self._tasks[step], completed=done, total=total)
            if done >= total and step not in self._ended:
                self._ended.add(step)
                if self._bars.disable:
                    self._console.print(f"{step}: done", markup=False)
