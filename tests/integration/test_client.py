import pytest
from starlette.testclient import TestClient

from app.client import Errata, Refused
from app.operations.service import give_up
from tests.integration.history import History
from tests.integration.service import FACT

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
