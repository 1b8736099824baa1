"""`errata diff`, `errata bisect` and `errata drift`, and how their answers are told."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from app.cli.display import printable, show, table
from app.cli.options import Json, Key, Url, is_revision_number
from app.client import DEFAULT_URL, Errata
from app.client.answers import (
    Bisection,
    Difference,
    Fact,
    ProbedFact,
    RevisionDrift,
    SupersededFact,
)

_EXIT_NO = 1
_NOT_RECORDED = "—"

From = Annotated[str, typer.Option("--from", help="The first revision: a number, or head.")]
To = Annotated[str, typer.Option("--to", help="The last revision: a number, or head.")]


def diff_command(
    first: Annotated[str, typer.Argument(metavar="FROM", help="A revision's number, or head.")],
    last: Annotated[
        str, typer.Argument(metavar="TO", help="A revision's number, or head.")
    ] = "head",
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Show what leads from one revision to another: facts, weights, answers."""
    with Errata(url, api_key) as errata:
        found = errata.diff(_named(first, "FROM"), _named(last, "TO"))
    show(found, machine, difference_tables(found))


def bisect_command(
    prompt: Annotated[str, typer.Argument(help="A text that was once continued rightly.")],
    expect: Annotated[str, typer.Argument(help="How its continuation began.")],
    first: From = "0",
    last: To = "head",
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Find the revision under which an answer was lost; status 1 if there is none."""
    with Errata(url, api_key) as errata:
        found = errata.bisect(
            prompt, expect, first=_named(first, "--from"), last=_named(last, "--to")
        )
    show(found, machine, bisection_lines(found))
    if found.revision is None:
        raise typer.Exit(_EXIT_NO)


def drift_command(
    first: From = "0",
    last: To = "head",
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Show how far each revision moved the model, as it was recorded when it was made."""
    with Errata(url, api_key) as errata:
        rows = list(errata.drift(_named(first, "--from"), _named(last, "--to")))
    show(rows, machine, drift_table(rows))


def difference_tables(found: Difference) -> RenderableType:
    """A difference for people."""
    if found.same_weights and not any(found.counts.values()):
        return f"revisions {found.from_} and {found.to} are the same"
    told = ", ".join(f"{count} {what}" for what, count in found.counts.items())
    cut = "; not all are shown" if found.facts_cut else ""
    facts = [
        *(("added", *_words(fact)) for fact in found.added),
        *(("removed", *_words(fact)) for fact in found.removed),
        *(
            (
                "superseded",
                *_words(pair.after)[:-1],
                f"{_target(pair.before)} → {_target(pair.after)}",
            )
            for pair in found.superseded
        ),
    ]
    layers = [
        (row.layer, _number(row.delta_norm), _number(row.energy_from), _number(row.energy_to))
        for row in found.layers
    ]
    return Group(
        Text(printable(f"revision {found.from_} → {found.to}: {told}{cut}")),
        *([table(["", "edit", "fact", "target"], facts)] if facts else []),
        table(["layer", "norm of the difference", "energy from", "energy to"], layers),
        *([_probe_table(found.probes, found.probes_cut)] if found.probes else []),
    )


def bisection_lines(found: Bisection) -> list[str]:
    """A bisection for people."""
    lines = [f"{found.message} ({found.tried} tried)"]
    if found.revision is not None:
        edits = ", ".join(found.revision.edits) or "no new edits"
        lines.append(f"it is of kind {found.revision.kind}, with {edits}")
    for moment, said in (("before", found.before), ("after", found.after)):
        if said is not None:
            lines.append(f"{moment}, revision {said.revision}: {said.text!r}")
    return lines


def drift_table(rows: Iterable[RevisionDrift]) -> RenderableType:
    """Drift for people, a line a revision and layer."""
    cells = [cell for row in rows for cell in _drift_cells(row)]
    headings = ["revision", "kind", "live", "perplexity", "layer", "energy", "norm", "collision"]
    return table(headings, cells)


def _drift_cells(row: RevisionDrift) -> list[Sequence[object]]:
    heading = (row.revision, row.kind, row.live_edits, _number(row.perplexity))
    if not row.layers:
        return [(*heading, *[_NOT_RECORDED] * 4)]
    return [
        (
            *heading,
            found.layer,
            _number(found.energy),
            _number(found.delta_norm),
            _number(found.key_collision),
        )
        for found in row.layers
    ]


def _probe_table(probes: Iterable[ProbedFact], cut: bool) -> RenderableType:
    rows = [
        (found.prompt, found.target, f"{found.from_.p:.4f}", f"{found.to.p:.4f}")
        for found in probes
    ]
    title = "probed; not all are shown" if cut else "probed"
    return table(["prompt", "target", "p from", "p to"], rows, title)


def _words(fact: Fact) -> tuple[str, str, str]:
    if fact.prompt is None or fact.subject is None:
        return fact.edit, "(erased)", "(erased)"
    return fact.edit, fact.prompt.replace("{}", fact.subject), _target(fact)


def _both_words(pair: SupersededFact) -> tuple[str, str, str]:
    edit, fact, target = _words(pair.after)
    return edit, fact, f"{_target(pair.before)} → {target}"


def _target(fact: Fact) -> str:
    return "(erased)" if fact.target is None else fact.target


def _number(value: float | None) -> str:
    return _NOT_RECORDED if value is None else f"{value:.5g}"


def _named(name: str, option: str) -> int | str:
    if name == "head":
        return name
    if is_revision_number(name):
        return int(name)
    raise typer.BadParameter(f"{name!r} is no revision; give a number or head", param_hint=option)
