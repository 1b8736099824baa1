"""The command `errata`.

Exit status: 0 done; 1 the answer is no (an edit was rejected, a chain is broken); 2 wrong usage;
3 no server answers; 4 the server refused; 5 not ended in the time given.
"""

import shlex
import sys
from collections import deque
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from app.cli.display import (
    complain,
    edit_table,
    ledger_table,
    note,
    outcome_line,
    revert_table,
    show_text,
    tell,
)
from app.cli.display import show as _show
from app.cli.erasure import erase_command, withdraw_command
from app.cli.events import events_command
from app.cli.exports import export_command
from app.cli.keys import keys_cli
from app.cli.local import (
    backup_command,
    bench_command,
    calibrate_command,
    report_command,
    serve_command,
    worker_command,
)
from app.cli.lookback import bisect_command, diff_command, drift_command
from app.cli.options import Json, Key, Url, is_revision_number
from app.cli.queue import queue_cli
from app.cli.recipe import recipe_command
from app.client import DEFAULT_URL, Errata, Refused, ServerAway, StillWaiting
from app.client.answers import Edit, Operation
from app.kit.permissions import keep_to_ourselves

EXIT_NO = 1
EXIT_USAGE = 2
EXIT_AWAY = 3
EXIT_REFUSED = 4
EXIT_WAITING = 5

