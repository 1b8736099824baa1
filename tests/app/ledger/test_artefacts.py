import hashlib
from pathlib import Path

import pytest

from app.errors import CorruptArtefact
from app.ledger.artefacts import ArtefactStore


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path / "artefacts")


def test_an_artefact_is_named_after_its_content(store: ArtefactStore) -> None:
    digest = store.put(b"factors")
    assert digest == hashlib.sha256(b"factors").hexdigest()
    assert store.read(digest) == b"factors"
    assert store.path(digest).name == f"{digest}.safetensors"


def test_storing_twice_leaves_one_file(store: ArtefactStore) -> None:
    digest = store.put(b"factors")
    assert store.put(b"factors") == digest
    assert [path.name for path in store.path(digest).parent.iterdir()] == [f"{digest}.safetensors"]


def test_an_altered_artefact_is_refused(store: ArtefactStore) -> None:
    digest = store.put(b"factors")
    store.path(digest).write_bytes(b"factorS")
    with pytest.raises(CorruptArtefact, match="altered"):
        store.read(digest)


def test_a_missing_artefact_is_refused(store: ArtefactStore) -> None:
    with pytest.raises(CorruptArtefact, match="missing"):
        store.read("0" * 64)
