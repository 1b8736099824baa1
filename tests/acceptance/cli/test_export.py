"""`errata export` against a running server: a file whose digest the server stated."""

import hashlib
import json
import tarfile
from pathlib import Path

import httpx2
import pytest

from app.client import Damaged, Errata
from tests.acceptance.cli.conftest import Run


def test_an_export_is_awaited_fetched_and_checked(errata: Run, server: str, tmp_path: Path) -> None:
    out = tmp_path / "merged.tar"
    done = errata("export", "--format", "merged", "--out", str(out))
    assert done.returncode == 0, done.stderr
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    assert f"SHA-256 {digest}" in done.stdout
    assert "export revision" in done.stderr
    head = httpx2.get(f"{server}/v1/revisions/head").json()
    with tarfile.open(out) as tar:
        (name,) = [name for name in tar.getnames() if name.endswith("/revision.json")]
        member = tar.extractfile(name)
        assert member is not None
        manifest = json.load(member)
    assert manifest["weights_digest"] == head["weights_digest"]
    assert list(tmp_path.iterdir()) == [out]


def test_a_revision_and_a_rank_may_be_chosen(errata: Run, tmp_path: Path) -> None:
    out = tmp_path / "adapter.tar"
    chosen = ("--revision", "0", "--max-rank", "4")
    done = errata("export", "--format", "lora", *chosen, "--out", str(out), "--json")
    found = json.loads(done.stdout)
    assert (found["revision"], found["max_rank"], found["status"]) == (0, 4, "finished")
    assert found["digest"] == hashlib.sha256(out.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("--format", "lora", "--revision", "999"), 4, "999"),
        (("--format", "merged", "--max-rank", "3"), 4, "only format lora has a rank"),
        (("--format", "gguf"), 2, "gguf"),
        (("--format", "lora", "--max-rank", "513"), 2, "512"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_words(
    errata: Run, arguments: tuple[str, ...], status: int, told: str, tmp_path: Path
) -> None:
    done = errata("export", *arguments, "--out", str(tmp_path / "out.tar"))
    assert (done.returncode, done.stdout) == (status, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told(errata: Run, tmp_path: Path) -> None:
    out = tmp_path / "nowhere" / "out.tar"
    done = errata("export", "--format", "delta", "--out", str(out))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert str(out) in done.stderr


def test_a_file_that_came_damaged_is_not_kept(server: str, tmp_path: Path) -> None:
    with Errata(server) as client:
        export = client.exports.wait(client.exports.start("delta").id)
        assert export.id in {found.id for found in client.exports.all()}
        wrong = export.model_copy(update={"digest": "0" * 64})
        with pytest.raises(Damaged, match="fetch it again"):
            client.exports.download(wrong, tmp_path / "out.tar")
        assert list(tmp_path.iterdir()) == []
        client.exports.download(export, tmp_path / "out.tar")
        assert (tmp_path / "out.tar").stat().st_size == export.bytes
        client.exports.remove(export.id)
        assert export.id not in {found.id for found in client.exports.all()}
