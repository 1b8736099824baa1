"""Edits outlive the server: killed while they are queued, all of them commit, once, in order."""

from collections import Counter
from pathlib import Path

import pytest

from app.client import Errata
from tests.acceptance.server import calibrate_quickly, client, running
from tests.support.tiny import build_tiny_model
from tests.support.waiting import wait_until

_EDITS = 12
_WAIT_S = 120.0

pytestmark = [pytest.mark.crash, pytest.mark.timeout(400)]


def _submit_many(errata: Errata) -> list[str]:
    return [
        errata.submit(f"Place {number}", "The capital of {} is", "Rome", force=True).id
        for number in range(_EDITS)
    ]


def _committed(errata: Errata) -> int:
    return sum(edit.status == "committed" for edit in errata.edits())


@pytest.mark.parametrize("committed_before", [0, 1, 5])
def test_every_accepted_edit_commits_once_and_in_order_after_a_kill(
    tmp_path: Path, committed_before: int
) -> None:
    model = str(build_tiny_model(tmp_path / "tiny"))
    data = tmp_path / "data"
    calibrate_quickly(data)
    settings = {"ERRATA_BATCH_SIZE": "2"}

    with running(data, model, **settings) as server, client(server) as errata:
        submitted = _submit_many(errata)
        wait_until(lambda: _committed(errata) >= committed_before, _WAIT_S)
        server.kill()

    with running(data, model, **settings) as server, client(server) as errata:
        wait_until(
            lambda: _committed(errata) == _EDITS, _WAIT_S, what="every accepted edit committed"
        )
        revisions = list(errata.revisions())
        in_order = [edit for revision in revisions for edit in revision.edits]
        assert in_order == submitted
        assert set(Counter(in_order).values()) == {1}
        assert errata.verify().ok
        head = errata.revision("head")

    with running(data, model, **settings) as server, client(server) as errata:
        assert errata.revision("head") == head  # rebuilt, verified and served


def test_a_head_that_cannot_be_rebuilt_is_never_served(tmp_path: Path) -> None:
    model = str(build_tiny_model(tmp_path / "tiny"))
    data = tmp_path / "data"
    calibrate_quickly(data)
    with running(data, model) as server, client(server) as errata:
        edit = errata.submit("Rome", "{} is the capital of", "Spain", force=True)
        assert errata.wait(edit.id, _WAIT_S).status == "committed"
    (artefact,) = (data / "artefacts").iterdir()
    altered = bytearray(artefact.read_bytes())
    altered[-1] ^= 1
    artefact.write_bytes(altered)
    with pytest.raises(pytest.fail.Exception, match="was altered"), running(data, model):
        pass
