"""Signed checkpoints: what is signed, by which key, and where the key is."""

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import text
from starlette.testclient import TestClient

from app.errors import BadCheckpoint, UnusableKey
from app.kit.canonical import canonical
from app.ledger.checkpoint import Checkpoint
from app.ledger.signing import SigningKey
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.service import FACT, running

MESSAGE = b"checkpoint"


def test_a_checkpoint_is_the_head_signed_over_its_canonical_json(
    client: TestClient, worked: History
) -> None:
    worked.edit("a")
    shown = client.get("/v1/ledger/checkpoint").json()
    entries = client.get("/v1/ledger").json()["items"]
    assert (shown["origin"], shown["hash"]) == (entries[0]["hash"], entries[-1]["hash"])
    assert shown["size"] == len(entries) == 3
    signature = bytes.fromhex(shown.pop("signature"))
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(shown["public_key"]))
    key.verify(signature, canonical(shown).encode())  # raises where it is not signed


def test_origin_and_key_stay_while_the_ledger_grows_and_the_service_restarts(
    settings: Settings, client: TestClient, worked: History
) -> None:
    first = client.get("/v1/ledger/checkpoint").json()
    worked.edit("a")
    second = client.get("/v1/ledger/checkpoint").json()
    with running(settings) as restarted:
        third = restarted.get("/v1/ledger/checkpoint").json()
    assert (first["size"], second["size"], third["size"]) == (1, 3, 3)
    for name in ("origin", "public_key"):
        assert first[name] == second[name] == third[name]


def test_an_empty_ledger_has_no_head_to_sign(client: TestClient) -> None:
    for path in ("checkpoint", "bundle"):
        response = client.get(f"/v1/ledger/{path}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "no_entry_yet")
    assert client.get("/v1/ledger/export").text == ""


@pytest.mark.parametrize("change", [{"size": 2}, {"hash": "0" * 64}, {"at": "then"}])
def test_no_field_can_be_changed_under_the_signature(
    client: TestClient, worked: History, change: dict[str, object]
) -> None:
    worked.edit("a")
    signed = Checkpoint.from_text(client.get("/v1/ledger/checkpoint").content)
    assert signed.is_signed
    assert not signed.model_copy(update=change).is_signed


def test_the_key_is_a_file_that_only_its_owner_reads(
    settings: Settings, client: TestClient, worked: History
) -> None:
    worked.edit("a")
    client.get("/v1/ledger/checkpoint")
    path = settings.data_dir / "ledger-key.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.glob("*.partial")) == []
    secret = path.read_text().splitlines()[1]
    with worked.database.read() as session:
        for table in ("ledger_entries", "operations", "edits", "revisions"):
            assert secret not in str(session.execute(text(f"SELECT * FROM {table}")).all())  # noqa: S608


def test_all_who_come_first_get_one_key(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def key(_: int) -> str:
        start.wait()
        return SigningKey.of(tmp_path).public_key

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(key, range(8)))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["ledger-key.pem"]


def test_a_file_without_a_key_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger-key.pem"
    path.write_text("not a key")
    with pytest.raises(UnusableKey, match="restore it from a backup"):
        SigningKey.of(tmp_path)
    assert path.read_text() == "not a key"
    other = generate_private_key(SECP256R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(UnusableKey, match="not Ed25519"):
        SigningKey.of(tmp_path)


@only_sqlite
def test_an_unusable_key_is_a_problem_document(settings: Settings, client: TestClient) -> None:
    client.post("/v1/edits", json=FACT)
    (settings.data_dir / "ledger-key.pem").write_text("")
    response = client.get("/v1/ledger/checkpoint")
    assert (response.status_code, response.json()["error"]["code"]) == (500, "unusable_key")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "EOF"),
        ("{}", "origin"),
        ("[]", "object"),
        ('{"size": "3"}', "origin"),
        ("\xff", "JSON"),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_the_reason(written: str, told: str) -> None:
    with pytest.raises(BadCheckpoint, match=told):
        Checkpoint.from_text(written.encode("latin-1"))


def test_signatures_are_those_of_the_public_key(tmp_path: Path) -> None:
    key = SigningKey.of(tmp_path)
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public_key))
    public.verify(bytes.fromhex(key.sign(MESSAGE)), MESSAGE)
