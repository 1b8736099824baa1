"""What people read is held against the chain: any row that says something else is named."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.access import service as keys
from app.access.scopes import Scope
from app.access.service import NewApiKey
from app.audit.auditing import audit, audit_steps
from app.database.database import Database
from app.database.tables.exports import ExportFormat
from app.database.tables.withdrawals import Why
from app.edits.withdrawal_service import withdraw
from app.exports import repository as exports_repository
from app.exports import service as exports
from app.exports.service import Written
from app.ledger.artefacts import ArtefactStore
from app.ledger.schemas import BadRow, LedgerVerdict
from app.operations.erasing import erase_reason
from app.operations.labels import add_label, remove_label
from app.operations.lifecycle import cancel, give_up, reject, requeue
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.history import REPORT, History
from tests.support.tampering import tampering


class Site:
    """A history with something of everything, and what an audit of it finds."""

    def __init__(self, database: Database, artefacts: ArtefactStore, settings: Settings) -> None:
        self.database, self.artefacts, self.settings = database, artefacts, settings
        self.history = History(database, artefacts)
        self._edits()
        self._ends()
        self._labels_keys_exports()
        self._withdrawal()

    def __call__(self) -> LedgerVerdict:
        return audit(self.database, self.artefacts)

    def _edits(self) -> None:
        history = self.history
        history.edit("a", "b")
        history.edit("c", supersedes="a")
        history.undo("back", 1, restored=["a"], removed=["c"])
        history.edit("d", supersedes="b")
        for edit in ("e", "f"):
            history.accept(edit, batch_id=self._batch(edit))
        history.claim()
        history.commit_edits(["e", "f"])
        history.erase("e")

    def _batch(self, edit: str) -> str:
        return self.history.open_batch("batch", atomic=True) if edit == "e" else "batch"

    def _ends(self) -> None:
        history, now = self.history, self.history.clock
        for edit in ("rejected", "dead", "revived", "cancelled", "waiting"):
            history.accept(edit)
        history.claim(3)
        with self.database.write() as session:
            reject(session, "rejected", "already_true", now=now(), actor="worker", report=REPORT)
            for id in ("dead", "revived"):
                give_up(session, id, "failed", now=now(), actor="worker")
            requeue(session, "revived", now=now(), actor="client")
            cancel(session, "cancelled", now=now(), actor="client")
        history.erase("dead")

    def _labels_keys_exports(self) -> None:
        now = self.history.clock
        with self.database.write() as session:
            add_label(session, 1, "release", "digest", actor="client", now=now())
            add_label(session, 2, "gone", "digest", actor="client", now=now())
            remove_label(session, "gone", actor="client", now=now())
            until = now() + timedelta(days=900)
            self.key = keys.create(
                session, self.settings, NewApiKey([Scope.QUERY], "q", until), actor="cli", now=now()
            )[0].id
            self.revoked = keys.create(
                session, self.settings, NewApiKey([Scope.ADMIN]), actor="cli", now=now()
            )[0].id
            keys.revoke(session, self.revoked, actor="cli", now=now())
            for id in ("export_1", "export_2"):
                exports.accept(
                    session,
                    id=id,
                    format=ExportFormat.MERGED,
                    revision=1,
                    max_rank=None,
                    actor="key:x",
                    now=now(),
                )
            exports.finish(session, "export_1", Written(9, "ab" * 32, ()), now=now())
            exports.remove(session, "export_2", actor="key:x", now=now())

    def _withdrawal(self) -> None:
        now = self.history.clock
        with self.database.write() as session:
            exports.accept(
                session,
                id="export_3",
                format=ExportFormat.MERGED,
                revision=2,
                max_rank=None,
                actor="key:x",
                now=now(),
            )
            exports.finish(session, "export_3", Written(9, "cd" * 32, ()), now=now())
            first = exports_repository.get(session, "export_1")
            exports.share(session, first, actor="key:y", now=now())
            withdraw(session, "c", Why.HARM, actor="client", now=now())
            erase_reason(session, "back", actor="client", now=now())


@pytest.fixture
def site(database: Database, artefacts: ArtefactStore, settings: Settings) -> Site:
    settings.data_dir.mkdir(exist_ok=True)
    return Site(database, artefacts, settings)


def test_what_nobody_touched_holds(site: Site) -> None:
    verdict = site()
    assert (verdict.ok, verdict.first_bad, verdict.bad_row) == (True, None, None)


# ruff: noqa: S608 - the statements are the test's own
_LATER = "'2030-01-01 00:00:00.000000'"

# What is changed, and the row that is named.
CHANGES = [
    ("UPDATE operations SET actor = 'key:other' WHERE id = 'a'", "operations", "a"),
    ("UPDATE operations SET kind = 'rollback' WHERE id = 'a'", "operations", "a"),
    (f"UPDATE operations SET created_at = {_LATER} WHERE id = 'a'", "operations", "a"),
    (f"UPDATE operations SET finished_at = {_LATER} WHERE id = 'a'", "operations", "a"),
    ("UPDATE operations SET seq = 99 WHERE id = 'a'", "operations", "a"),
    ("UPDATE operations SET seq = 99 WHERE id = 'waiting'", "operations", "waiting"),
    ("UPDATE operations SET seq = 99 WHERE id = 'revived'", "operations", "revived"),
    ("UPDATE operations SET status = 'rejected' WHERE id = 'a'", "operations", "a"),
    ("UPDATE operations SET status = 'accepted' WHERE id = 'rejected'", "operations", "rejected"),
    ("UPDATE operations SET status = 'accepted' WHERE id = 'dead'", "operations", "dead"),
    ("UPDATE operations SET status = 'cancelled' WHERE id = 'waiting'", "operations", "waiting"),
    ("UPDATE operations SET status = 'dead' WHERE id = 'revived'", "operations", "revived"),
    ("UPDATE operations SET reason = 'because' WHERE id = 'rejected'", "operations", "rejected"),
    ("UPDATE operations SET revision = 2 WHERE id = 'a'", "operations", "a"),
    ("UPDATE operations SET to_revision = 2 WHERE id = 'back'", "operations", "back"),
    ("UPDATE operations SET target_edit = 'a' WHERE id = 'back'", "operations", "back"),
    ("UPDATE operations SET ledger_index = 0 WHERE id = 'a'", "operations", "a"),
    ("UPDATE operations SET ledger_index = 20 WHERE id = 'a'", "operations", "a"),
    ("UPDATE edits SET method = 'ft' WHERE id = 'a'", "edits", "a"),
    ("UPDATE edits SET text_digest = 'x' WHERE id = 'a'", "edits", "a"),
    ("UPDATE edits SET status = 'reverted' WHERE id = 'a'", "edits", "a"),
    ("UPDATE edits SET status = 'superseded' WHERE id = 'c'", "edits", "c"),
    ("UPDATE edits SET status = 'committed' WHERE id = 'c'", "edits", "c"),
    ("UPDATE edits SET status = 'reverted' WHERE id = 'b'", "edits", "b"),
    ("UPDATE edits SET superseded_by = 'a' WHERE id = 'b'", "edits", "b"),
    ("UPDATE edits SET supersedes = NULL WHERE id = 'd'", "edits", "d"),
    ("UPDATE edits SET supersedes = 'e' WHERE id = 'd'", "edits", "d"),
    ("UPDATE edits SET status = 'committed' WHERE id = 'waiting'", "edits", "waiting"),
    ("UPDATE edits SET batch_id = 'batch' WHERE id = 'a'", "edits", "a"),
    ("UPDATE edits SET gates = '{\"target_p\": 0.5}' WHERE id = 'a'", "edits", "a"),
    (f"UPDATE edits SET erased_at = {_LATER} WHERE id = 'e'", "edits", "e"),
    ("UPDATE edit_batches SET atomic = NOT atomic", "edit_batches", "batch"),
    ("UPDATE edit_texts SET salt = '11' WHERE edit_id = 'a'", "edit_texts", "a"),
    ("UPDATE edit_texts SET salt = 'no' WHERE edit_id = 'a'", "edit_texts", "a"),
    ("UPDATE edit_texts SET content = '{}' WHERE edit_id = 'a'", "edit_texts", "a"),
    ("UPDATE edit_texts SET content = '[1.5]' WHERE edit_id = 'a'", "edit_texts", "a"),
    ("DELETE FROM edit_texts WHERE edit_id = 'a'", "edit_texts", "a"),
    ("UPDATE edit_texts SET edit_id = 'e' WHERE edit_id = 'a'", "edit_texts", "e"),
    ("DELETE FROM edit_texts WHERE edit_id = 'waiting'", "edit_texts", "waiting"),
    ("DELETE FROM edits WHERE id = 'waiting'", "edits", "waiting"),
    ("DELETE FROM operations WHERE id = 'waiting'", "operations", "waiting"),
    (
        "INSERT INTO edit_batches VALUES ('more', {true}, '2026-01-01 00:00:00')",
        "edit_batches",
        "more",
    ),
    ("UPDATE revisions SET weights_digest = 'x' WHERE number = 1", "revisions", "1"),
    ("UPDATE revisions SET weights_digest = 'x' WHERE number = 0", "revisions", "0"),
    ("UPDATE revisions SET live_edits = 7 WHERE number = 1", "revisions", "1"),
    ("UPDATE revisions SET kind = 'revert' WHERE number = 3", "revisions", "3"),
    (f"UPDATE revisions SET created_at = {_LATER} WHERE number = 3", "revisions", "3"),
    ("UPDATE revisions SET operation = 'b' WHERE number = 3", "revisions", "3"),
    ("DELETE FROM revision_changes WHERE edit_id = 'a'", "revision_changes", "1"),
    ("UPDATE revision_changes SET change = -change WHERE edit_id = 'd'", "revision_changes", "4"),
    ("UPDATE revision_changes SET artefact_index = 7 WHERE edit_id = 'b'", "revision_changes", "1"),
    ("UPDATE revision_changes SET artefact = 'x' WHERE edit_id = 'b'", "revision_changes", "1"),
    (
        "UPDATE revision_changes SET artefact_index = 7 WHERE edit_id = 'a' AND revision = 3",
        "revision_changes",
        "3",
    ),
    ("UPDATE snapshots SET revision = 2", "snapshots", "release"),
    ("UPDATE snapshots SET label = 'other'", "snapshots", "other"),
    (f"UPDATE snapshots SET created_at = {_LATER}", "snapshots", "release"),
    ("DELETE FROM snapshots", "snapshots", "release"),
    ("UPDATE api_keys SET scopes = '[\"admin\"]' WHERE id = {key}", "api_keys", "{key}"),
    ("UPDATE api_keys SET expires_at = NULL WHERE id = {key}", "api_keys", "{key}"),
    (f"UPDATE api_keys SET revoked_at = {_LATER} WHERE id = {{key}}", "api_keys", "{key}"),
    ("UPDATE api_keys SET revoked_at = NULL WHERE id = {revoked}", "api_keys", "{revoked}"),
    ("UPDATE api_keys SET revocation_index = NULL WHERE id = {revoked}", "api_keys", "{revoked}"),
    ("UPDATE api_keys SET id = 'forged' WHERE id = {key}", "api_keys", "forged"),
    ("DELETE FROM api_keys WHERE id = {key}", "api_keys", "{key}"),
    ("UPDATE exports SET actor = 'key:other'", "exports", "export_1"),
    ("UPDATE exports SET digest = 'x'", "exports", "export_1"),
    ("UPDATE exports SET revision = 2", "exports", "export_1"),
    ("UPDATE exports SET digest = 'x' WHERE id = 'export_3'", "exports", "export_3"),
    ("DELETE FROM exports", "exports", "export_1"),
    ("UPDATE withdrawals SET first = 1", "withdrawals", "c"),
    ("UPDATE withdrawals SET why = 'legal'", "withdrawals", "c"),
    ("UPDATE withdrawals SET edit_id = 'd'", "withdrawals", "c"),
    (f"UPDATE withdrawals SET withdrawn_at = {_LATER}", "withdrawals", "c"),
    ("DELETE FROM withdrawals", "withdrawals", "c"),
    ("UPDATE withdrawals SET ledger_index = 0", "withdrawals", "c"),
]


@pytest.mark.parametrize(("change", "table", "id"), CHANGES)
def test_a_row_that_is_not_what_the_ledger_says_is_named(
    site: Site, change: str, table: str, id: str
) -> None:
    names = {"key": site.key, "revoked": site.revoked}
    true = "TRUE" if site.database.engine.dialect.name == "postgresql" else "1"
    with tampering(site.database) as execute:
        for name, value in names.items():
            change = change.replace(f"{{{name}}}", f"'{value}'")
            id = id.replace(f"{{{name}}}", value)
        execute(change.replace("{true}", true).replace(":", "\\:"))
    verdict = site()
    assert not verdict.ok
    assert verdict.bad_row is not None
    assert (verdict.bad_row.table, verdict.bad_row.id) == (table, id)
    assert verdict.bad_artefact is None


def test_an_operation_that_no_entry_tells_of_is_named(site: Site) -> None:
    with tampering(site.database) as execute:
        execute(
            "INSERT INTO operations (id, seq, kind, status, created_at, actor, ledger_index, "
            "attempts, alone) SELECT 'forged', 99, kind, status, created_at, actor, ledger_index, "
            "attempts, alone FROM operations WHERE id = 'a'"
        )
    verdict = site()
    assert verdict.bad_row is not None
    assert (verdict.bad_row.table, verdict.bad_row.id) == ("operations", "forged")


@only_sqlite
@pytest.mark.parametrize(
    ("change", "table", "id"),
    [
        ("UPDATE operations SET status = 'forged' WHERE id = 'b'", "operations", "b"),
        ("UPDATE operations SET actor = CAST(x'ff' AS TEXT) WHERE id = 'b'", "operations", "b"),
        ("UPDATE operations SET created_at = 'then' WHERE id = 'b'", "operations", "b"),
        ("UPDATE edit_texts SET content = 'no JSON' WHERE edit_id = 'b'", "edit_texts", "b"),
        ("UPDATE edit_texts SET salt = CAST(x'ff' AS TEXT) WHERE edit_id = 'b'", "edit_texts", "b"),
        ("UPDATE edits SET gates = '7' WHERE id = 'b'", "edits", "b"),
        ("UPDATE api_keys SET scopes = '7'", "api_keys", None),
    ],
)
def test_a_row_that_cannot_even_be_read_is_named(
    site: Site, change: str, table: str, id: str | None
) -> None:
    with tampering(site.database) as execute:
        execute(change)
    verdict = site()
    assert verdict.bad_row is not None
    assert verdict.bad_row.table == table
    assert id in (None, verdict.bad_row.id)


def _committing_meanwhile(site: Site) -> Iterator[Callable[[], object]]:
    """What may be committed between any two pages."""
    history = site.history
    yield lambda: (history.claim(), history.commit_edits(["waiting", "revived"]))
    yield lambda: history.edit("later", supersedes="a")
    yield lambda: history.erase("later")
    yield lambda: history.undo(
        "further", 1, restored=["a", "b"], removed=["later", "d", "e", "f", "waiting", "revived"]
    )
    for number in range(40):
        yield lambda number=number: history.accept(f"more-{number}")  # type: ignore[misc]


def test_what_is_committed_while_it_is_checked_is_no_contradiction(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.audit.auditing._PAGE", 3)
    steps, commits = audit_steps(site.database, site.artefacts), _committing_meanwhile(site)
    found: LedgerVerdict | None = None
    while found is None:
        try:
            next(steps)
        except StopIteration as end:
            found = end.value
        else:
            next(commits, lambda: None)()
    assert (found.ok, found.bad_row) == (True, None)
    assert site().ok


def test_the_api_names_the_row(
    client: TestClient, database: Database, artefacts: ArtefactStore, tmp_path: Path
) -> None:
    del tmp_path
    history = History(database, artefacts)
    history.edit("a")
    with tampering(database) as execute:
        execute("UPDATE operations SET actor = 'key:other' WHERE id = 'a'")
    told = client.get("/v1/ledger/verify").json()
    assert (told["ok"], told["first_bad"]) == (False, 1)
    what = "actor is not what ledger entry 1 says"
    assert BadRow(**told["bad_row"]) == BadRow(table="operations", id="a", what=what)
