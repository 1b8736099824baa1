"""What people see on a terminal: lines, tables, verdicts, and how far long steps are.

Everything that the commands print goes through here, so that no text from elsewhere – a model, a
server, a file – moves the cursor, hides or reorders what is around it.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import typer
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from app.client.answers import Answer, Edit, LedgerEntry, Operation, Said
from app.kit.characters import escaped
from app.kit.pace import Pace, in_words

_HASH_CHARS = 12
_LINE_EVERY_S = 10.0  # of a step that goes on, where there is no terminal
_NOT_ASCII = re.compile(r"[^\x00-\x7e]")


def printable(text: object) -> str:
    r"""A text in one line, with an escape for each character that is not shown: `\x1b`, `\n`."""
    return escaped(str(text))


def tell(*lines: str) -> None:
    """Print lines to standard output; what breaks one of them is told as an escape."""
    for line in lines:
        typer.echo(printable(line))


def tell_text(text: str) -> None:
    """Print a text whose line breaks are its own, such as a model's answer."""
    typer.echo(escaped(text, layout=True))


def tell_json(text: str) -> None:
    """Print a JSON document for machines, which read exactly what it says: in ASCII."""
    typer.echo(_NOT_ASCII.sub(_in_ascii, text))


def _in_ascii(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def note(line: str) -> None:
    """Print a line to standard error."""
    typer.echo(printable(line), err=True)


def complain(message: object) -> None:
    """Say on standard error, in one line, what went wrong."""
    note("errata: " + " ".join(str(message).splitlines()))


def draw(drawn: RenderableType, console: Console | None = None) -> None:
    """Print a table, or several things one below the other."""
    (console or Console()).print(_Printable(drawn))


def say(console: Console, line: str, style: str | None = None) -> None:
    """Print a line of a running process, beside the bars of its steps."""
    console.print(printable(line), style=style, markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class _Printable:
    """A drawing with escapes for what is not shown, wherever in it that is."""

    drawn: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.drawn, options):
            shown = segment.text if segment.control else escaped(segment.text, layout=True)
            yield Segment(shown, segment.style, segment.control)


def as_json(answer: Answer | Sequence[Answer]) -> str:
    """An answer, or a list of them, as the server sent it."""
    if isinstance(answer, Answer):
        return json.dumps(answer.model_dump(mode="json"), indent=2)
    return json.dumps([item.model_dump(mode="json") for item in answer], indent=2)


def show(
    answer: Answer | Sequence[Answer], machine: bool, told: RenderableType | Sequence[str]
) -> None:
    """Print an answer: as JSON for machines, else as it is told, in a line, lines or a drawing."""
    if machine:
        tell_json(as_json(answer))
    elif isinstance(told, str):
        tell(told)
    elif isinstance(told, Sequence):
        tell(*told)
    else:
        draw(told)


def show_text(answer: Answer, machine: bool, text: str) -> None:
    """Print an answer: as JSON for machines, else the text that it holds."""
    if machine:
        tell_json(as_json(answer))
    else:
        tell_text(text)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> Table:
    """A plain table; texts from outside are never read as markup."""
    shown = Text(printable(title)) if title else None
    drawn = Table(title=shown, title_justify="left", title_style="bold")
    for heading in headings:
        drawn.add_column(Text(printable(heading)), overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
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
    shown = [table(["gate", "measured", "allowed", ""], gates)] if gates else []
    error = report.get("error")
    return Group(numbers, *shown, *([] if error is None else [Text(printable(error))]))


def revert_table(found: Operation) -> RenderableType | None:
    """What became of a revert, and of the facts around it; None before they were measured."""
    report = found.report
    if report is None:
        return None
    restored = [] if report.restored is None else [("restored", report.restored)]
    facts = [("undone", report.undone), *restored, *(("kept", one) for one in report.siblings)]
    rows = [
        (
            "lost" if fact.edit in report.lost else what,
            fact.edit,
            _said(fact.before),
            _said(fact.after),
        )
        for what, fact in facts
    ]
    return table(["", "edit", "p before", "p after"], rows, outcome_line(found))


def _said(found: Said | None) -> str:
    if found is None or found.p_target is None:
        return "(erased)" if found is None else "—"
    return f"{found.p_target:.4f}" + (", said" if found.match else "")


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
    return _GISTS.get(entry.kind, _operation_gist)(entry.payload)


_Told = Mapping[str, Any]


def _base_gist(told: _Told) -> str:
    return f"revision 0, the base model {told.get('model')}"


def _recipe_gist(told: _Told) -> str:
    return f"from here on by recipe {told.get('digest')}"


def _revision_gist(told: _Told) -> str:
    made_by = ", ".join(map(str, told.get("operations", ()))) or "nothing"
    return f"revision {told.get('number')} ({told.get('kind')}) by {made_by}"


def _erasure_gist(told: _Told) -> str:
    return f"erased the words of {told.get('id')}"


def _withdrawal_gist(told: _Told) -> str:
    return f"withdrew what holds {told.get('edit')} ({told.get('why')})"


def _key_gist(told: _Told) -> str:
    made = f"made for {', '.join(map(str, told.get('scopes', ())))}"
    return f"API key {told.get('id')} {'revoked' if told.get('revoked') else made}"


def _snapshot_gist(told: _Told) -> str:
    change = "loses" if told.get("removed") else "gets"
    return f"revision {told.get('revision')} {change} the label {told.get('label')}"


def _export_gist(told: _Told) -> str:
    if told.get("removed"):
        return f"removed {told.get('id')}"
    if "digest" in told:
        return f"{told.get('id')} has SHA-256 {told['digest']}"
    return f"accepted {told.get('id')}: revision {told.get('revision')} as {told.get('format')}"


def _queue_gist(told: _Told) -> str:
    if told.get("act") == "cancel":
        return f"cancelled {told.get('cancelled')} edits that waited"
    return f"{told.get('act')}d the queue of edits"


def _setback_gist(told: _Told) -> str:
    lost: _Told = told.get("lost", {})
    return f"an older database was accepted; what was lost ended with entry {lost.get('hash')}"


def _operation_gist(told: _Told) -> str:
    what = told.get("status", "accepted again" if "former_seq" in told else "accepted")
    goal = f" to revision {told['to_revision']}" if "to_revision" in told else ""
    reason = f": {told['reason']}" if told.get("reason") else ""
    return f"{what} {told.get('id')}{goal}{reason}"


_GISTS = {
    "base": _base_gist,
    "revision": _revision_gist,
    "erasure": _erasure_gist,
    "withdrawal": _withdrawal_gist,
    "key": _key_gist,
    "snapshot": _snapshot_gist,
    "export": _export_gist,
    "queue": _queue_gist,
    "recipe": _recipe_gist,
    "setback": _setback_gist,
}


class StepDisplay:
    """Shows long steps as bars on a terminal, and as a line now and then elsewhere.

    An instance is itself the progress callback of the core: `display(step, done, total)`, which
    any thread may call.

    Args:
        console: Where to.
        monotonic: Seconds that only ever grow.
    """

    def __init__(self, console: Console, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._console, self._monotonic = console, monotonic
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._lines: dict[str, _StepLines] = {}
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
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
            if self._bars.disable:
                if step not in self._lines:
                    self._lines[step] = _StepLines(step, done, self._monotonic)
                for line in self._lines[step].of(done, total):
                    say(self._console, line)
                return
            if step not in self._tasks:
                self._tasks[step] = self._bars.add_task(printable(step), total=total)
            self._bars.update(self._tasks[step], completed=done, total=total)


class _StepLines:
    """What is told of one step in lines: its begin, every ten seconds how far it is, its end."""

    def __init__(self, step: str, done: int, monotonic: Callable[[], float]) -> None:
        self._step, self._monotonic = step, monotonic
        self._pace = Pace(done, monotonic)
        self._told_at: float | None = None
        self._ended = False

    def of(self, done: int, total: int) -> Iterable[str]:
        """The lines that are due."""
        now = self._monotonic()
        if self._told_at is None:
            self._told_at = now
            yield f"{self._step} …"
        if self._ended:
            return
        if done >= total:
            self._ended = True
            yield f"{self._step}: done"
        elif now - self._told_at >= _LINE_EVERY_S:
            self._told_at = now
            left = self._pace.seconds_left(done, total)
            yield f"{self._step}: {done / total:.0%}" + (
                "" if left is None else f", about {in_words(left)} left"
            )
