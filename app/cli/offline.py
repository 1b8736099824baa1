"""`errata verify BUNDLE`: an auditor's check, which asks no server and no network."""

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console

from app.cli.display import StepDisplay, complain, tell, tell_json
from app.cli.local import settings_of
from app.errors import BadCheckpoint
from app.evidence.verification import BundleVerdict, CheckWeights, verify_bundle
from app.ledger.checkpoint import Checkpoint
from editing_core.errors import EditingError
from editing_core.progress import Progress

_EXIT_NO = 1
_EXIT_USAGE = 2
_KEY_DIGITS = 64


@dataclass(frozen=True)
class Asked:
    """What else a bundle is to be checked against.

    Attributes:
        model: What to recompute the weights from.
        checkpoint: File with a checkpoint that was kept elsewhere.
        public_keys: The only keys whose signatures count.
        every_revision: Whether to recompute each revision.
    """

    model: str | None
    checkpoint: Path | None
    public_keys: tuple[str, ...]
    every_revision: bool


def verify_offline(bundle: Path, asked: Asked, *, machine: bool) -> None:
    """Check a bundle, tell what was found, and exit with 1 if something does not hold."""
    if asked.every_revision and asked.model is None:
        _refuse("--every-revision needs --model: weights are recomputed from it")
    for key in asked.public_keys:
        if len(key) != _KEY_DIGITS or not set(key) <= set("0123456789abcdef"):
            _refuse(f"public key {key[:80]!r} is not read; give its {_KEY_DIGITS} hex digits")
    kept = None if asked.checkpoint is None else _checkpoint(asked.checkpoint)
    with StepDisplay(Console(stderr=True)) as steps:
        try:
            verdict = verify_bundle(
                bundle,
                kept=kept,
                trusted=frozenset(asked.public_keys),
                check_weights=_recomputation(asked, steps),
            )
        except (OSError, EditingError) as error:
            _refuse(str(error))
    if machine:
        tell_json(verdict.model_dump_json(indent=2))
    else:
        tell(*_told(verdict))
    for warning in _warnings(verdict):
        complain(warning)
    if not verdict.ok:
        raise typer.Exit(_EXIT_NO)


def _checkpoint(path: Path) -> Checkpoint:
    try:
        return Checkpoint.from_text(path.read_bytes())
    except (OSError, BadCheckpoint) as error:
        _refuse(f"{path}: {error}")


def _recomputation(asked: Asked, progress: Progress) -> CheckWeights | None:
    if asked.model is None:
        return None
    # It pulls in torch, which a check without a model does not wait for.
    from app.evidence.recomputation import Recomputation
    from editing_core.model.loading import BUNDLES

    if asked.model not in BUNDLES and not Path(asked.model).expanduser().exists():
        _refuse(
            f"model {asked.model!r} is not on this machine; "
            f"give one of {', '.join(BUNDLES)}, a folder, or a GGUF file"
        )
    return Recomputation(asked.model, settings_of({}).cache_dir, asked.every_revision, progress)


def _told(verdict: BundleVerdict) -> list[str]:
    """What was found, in the order in which it was checked, up to what does not hold."""
    told = [f"chain: {verdict.entries} entries hold; head {verdict.head_hash}"]
    if verdict.public_key is not None:
        whose = "which you trust" if verdict.key_trusted else "a key that nothing here vouches for"
        told.append(f"checkpoint: signed by {verdict.public_key}, {whose}")
    if verdict.kept_size is not None:
        told.append(f"kept checkpoint: the chain contains its {verdict.kept_size} entries")
    if verdict.first_bad is not None:
        bad = verdict.first_bad
        which = f"{bad.part} {bad.name}"
        is_named = bad.message.startswith((which, str(bad.name)))
        return [*told, f"does not hold: {bad.message if is_named else f'{which}: {bad.message}'}"]
    revisions, live = verdict.revisions, verdict.live_edits
    told.append(f"revisions: {revisions} after the base, {live} edits live in the newest")
    withheld = "" if not verdict.withheld else f"; {verdict.withheld} withheld, as withdrawn"
    told.append(f"artefacts: {verdict.artefacts}, all unaltered{withheld}")
    weights = {
        "none": "not recomputed; give --model",
        "head": "the newest revision's, recomputed, are those recorded",
        "every revision": "every revision's, recomputed, are those recorded",
    }
    if verdict.withheld:
        weights["every revision"] += "; but for withdrawn ones whose factors are withheld"
    return [*told, f"weights: {weights[verdict.weights]}"]


def _warnings(verdict: BundleVerdict) -> list[str]:
    """What does not contradict the bundle, and yet an auditor must know."""
    told = []
    if verdict.public_key is not None and not verdict.key_trusted:
        told.append(
            "WARNING: nothing vouches for the key that signed this bundle, so whoever gave it to "
            "you can have made all of it; give --public-key or --checkpoint"
        )
    if verdict.set_backs:
        entries = ", ".join(map(str, verdict.set_backs))
        told.append(
            f"WARNING: an older state of the database was accepted at entry {entries}; what had "
            "been committed after that state is not in this ledger"
        )
    return told


def _refuse(message: str) -> NoReturn:
    complain(message)
    raise typer.Exit(_EXIT_USAGE)
