"""The commands that need no server: `errata serve` itself, `backup`, `calibrate` and `bench`."""

import inspect
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from rich.console import Console

from app.cli.display import StepDisplay, complain, tell, tell_json
from app.cli.options import DatabaseUrl, DataDir, Json, Model, warn_of_shown_secret
from app.kit.env_file import UnusableEnvFileError
from app.settings import SECRETS, Settings

_EXIT_FAILED = 1
_EXIT_USAGE = 2
_PASSWORD = re.compile(r"://[^/@]*:[^/@]+@")


def _as_option(name: str, field: FieldInfo) -> inspect.Parameter:
    # Generated, so that --help documents every setting by construction.
    shown = field.default is not None and field.default_factory is None
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        envvar=f"ERRATA_{name.upper()}",
        help=field.description,
        show_default=str(field.default) if shown else False,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[str | None, option],
    )


def serve_command(**given: str | None) -> None:
    """Serve the model, the edits and the ledger.

    Each setting is an option, an environment variable, or a line of a file named .env that
    no other user may write to.
    """
    settings = settings_of(given)
    from app.errors import ErrataError
    from app.keys.bootstrap import check_start

    _guard(settings)
    try:
        check_start(settings)
    except (ErrataError, OSError) as error:
        complain(error)
        raise typer.Exit(_EXIT_FAILED) from error
    # The service pulls in torch; asking for help or for another command need not wait for it.
    from app.cli.serve import leave, run

    leave(0 if run(settings) else _EXIT_FAILED)


def worker_command(**given: str | None) -> None:
    """Execute edits for servers that run with ERRATA_WORKER=external.

    It needs their database, their data directory and their queue; its settings are those of serve.
    """
    settings = settings_of(given)
    from app.cli.serve import leave
    from app.cli.worker import run_worker
    from app.errors import ErrataError
    from editing_core.errors import EditingError

    _guard(settings)
    try:
        run_worker(settings)
    except (ErrataError, EditingError, OSError) as error:
        complain(error)
        leave(_EXIT_FAILED)
    leave(0)


