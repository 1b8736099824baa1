"""By which recipe revisions were computed: in the ledger where it changes, and in every report."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.audit.auditing import audit
from app.database.database import Database
from app.database.tables.ledger import EntryKind
from app.evidence.verification import verify_bundle
from app.ledger.artefacts import ArtefactStore
from app.ledger.lifecycle import Lifecycle
from app.ledger.records import BaseRecord, RecipeRecord
from app.ledger.repository import of_kind
from app.main import Components
from app.operations import revisions
from app.operations.origin import Origin, note_recipe, origin_at
from app.resident.recipes import Recipes
from app.settings import Settings
from editing_core.settings import SphereSettings
from tests.acceptance.server import calibrate_quickly
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.open_gates import OPEN_LIMITS
from tests.support.service import running
from tests.support.tiny import build_tiny_model
from tests.support.waiting import wait_until

_READY_S = 120.0


def _note(history: History, recipe: str) -> None:
    with history.database.write() as session:
        note_recipe(session, recipe, actor="worker", now=history.clock())


def _told(database: Database) -> list[dict[str, Any]]:
    with database.read() as session:
        return [json.loads(entry.payload) for entry in of_kind(session, EntryKind.RECIPE)]


def test_the_ledger_tells_of_each_change_once(
    worked: History, artefacts: ArtefactStore, settings: Settings
) -> None:
    assert origin_at(settings.database_url) == Origin("tiny", "model", (0,), "recipe")
    for number, recipe in enumerate(("recipe", "a", "a", "recipe", "b")):
        _note(worked, recipe)
        worked.recipe = recipe
        worked.edit(f"edit-{number}")
    expected = [("a", "recipe"), ("recipe", "a"), ("b", "recipe")]
    assert [(told["digest"], told["former"]) for told in _told(worked.database)] == expected
    assert audit(worked.database, artefacts).ok
    found = origin_at(settings.database_url)
    assert found is not None
    assert found.recipe == "b"


def test_a_database_that_is_not_there_has_no_origin_and_is_not_made(tmp_path: Path) -> None:
    absent = tmp_path / "absent.db"
    assert origin_at(f"sqlite:///{absent}") is None
    assert not absent.exists()


def test_a_change_that_does_not_follow_is_a_bad_entry() -> None:
    base = BaseRecord(
        model="m",
        model_digest="d",
        weights_digest="w",
        layers=(0,),
        site="feed-forward",
        dtype="float32",
        recipe_digest="a",
    )
    for record in (
        RecipeRecord(digest="c", former="b"),
        RecipeRecord(digest="a", former="a"),
    ):
        lifecycle = Lifecycle()
        lifecycle.take(0, base)
        with pytest.raises(ValueError, match="in use"):
            lifecycle.take(1, record)


def _edit(client: TestClient, subject: str) -> None:
    """Committed, once the model is there."""
    body = {"subject": subject, "prompt": "The capital of {} is", "target": "Rome", "force": True}
    edit = client.post("/v1/edits", json=body).json()["id"]

    def status() -> str:
        return str(client.get(f"/v1/edits/{edit}").json()["status"])

    wait_until(lambda: status() not in ("accepted", "running"), _READY_S, what="the edit's end")
    assert status() == "committed"


@only_sqlite
@pytest.mark.usefixtures("one_thread")
def test_an_edit_by_another_recipe_is_preceded_by_an_entry_that_names_both(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calibrate_quickly(settings.data_dir)
    model = str(build_tiny_model(tmp_path / "tiny", layers=6))
    gates = {f"gate_{name}": limit for name, limit in OPEN_LIMITS.model_dump().items()}
    own = settings.model_copy(update={"model": model, "redis_url": "memory://", **gates})
    with running(own, Components()) as client:
        _edit(client, "France")
    recipes = Recipes(own.data_dir)
    first = recipes.in_use()
    assert first is not None
    second = replace(first, sphere=SphereSettings(alpha=0.7))
    recipes.keep(second, "Some text.")
    recipes.use(second)
    with running(own, Components()) as client:
        for subject in ("Italy", "Spain"):
            _edit(client, subject)
        entries = client.get("/v1/ledger?limit=1000").json()["items"]
        assert client.get("/v1/ledger/verify").json()["ok"]
        bundle = tmp_path / "bundle.tar"
        bundle.write_bytes(client.get("/v1/ledger/bundle").content)
    kinds = [entry["kind"] for entry in entries if entry["kind"] in ("recipe", "revision")]
    assert kinds == ["revision", "recipe", "revision", "revision"]
    (told,) = (entry["payload"] for entry in entries if entry["kind"] == "recipe")
    assert told == {"digest": second.digest, "former": first.digest}
    verdict = verify_bundle(bundle)
    assert verdict.ok, verdict.first_bad
    database = Database(own.database_url)
    with database.read() as session:
        reports = [revisions.get(session, number).report for number in range(4)]
    database.close()
    computed_by = [report["recipe_digest"] for report in reports]
    assert computed_by == [first.digest, first.digest, second.digest, second.digest]
    (line,) = (text for text in caplog.messages if text.startswith("recipe_differs"))
    assert f"recipe={second.digest} revisions_by={first.digest}" in line
