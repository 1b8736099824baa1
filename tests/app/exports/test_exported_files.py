"""What is in an export's file; it does not depend on the database."""

import hashlib
import io
import tarfile
from pathlib import Path

import peft
import pytest
import torch

from app.database.database import Database
from app.settings import Settings
from editing_core.export import live_deltas
from editing_core.model.loading import LoadedModel
from editing_core.model.opening import open_model
from editing_core.weights.delta import Weights
from editing_core.weights.digest import weights_digest
from tests.support.engines import only_sqlite
from tests.support.exporting import Installation, edited_twice, manifest

_IDS = torch.tensor([[5, 9, 20, 3, 77]])

pytestmark = only_sqlite


@pytest.fixture
def installation(
    settings: Settings, database: Database, tiny_model: LoadedModel, one_thread: None
) -> Installation:
    del one_thread
    return edited_twice(settings, database, tiny_model)


@torch.no_grad()
@pytest.mark.parametrize("revision", [0, 1, 2])
def test_a_merged_export_answers_with_the_bits_of_its_revision(
    installation: Installation, revision: int, tmp_path: Path
) -> None:
    with installation.serving() as client:
        export = client.made(format="merged", revision=revision)
        folder = client.unpack(export, tmp_path / "out")
    merged = open_model(folder).eval()
    with installation.resident().view(revision) as view:
        assert torch.equal(merged(_IDS).logits, view.model(_IDS).logits)
    weight_of, layers = installation.model.architecture.weight_of, installation.edited.lineage.base
    found = weights_digest({layer: weight_of(merged, layer) for layer in layers})
    assert found == installation.edited.recorded_digest(revision)
    assert found == manifest(folder)["weights_digest"]


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_lora_export_answers_as_the_head_on_the_base(
    installation: Installation, tmp_path: Path
) -> None:
    with installation.serving() as client:
        folder = client.unpack(client.made(format="lora"), tmp_path / "out")
        small = client.unpack(client.made(format="lora", max_rank=1), tmp_path / "small")
    write_to = tmp_path / "base"
    installation.model.model.save_pretrained(write_to)
    base = open_model(write_to)
    adapted = peft.PeftModel.from_pretrained(base, str(folder)).eval()
    with installation.resident().view() as view:
        assert torch.allclose(adapted(_IDS).logits, view.model(_IDS).logits, rtol=0, atol=1e-4)
    assert {layer["rank"] for layer in manifest(folder)["adapter"]} == {3}
    for layer in manifest(small)["adapter"]:
        assert (layer["rank"], layer["exact_rank"]) == (1, 3)
        assert 0 < layer["dropped_energy"] < 1


def test_a_delta_export_and_the_delta_of_a_revision_rebuild_it(
    installation: Installation, tmp_path: Path
) -> None:
    with installation.serving() as client:
        folder = client.unpack(client.made(format="delta", revision=1), tmp_path / "out")
        direct = client.http.get("/v1/revisions/1/delta")
        head = client.http.get("/v1/revisions/head/delta")
    data = (folder / "delta.safetensors").read_bytes()
    assert direct.content == data
    assert direct.headers["ETag"] == f'"{hashlib.sha256(data).hexdigest()}"'
    assert head.headers["X-Revision"] == "2"
    base = Weights(installation.edited.lineage.base)
    for number, content in ((1, data), (2, head.content)):
        rebuilt = base.changed(add=live_deltas(content)).materialise()
        assert weights_digest(rebuilt) == installation.edited.recorded_digest(number)


@pytest.mark.parametrize("format", ["merged", "lora", "delta"])
def test_every_export_says_what_it_is_of_and_holds_no_word_of_an_edit(
    installation: Installation, format: str, tmp_path: Path
) -> None:
    installation.edited.records.erase("edit-1-0")
    with installation.serving() as client:
        export = client.made(format=format, revision=1)
        folder = client.unpack(export, tmp_path / "out")
        recorded = client.http.get("/v1/revisions/1").json()
        entries = client.http.get("/v1/ledger").json()["items"]
    said = manifest(folder)
    assert (said["format"], said["revision"], said["live_edits"]) == (format, 1, 2)
    assert said["model_digest"] == installation.model.digest
    assert said["ledger"]["hash"] == recorded["ledger_hash"]
    assert entries[said["ledger"]["index"]]["hash"] == recorded["ledger_hash"]
    assert said["artefacts"] == [recorded["artefact_digest"]]
    assert said["weights_digest"] == recorded["weights_digest"]
    others = [path for path in folder.iterdir() if path.name != "revision.json"]
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in others}
    assert said["files"] == digests
    for path in folder.iterdir():
        assert b"Subject of" not in path.read_bytes()


def test_the_same_revision_is_the_same_file(installation: Installation) -> None:
    with installation.serving() as client:
        for format in ("merged", "lora", "delta"):
            digests = set[str]()
            for _ in range(2):
                export = client.made(format=format, revision=1)
                digests.add(export["digest"])
                client.http.delete(f"/v1/exports/{export['id']}")  # so that it is written again
            assert len(digests) == 1


def test_what_no_adapter_can_hold_fails_with_the_reason_and_can_be_merged(
    installation: Installation,
) -> None:
    installation.edited.edit_densely()
    with installation.serving() as client:
        failed = client.ended(client.post(format="lora")["id"])
        assert failed["status"] == "failed"
        assert "edit-3-dense" in failed["reason"]
        assert "format merged or delta" in failed["reason"]
        assert failed["download"] is None
        client.made(format="merged")
        delta = client.http.get("/v1/revisions/3/delta").content
    base = Weights(installation.edited.lineage.base)
    rebuilt = base.changed(add=live_deltas(delta)).materialise()
    assert weights_digest(rebuilt) == installation.edited.recorded_digest(3)


def test_the_archive_opens_into_one_folder_named_after_model_and_revision(
    installation: Installation,
) -> None:
    with installation.serving() as client:
        data = client.http.get(client.made(format="lora", revision=1)["download"]).content
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
    assert {member.name.partition("/")[0] for member in members} == {"tiny@1-lora"}
    assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}