cli = typer.Typer(
    name="errata",
    help="Correct facts in a language model that is already serving, and take corrections back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Timeout = Annotated[float, typer.Option(min=0, help="How long to wait for the end, in seconds.")]
Wait = Annotated[bool, typer.Option(help="Wait until the worker has ended with it.")]
Revision = Annotated[int | None, typer.Option(min=0, help="Ask this revision; default: the head.")]


@cli.command()
def edit(
    subject: Annotated[str, typer.Option(help="What the fact is about.")],
    prompt: Annotated[str, typer.Option(help="The fact up to its object, {} for the subject.")],
    target: Annotated[str, typer.Option(help="The object it shall have.")],
    separator: Annotated[
        Literal["", " "] | None,
        typer.Option(help="What stands before it: '' or ' '; default: what running text has."),
    ] = None,
    target_old: Annotated[str | None, typer.Option(help="The object it has now.")] = None,
    paraphrase: Annotated[
        list[str] | None, typer.Option(help="Another wording to report on; may be repeated.")
    ] = None,
    neighbour: Annotated[
        list[str] | None, typer.Option(help="A prompt that must not change; may be repeated.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="How to compute it.")] = None,
    force: Annotated[
        bool, typer.Option(help="Solve even what is already true, or can hardly pass.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compute and report, but commit nothing.")
    ] = False,
    wait: Wait = True,
    timeout: Timeout = 600.0,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Correct a fact."""
    with Errata(url, api_key) as errata:
        found = errata.submit(
            subject,
            prompt,
            target,
            target_old=target_old,
            paraphrases=paraphrase or (),
            neighbours=neighbour or (),
            method=method,
            force=force,
            separator=separator,
            dry_run=dry_run,
        )
        if wait:
            found = errata.wait(found.id, timeout)
    _show(found, machine, edit_table(found) or outcome_line(found))
    _warn(found)
    _exit_unless_wanted(found)


@cli.command()
def requeue(
    edit_id: Annotated[str, typer.Argument(metavar="ID", help="An edit that is dead.")],
    wait: Wait = True,
    timeout: Timeout = 600.0,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Queue an edit again that was given up, behind everything that waits."""
    with Errata(url, api_key) as errata:
        found = errata.requeue(edit_id)
        if wait:
            found = errata.wait(found.id, timeout)
    _show(found, machine, edit_table(found) or outcome_line(found))
    _exit_unless_wanted(found)


@cli.command()
def ask(
    prompt: Annotated[str, typer.Argument(help="A text to continue.")],
    revision: Revision = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 32,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 is deterministic.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Makes a warm answer repeatable.")] = None,
    chat: Annotated[bool, typer.Option(help="Ask the assistant instead of continuing.")] = False,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Let the model continue a text, or answer a question with --chat."""
    with Errata(url, api_key) as errata:
        if chat:
            answer = errata.chat(
                prompt,
                revision=revision,
                max_tokens=max_tokens,
                temperature=temperature,
                seed=seed,
            )
            show_text(answer, machine, answer.choices[0].message.content)
        else:
            completion = errata.complete(
                prompt,
                revision=revision,
                max_tokens=max_tokens,
                temperature=temperature,
                seed=seed,
            )
            show_text(completion, machine, completion.choices[0].text)


@cli.command()
def log(
    limit: Annotated[int, typer.Option(min=1, help="Show this many of the newest.")] = 20,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Show the newest entries of the ledger, oldest of them first."""
    with Errata(url, api_key) as errata:
        entries = list(deque(errata.ledger(), maxlen=limit))
    _show(entries, machine, ledger_table(entries))


@cli.command()
def revert(
    edit_id: Annotated[str, typer.Argument(help="The edit to undo.")],
    reason: Annotated[str | None, typer.Option(help="Why; kept with the operation.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure and report, but commit nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also where other facts of its subject are lost.")
    ] = False,
    restore: Annotated[
        bool,
        typer.Option("--restore/--no-restore", help="Bring back the edit that it superseded."),
    ] = True,
    wait: Wait = True,
    timeout: Timeout = 600.0,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Undo one edit, wherever in history it was made; the other facts stay as they are."""
    with Errata(url, api_key) as errata:
        found = errata.revert(edit_id, reason, force=force, restore=restore, dry_run=dry_run)
        if wait:
            found = errata.wait_operation(found.id, timeout)
    _show(found, machine, revert_table(found) or outcome_line(found))
    _exit_unless_wanted(found)


@cli.command()
def snapshot(
    label: Annotated[str, typer.Argument(help="A name for the revision, such as before-audit.")],
    revision: Annotated[
        int | None, typer.Option(min=0, help="Keep this revision; default: the head.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Keep a revision whole under a label, to roll back to."""
    with Errata(url, api_key) as errata:
        found = errata.snapshot(label, revision)
    _show(found, machine, f"revision {found.revision} is labelled {found.label}")


@cli.command()
def rollback(
    to: Annotated[str, typer.Argument(help="The revision head shall equal: a number or a label.")],
    reason: Annotated[str | None, typer.Option(help="Why; kept with the operation.")] = None,
    wait: Wait = True,
    timeout: Timeout = 600.0,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Make the head equal an old revision, bit for bit; nothing is erased from the ledger."""
    with Errata(url, api_key) as errata:
        found = errata.rollback(int(to) if is_revision_number(to) else to, reason)
        if wait:
            found = errata.wait_operation(found.id, timeout)
    _tell_end(found, machine)


@cli.command()
def bundle(
    out: Annotated[Path, typer.Argument(dir_okay=False, help="File to write.")],
    url: Url = DEFAULT_URL,
    api_key: Key = None,
) -> None:
    """Fetch all evidence of the ledger as one file, which errata verify FILE checks offline."""
    with Errata(url, api_key) as errata:
        try:
            size = errata.bundle(out)
        except OSError as error:
            _fail(f"{out} cannot be written: {error.strerror}", EXIT_USAGE)
    tell(f"{out} has {size} bytes; check it with: errata verify {shlex.quote(str(out))}")


@cli.command()
def verify(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="A file from errata bundle, checked here without a server; default: ask one.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Recompute the weights from it: smollm2-135m, a folder, a GGUF file."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A checkpoint that was kept elsewhere."),
    ] = None,
    public_key: Annotated[
        list[str] | None,
        typer.Option(help="Trust only signatures by this key, 64 hex digits; may be repeated."),
    ] = None,
    every_revision: Annotated[
        bool, typer.Option("--every-revision", help="Recompute each revision, not only the head.")
    ] = False,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    machine: Json = False,
) -> None:
    """Check the ledger and its artefacts; status 1 names what does not hold.

    With a bundle: hash chain, signature, records, artefacts and, with --model, the weights.
    """
    if bundle is not None:
        # It pulls in what other commands need not wait for.
        from app.cli.offline import Asked, verify_offline

        asked = Asked(model, checkpoint, tuple(public_key or ()), every_revision)
        verify_offline(bundle, asked, machine=machine)
        return
    if model or checkpoint or public_key or every_revision:
        raise typer.BadParameter(
            "--model, --checkpoint, --public-key and --every-revision "
            "are for a bundle; name its file"
        )
    _verify_on_server(url, api_key, machine)


cli.command(name="diff")(diff_command)
cli.command(name="bisect")(bisect_command)
cli.command(name="drift")(drift_command)
cli.command(name="erase")(erase_command)
cli.command(name="withdraw")(withdraw_command)
cli.command(name="export")(export_command)
cli.command(name="events")(events_command)
cli.command(name="serve")(serve_command)
cli.command(name="worker")(worker_command)
cli.add_typer(keys_cli, name="keys")
cli.add_typer(queue_cli, name="queue")
cli.command(name="backup")(backup_command)
cli.command(name="calibrate")(calibrate_command)
cli.command(name="recipe")(recipe_command)
cli.command(name="bench")(bench_command)
cli.command(name="bench-report")(report_command)


def _verify_on_server(url: str, api_key: str | None, machine: bool) -> None:
    with Errata(url, api_key) as errata:
        verdict = errata.verify()
    told = f"the chain of {verdict.entries} entries holds; head {verdict.head_hash}"
    if verdict.bad_artefact is not None:
        told = f"artefact {verdict.bad_artefact} of entry {verdict.first_bad} is altered or missing"
    elif verdict.bad_row is not None:
        bad = verdict.bad_row
        told = f"row {bad.id} of {bad.table} is not what the ledger says: {bad.what}"
    elif not verdict.ok:
        told = f"the chain is broken at entry {verdict.first_bad}"
    _show(verdict, machine, told)
    if not verdict.ok:
        raise typer.Exit(EXIT_NO)


def _warn(found: Edit) -> None:
    """Say on standard error what the readers of an edit may be misled by."""
    for warning in found.warnings:
        note(f"warning: {warning}")
    for other in found.look_alikes or ():
        note(f"warning: the subject looks like {other.subject!r} of {other.edit}")


def _tell_end(found: Operation, machine: bool) -> None:
    _show(found, machine, outcome_line(found))
    _exit_unless_wanted(found)


def _exit_unless_wanted(found: Edit | Operation) -> None:
    if found.status in ("rejected", "dead", "cancelled"):
        raise typer.Exit(EXIT_NO)


def _fail(message: str, status: int) -> NoReturn:
    if message:  # a command without arguments has printed its help
        complain(message)
    sys.exit(status)


def main() -> None:
    """Run the command; failures end in one line on standard error and a status that tells."""
    keep_to_ourselves()
    try:
        # What typer itself would print of its errors quotes arguments as they are.
        sys.exit(cli(standalone_mode=False))
    except typer.TyperException as error:
        _fail(error.format_message(), error.exit_code)
    except typer.Abort:
        _fail("aborted", EXIT_NO)
    except ServerAway as error:
        _fail(str(error), EXIT_AWAY)
    except Refused as error:
        _fail(f"{error} ({error.code})", EXIT_REFUSED)
    except StillWaiting as error:
        _fail(str(error), EXIT_WAITING)
