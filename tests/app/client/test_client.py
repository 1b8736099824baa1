from datetime import UTC, datetime

import pytest
from starlette.testclient import TestClient

from app.access.scopes import Scope
from app.access.service import NewApiKey
from app.client import Errata, Refused
from app.keys.bootstrap import create_key
from app.operations.lifecycle import give_up
from app.settings import Settings
from tests.support.history import History
from tests.support.service import FACT

_FACT = (FACT["subject"], FACT["prompt"], FACT["target"])


@pytest.fixture
def errata(client: TestClient) -> Errata:
    return Errata(http=client)


def test_the_client_sends_batches_and_reads_them_back(errata: Errata) -> None:
    other = FACT | {"subject": "Michel Rocard"}
    batch = errata.submit_batch([FACT, other], atomic=True, dry_run=True, idempotency_key="once")
    assert batch.atomic
    assert [edit.subject for edit in batch.edits] == [FACT["subject"], "Michel Rocard"]
    assert errata.batch(batch.id) == batch
    again = errata.submit_batch([FACT, other], atomic=True, dry_run=True, idempotency_key="once")
    assert again.id == batch.id


def test_the_client_sends_gates_and_dry_runs(errata: Errata) -> None:
    edit = errata.submit(*_FACT, gates={"target_p": 0.9}, dry_run=True)
    assert edit.model_dump().items() >= {"gates": {"target_p": 0.9}, "dry_run": True}.items()
    with pytest.raises(Refused, match="looser"):
        errata.submit(*_FACT, gates={"canaries_kept": 0.1})


def test_the_client_queues_a_dead_edit_again(errata: Errata, worked: History) -> None:
    edit = errata.submit(*_FACT)
    with pytest.raises(Refused, match="only one that is dead"):
        errata.requeue(edit.id)
    worked.claim()
    with worked.database.write() as session:
        give_up(session, edit.id, "crashed", now=worked.clock(), actor="worker")
    again = errata.requeue(edit.id)
    assert (again.id, again.seq, again.status) == (edit.id, 2, "accepted")


def test_the_client_withdraws_an_edit_and_erases_its_words(errata: Errata) -> None:
    edit = errata.submit(*_FACT)
    with pytest.raises(Refused, match="cancel it first"):
        errata.erase(edit.id)
    assert errata.cancel(edit.id).status == "cancelled"
    assert errata.erase(edit.id).subject is None
    assert errata.edit(edit.id).subject is None


def test_the_client_makes_and_revokes_keys(
    errata: Errata, client: TestClient, settings: Settings
) -> None:
    with pytest.raises(Refused, match="errata keys create --scope admin"):
        errata.keys.create(["admin"])
    admin = create_key(settings, NewApiKey([Scope.ADMIN]))
    client.headers["Authorization"] = f"Bearer {admin.key}"
    made = errata.keys.create(["query", "edit"], expires_at=datetime(2099, 1, 1, tzinfo=UTC))
    assert (made.scopes, made.expires_at) == (["query", "edit"], "2099-01-01T00:00:00Z")
    revoked = errata.keys.revoke(made.id, cancel_queued=True)
    assert (revoked.revoked_at is not None, revoked.cancelled) == (True, 0)
    assert [(key.id, key.revoked_at is None) for key in errata.keys.all()] == [
        (admin.id, True),
        (made.id, False),
    ]
    with pytest.raises(Refused, match="no snapshot is labelled"):
        errata.remove_label("absent")