def backup_command(
    folder: Annotated[Path, typer.Argument(file_okay=False, help="A new or empty folder.")],
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Copy everything that cannot be computed again; a server may go on editing meanwhile.

    The copy is a data directory. A database on PostgreSQL is not part of it: dump that first.
    """
    settings = settings_of({"database_url": database_url, "data_dir": data_dir})
    from app.cli.backup import back_up
    from app.errors import ErrataError

    try:
        made = back_up(settings, folder)
    except (ErrataError, OSError) as error:
        complain(error)
        raise typer.Exit(_EXIT_FAILED) from error
    database = "database and " if made.database else ""
    artefacts = "1 artefact" if made.artefacts == 1 else f"{made.artefacts} artefacts"
    tell(f"copied to {folder}: {database}{artefacts}")
    if not made.database:
        tell("the database is not: keep the pg_dump made before this beside it")


def calibrate_command(
    text: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Ordinary text in UTF-8, 200 kB or more; default: what is in use.",
        ),
    ] = None,
    probes: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Facts to try recipes on, in CounterFact's format; default: those in the package.",
        ),
    ] = None,
    facts: Annotated[int, typer.Option(min=1, help="How many of them.")] = 12,
    layers: Annotated[
        str | None, typer.Option(help="Layers to edit, such as 4-8; default: the best found.")
    ] = None,
    chat: Annotated[bool, typer.Option(help="Edit in conversation, too.")] = True,
    model: Model = None,
    data_dir: DataDir = None,
    machine: Json = False,
) -> None:
    """Find the recipe for a model: layers, λ, τ and L2, by trying them on facts.

    The next start of the server edits by it. The evidence is in calibration.json beside it.
    """
    settings = settings_of({"model": model, "data_dir": data_dir})
    words = None if text is None else _read(text)
    window = None if layers is None else _layers(layers)
    _guard(settings)
    from app.errors import ErrataError
    from app.operations.origin import origin_at
    from app.resident.preparation import CalibrationOptions, calibrate_model
    from editing_core.benchmark.reading import read_records
    from editing_core.defaults import bundled_path
    from editing_core.errors import EditingError

    with StepDisplay(Console(stderr=True)) as steps:
        try:
            records = read_records(probes or bundled_path("probes.jsonl"), "counterfact")
            options = CalibrationOptions(words, records.first(facts), window, chat)
            origin = origin_at(settings.database_url)
            found = calibrate_model(settings, options, steps, origin)
        except (ErrataError, EditingError, OSError) as error:
            complain(error)
            raise typer.Exit(_EXIT_FAILED) from error
    if machine:
        tell_json(found.recipe.to_json())
        return
    told = ", ".join(map(str, found.recipe.layers))
    tell(f"calibrated: layers {told}, recipe {found.recipe.digest}")
    for trial in found.chosen:
        tell(
            f"{trial.method}: τ {trial.tau:.4g}, L2 {trial.l2:.4g}, λ {trial.memit_lambda:.4g}: "
            f"{trial.efficacy_accuracy:.0%} of {trial.facts} facts, "
            f"{trial.generalization:.0%} of paraphrases, {trial.specificity:.0%} of neighbours, "
            f"perplexity × {trial.perplexity_ratio:.3f}"
        )


def bench_command(
    data: Annotated[
        Path,
        typer.Option(exists=True, dir_okay=False, help="Records, JSON or JSON Lines, may be .gz."),
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format", help="counterfact, counterfact-flat, zsre, zsre-flat or knowedit."
        ),
    ],
    methods: Annotated[str, typer.Option(help="Names, separated by commas.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for results and progress.")],
    edits: Annotated[
        int, typer.Option(min=1, help="Records to edit, the first of the data.")
    ] = 1000,
    batch_size: Annotated[int, typer.Option(min=1, help="Edits solved together.")] = 100,
    evaluate_every: Annotated[
        int, typer.Option(min=1, help="Measure after as many further edits, and at the end.")
    ] = 250,
    limit_evaluation: Annotated[
        int | None,
        typer.Option(min=1, help="Most records measured before the end, drawn by the seed."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    reference: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Text for perplexity; default: bundled."),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Recipe; default: the data directory's."),
    ] = None,
    chat: Annotated[
        bool, typer.Option(help="Edit in conversation, too; --no-chat as the papers do.")
    ] = True,
    patience: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Steps a value goes on once the target is said everywhere; default: the recipe's.",
        ),
    ] = None,
    model: Model = None,
    data_dir: DataDir = None,
    machine: Json = False,
) -> None:
    """Edit a set of facts by each method in turn, and measure what becomes of the model.

    Writes results.json, results.md and plots. A run that was killed continues where it was.
    """
    settings = settings_of({"model": model, "data_dir": data_dir})
    words = None if reference is None else _read(reference)
    from app.cli.bench import BenchOptions, run_bench
    from app.errors import ErrataError
    from app.resident.recipes import read_recipe
    from editing_core.errors import EditingError

    try:
        written = None if recipe is None else read_recipe(recipe)
    except ErrataError as error:
        complain(error)
        raise typer.Exit(_EXIT_FAILED) from error
    options = BenchOptions(
        data=data,
        form=form,
        methods=tuple(dict.fromkeys(name.strip() for name in methods.split(","))),
        out=out,
        edits=edits,
        batch_size=batch_size,
        evaluate_every=evaluate_every,
        limit_evaluation=limit_evaluation,
        seed=seed,
        reference=words,
        recipe=written,
        chat=chat,
        patience=patience,
        command=shlex.join(["errata", *sys.argv[1:]]),
    )
    with StepDisplay(Console(stderr=True)) as steps:
        try:
            results = run_bench(settings, options, steps)
        except (ErrataError, EditingError) as error:
            complain(error)
            raise typer.Exit(_EXIT_FAILED) from error
    if machine:
        tell_json(results)
    else:
        tell(f"results are in {out / 'results.md'}")


def report_command(
    folders: Annotated[list[Path], typer.Argument(exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(dir_okay=False, help="Document to write.")],
) -> None:
    """Write one document on the results of several folders of errata bench."""
    from editing_core.benchmark.collection import write_collection
    from editing_core.benchmark.plots import check_plots
    from editing_core.errors import EditingError

    try:
        check_plots()
        write_collection(folders, out)
    except EditingError as error:
        complain(error)
        raise typer.Exit(_EXIT_FAILED) from error
    tell(f"results are in {out}")


_of_settings = inspect.Signature(
    [_as_option(name, field) for name, field in Settings.model_fields.items()]
)
for _command in (serve_command, worker_command):
    _command.__signature__ = _of_settings  # type: ignore[attr-defined]


def _layers(text: str) -> tuple[int, ...]:
    """``4-8`` or ``4,6,8``."""
    try:
        first, dash, last = text.partition("-")
        found = (
            tuple(range(int(first), int(last) + 1)) if dash else tuple(map(int, text.split(",")))
        )
    except ValueError:
        found = ()
    if not found or sorted(set(found)) != list(found) or found[0] < 0:
        complain(f"layers {text!r} are not read; write 4-8, or 4,6,8")
        raise typer.Exit(_EXIT_USAGE)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        complain(f"{path} cannot be read as text in UTF-8: {error}")
        raise typer.Exit(_EXIT_USAGE) from error


def _guard(settings: Settings) -> None:
    """Close the data directory to others; one that cannot be used ends the command."""
    from app.errors import ErrataError
    from app.kit.data_directory import guard_data_dir

    try:
        closed = guard_data_dir(settings.data_dir)
    except (ErrataError, OSError) as error:
        complain(error)
        raise typer.Exit(_EXIT_FAILED) from error
    if closed:
        complain(f"others on this machine could read {settings.data_dir}; they no longer can")


def settings_of(options: dict[str, str | None]) -> Settings:
    """The settings with these options; what is wrong is told, and ends the command."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    for name in SECRETS:
        if name == "key_pepper" or _PASSWORD.search(given.get(name, "")):
            warn_of_shown_secret(name)
    try:
        return Settings(**given)
    except UnusableEnvFileError as error:
        complain(error)
        raise typer.Exit(_EXIT_USAGE) from error
    except ValidationError as error:
        for problem in error.errors():
            name = "".join(f" {part}" for part in problem["loc"])
            message = problem["msg"].removeprefix("Value error, ")
            complain(f"setting{name}: {message}")
        raise typer.Exit(_EXIT_USAGE) from error
