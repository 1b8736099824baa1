"""Snapshots speed rebuilding up and change nothing: with them, after a kill, and without any."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.client import Errata, Refused
from tests.acceptance.server import calibrate_quickly, client, running
from tests.support.tiny import build_tiny_model

_EDITS = 5
_WAIT_S = 120.0

pytestmark = [pytest.mark.crash, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


@contextmanager
def _served(data: Path, model: str) -> Iterator[Errata]:
    """A server that keeps every second revision; killed at the end."""
    settings = {"ERRATA_SNAPSHOT_EVERY": "2", "ERRATA_BATCH_SIZE": "1"}
    with running(data, model, **settings) as server, client(server) as errata:
        yield errata
        server.kill()


def _edit(errata: Errata, number: int) -> None:
    found = errata.submit(f"Place {number}", "The capital of {} is", "Rome", force=True)
    assert errata.wait(found.id, _WAIT_S).status == "committed"


def _digests(errata: Errata) -> list[str]:
    """Of every revision, each of which was just rebuilt and compared with what was recorded."""
    revisions = list(errata.revisions())
    for revision in revisions:
        errata.complete("Rome", revision=revision.number, max_tokens=1)
    return [revision.weights_digest for revision in revisions]


def _kept(errata: Errata) -> list[tuple[int, str | None]]:
    return [(snapshot.revision, snapshot.label) for snapshot in errata.snapshots()]


def test_the_bits_are_the_same_with_snapshots_after_a_kill_and_without_snapshots(
    tmp_path: Path, model: str
) -> None:
    data = tmp_path / "data"
    calibrate_quickly(data)

    with _served(data, model) as errata:
        for number in range(_EDITS):
            _edit(errata, number)
        errata.snapshot("release", 3)
        assert _kept(errata) == [(2, None), (4, None), (3, "release")]
        digests = _digests(errata)

    orphan = data / "artefacts" / f"{'0' * 64}.safetensors"
    orphan.write_bytes(b"stored by a process that died before its commit")
    with _served(data, model) as errata:
        assert not orphan.exists()
        assert _digests(errata) == digests
        rollback = errata.rollback("release")
        assert errata.wait_operation(rollback.id, _WAIT_S).revision == _EDITS + 1
        digests.append(digests[3])
        assert _digests(errata) == digests

    files = list((data / "snapshots").glob("*.safetensors"))
    assert len(files) == 3  # of 2, 4 and 3; revision 6 equals 3 and has the same file
    for file in files:
        file.unlink()
    with _served(data, model) as errata:
        assert _digests(errata) == digests
        assert errata.verify().ok
        _edit(errata, _EDITS)
        assert errata.rollback("release").status in ("accepted", "running")


def test_a_label_is_given_once(tmp_path: Path, model: str) -> None:
    data = tmp_path / "data"
    calibrate_quickly(data)
    with _served(data, model) as errata:
        _edit(errata, 0)
        first = errata.snapshot("release")
        assert (first.revision, first.label, first.automatic) == (1, "release", False)
        assert errata.snapshot("release", 1) == first
        with pytest.raises(Refused, match="is on revision 1") as refused:
            errata.snapshot("release", 0)
        assert (refused.value.status, refused.value.code) == (409, "label_taken")
        assert errata.verify().entries == 4  # base, operation, revision, label
