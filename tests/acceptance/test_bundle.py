"""An auditor checks a bundle: a real history, a real command, and no server any more."""

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.evidence.recomputation import Recomputation
from app.evidence.verification import verify_bundle
from app.ledger.signing import SigningKey
from editing_core.progress import silent
from tests.acceptance.server import calibrate_quickly, client, environment, running
from tests.support.bundles import lines_of, members_of, rewritten, write_bundle
from tests.support.tiny import build_tiny_model

_WAIT_S = 120.0
_FACT = ("The capital of {} is", "Rome")

pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Evidence:
    """What the auditor has.

    Attributes:
        model: Folder of the base model.
        kept: A checkpoint from the middle of the history.
        bundle: The bundle of all of it.
        head: The newest revision as the server showed it.
        artefact: One that was altered on the server's disk after the bundle was made.
        server_verdict: What `errata verify` was told by the server then.
    """

    model: Path
    kept: Path
    bundle: Path
    head: dict[str, Any]
    artefact: str
    server_verdict: "subprocess.CompletedProcess[str]"


Verify = Callable[..., "subprocess.CompletedProcess[str]"]


def _errata(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=folder,
        # Where it would find a server, there is none, and no network to fall back on.
        env=environment(folder / "auditor", HF_HUB_OFFLINE="1"),
        capture_output=True,
        text=True,
        timeout=_WAIT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("audit")
    model = build_tiny_model(folder / "tiny")
    calibrate_quickly(folder / "data")
    kept, bundle = folder / "kept.json", folder / "bundle.tar"
    with running(folder / "data", str(model)) as server, client(server) as errata:
        subjects = ("France", "Italy", "Spain", " FRANCE")  # the last supersedes the first
        ids = [errata.submit(subject, *_FACT, force=True).id for subject in subjects]
        assert errata.wait(ids[-1], _WAIT_S).status == "committed"
        kept.write_bytes(httpx2.get(f"{server.url}/v1/ledger/checkpoint").content)
        assert httpx2.post(f"{server.url}/v1/edits/{ids[1]}/erase").status_code == 200
        revert = httpx2.post(f"{server.url}/v1/edits/{ids[1]}/revert", json={}).json()["id"]
        assert errata.wait_operation(revert, _WAIT_S).status == "committed"
        restored = errata.rollback(errata.revision("head").number - 1)
        assert errata.wait_operation(restored.id, _WAIT_S).status == "committed"
        made = _errata(folder, "bundle", str(bundle), "--url", server.url)
        assert made.returncode == 0, made.stderr
        head = errata.revision("head").model_dump()
        artefact = min((folder / "data" / "artefacts").iterdir())
        artefact.write_bytes(artefact.read_bytes() + b"x")
        verdict = _errata(folder, "verify", "--url", server.url)
    return Evidence(model, kept, bundle, head, artefact.stem, verdict)


@pytest.fixture
def verify(evidence: Evidence) -> Verify:
    def run(bundle: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return _errata(evidence.model.parent, "verify", str(bundle), *arguments)

    return run


def test_a_bundle_holds_to_the_last_weight_of_every_revision(
    verify: Verify, evidence: Evidence
) -> None:
    options = ("--model", str(evidence.model), "--checkpoint", str(evidence.kept))
    done = verify(evidence.bundle, *options, "--every-revision", "--json")
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["ok"], verdict["weights"]) == (True, "every revision")
    assert (verdict["revisions"], verdict["live_edits"]) == (
        evidence.head["number"],
        evidence.head["live_edits"],
    )
    assert verdict["head_hash"] == evidence.head["ledger_hash"]
    assert verdict["kept_size"] == json.loads(evidence.kept.read_text())["size"]
    told = verify(evidence.bundle, *options)
    assert "weights: the newest revision's, recomputed, are those recorded" in told.stdout


def test_without_a_model_it_says_that_weights_were_not_recomputed(
    verify: Verify, evidence: Evidence
) -> None:
    done = verify(evidence.bundle)
    assert done.returncode == 0, done.stderr
    assert "weights: not recomputed; give --model" in done.stdout


def test_a_key_that_nothing_vouches_for_is_warned_of(verify: Verify, evidence: Evidence) -> None:
    done = verify(evidence.bundle)
    assert "a key that nothing here vouches for" in done.stdout
    assert done.stderr.startswith("errata: WARNING: nothing vouches for the key")
    vouched = verify(evidence.bundle, "--checkpoint", str(evidence.kept))
    assert (vouched.returncode, vouched.stderr) == (0, "")


def _first_bad(bundle: Path, evidence: Evidence, *, every: bool) -> tuple[str, int | str] | None:
    recomputation = Recomputation(str(evidence.model), bundle.parent, every, silent)
    found = verify_bundle(bundle, check_weights=recomputation).first_bad
    return None if found is None else (found.part, found.name)


def test_a_forged_digest_with_every_hash_right_is_found_by_recomputing(
    evidence: Evidence, tmp_path: Path
) -> None:
    members, key = members_of(evidence.bundle), SigningKey.of(tmp_path)
    entries = [json.loads(line) for line in lines_of(members)]
    made = [entry["index"] for entry in entries if entry["kind"] == "revision"]
    first = entries[made[0]]["payload"]["number"]
    wrong: dict[str, object] = {"weights_digest": "0" * 64}
    forged = write_bundle(tmp_path / "a.tar", rewritten(members, key, {made[0]: wrong}))
    assert verify_bundle(forged).ok
    assert _first_bad(forged, evidence, every=False) is None
    assert _first_bad(forged, evidence, every=True) == ("revision", first)
    same = entries[made[-1]]["payload"]["weights_digest"]
    ends = {i: wrong for i in made if entries[i]["payload"]["weights_digest"] == same}
    forged = write_bundle(tmp_path / "b.tar", rewritten(members, key, ends))
    assert verify_bundle(forged).ok
    assert _first_bad(forged, evidence, every=False) == ("revision", evidence.head["number"])


def test_another_model_is_named(verify: Verify, evidence: Evidence, tmp_path: Path) -> None:
    other = build_tiny_model(tmp_path / "other", seed=1)
    done = verify(evidence.bundle, "--model", str(other), "--json")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["first_bad"]["part"] == "model"


def test_a_server_names_the_artefact_that_was_altered_on_its_disk(evidence: Evidence) -> None:
    assert evidence.server_verdict.returncode == 1
    assert f"artefact {evidence.artefact} of entry " in evidence.server_verdict.stdout


def test_an_altered_artefact_is_named(verify: Verify, evidence: Evidence, tmp_path: Path) -> None:
    with tarfile.open(evidence.bundle) as tar:
        artefact = next(member for member in tar if member.name.startswith("artefacts/"))
    altered = bytearray(evidence.bundle.read_bytes())
    altered[artefact.offset_data + artefact.size - 1] ^= 1
    (tmp_path / "altered.tar").write_bytes(altered)
    done = verify(tmp_path / "altered.tar")
    assert done.returncode == 1
    digest = artefact.name.removeprefix("artefacts/").removesuffix(".safetensors")
    assert f"does not hold: artefact {digest}" in done.stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--every-revision",), "--model"),
        (("--model", "no-such-folder"), "'no-such-folder' is not on this machine"),
        (("--public-key", "xyz"), "64 hex digits"),
        (("--checkpoint", "bundle.tar"), "no checkpoint"),
        (("--checkpoint", "absent.json"), "absent.json"),
    ],
)
def test_wrong_usage_is_status_2(
    verify: Verify, evidence: Evidence, options: tuple[str, ...], told: str
) -> None:
    done = verify(evidence.bundle, *options)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
