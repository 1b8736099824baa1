"""Bundles: made by a running service, checked without it."""

import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.client import Errata, Refused
from app.database.database import Database
from app.evidence.verification import BundleVerdict, verify_bundle
from app.kit.clock import utc_now
from app.ledger.artefacts import ArtefactStore
from app.ledger.checkpoint import Checkpoint, sign
from app.ledger.schemas import EntryResource
from app.ledger.signing import SigningKey
from app.settings import Settings
from tests.app.operations.test_erasure import NAME
from tests.support.bundles import lines_of, members_of, rewritten, write_bundle
from tests.support.engines import only_sqlite
from tests.support.history import History

# What is tried on the file alone does not depend on the database it came from.
on_the_file = only_sqlite


@pytest.fixture
def recorded(client: TestClient, worked: History) -> History:
    """Edits, one of which supersedes another, a rollback that restores it, and an erasure."""
    worked.edit("a", "b")
    worked.edit("c", subject=NAME, supersedes="a")
    worked.undo("back", 1, restored=["a"], removed=["c"])
    worked.accept("waiting")
    client.delete("/v1/edits/waiting")
    client.post("/v1/edits/waiting/erase")
    return worked


@pytest.fixture
def bundle(client: TestClient, recorded: History, tmp_path: Path) -> Path:
    del recorded
    response = client.get("/v1/ledger/bundle")
    assert response.status_code == 200
    assert int(response.headers["Content-Length"]) == len(response.content)
    path = tmp_path / "bundle.tar"
    path.write_bytes(response.content)
    return path


def _bad(verdict: BundleVerdict) -> tuple[str, int | str]:
    assert verdict.first_bad is not None
    assert not verdict.ok
    return verdict.first_bad.part, verdict.first_bad.name


def test_an_untouched_bundle_holds(bundle: Path, client: TestClient) -> None:
    verdict = verify_bundle(bundle)
    checkpoint = client.get("/v1/ledger/checkpoint").json()
    assert (verdict.ok, verdict.first_bad) == (True, None)
    assert (verdict.entries, verdict.head_hash) == (checkpoint["size"], checkpoint["hash"])
    assert (verdict.revisions, verdict.live_edits, verdict.artefacts) == (3, 2, 2)
    assert (verdict.public_key, verdict.key_trusted) == (checkpoint["public_key"], False)
    assert verdict.weights == "none"


def test_the_client_fetches_a_whole_bundle_or_leaves_no_file(
    client: TestClient, database: Database, tmp_path: Path
) -> None:
    errata, path = Errata(http=client), tmp_path / "fetched" / "bundle.tar"
    path.parent.mkdir()
    with pytest.raises(Refused, match="no entry yet"):
        errata.bundle(path)
    assert list(path.parent.iterdir()) == []
    History(database).accept("a")
    assert errata.bundle(path) == path.stat().st_size
    assert verify_bundle(path).entries == 2
    assert [file.name for file in path.parent.iterdir()] == ["bundle.tar"]


def test_a_bundle_holds_no_words(bundle: Path) -> None:
    assert b"Subject of" not in bundle.read_bytes()
    assert NAME.encode() not in bundle.read_bytes()


def test_the_export_has_every_entry_as_the_api_shows_it(client: TestClient, bundle: Path) -> None:
    response = client.get("/v1/ledger/export")
    assert response.headers["Content-Type"].startswith("application/jsonl")
    lines = response.text.splitlines()
    assert [json.loads(line) for line in lines] == client.get("/v1/ledger").json()["items"]
    assert response.content == members_of(bundle)["ledger.jsonl"]


def test_the_export_goes_on_over_many_pages(client: TestClient, worked: History) -> None:
    for number in range(401):
        worked.accept(f"e{number}")
    indices = [json.loads(line)["index"] for line in client.get("/v1/ledger/export").iter_lines()]
    assert indices == list(range(402))


@on_the_file
def test_any_flipped_byte_of_any_file_is_found_and_named(bundle: Path, tmp_path: Path) -> None:
    members, other = members_of(bundle), tmp_path / "flipped.tar"

    @examples(max_examples=300, deadline=None, derandomize=True)
    @given(st.data())
    def flip(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(members)))
        place = data.draw(st.integers(0, len(members[name]) - 1))
        flipped = bytearray(members[name])
        flipped[place] ^= 1 << data.draw(st.integers(0, 7))
        part, found = _bad(verify_bundle(write_bundle(other, members | {name: bytes(flipped)})))
        if name == "ledger.jsonl":
            line = members[name][:place].count(b"\n")
            assert (part, found) == ("entry", line)
        elif name.startswith("artefacts/"):
            assert (part, found) == ("artefact", name[len("artefacts/") : -len(".safetensors")])
        elif name == "checkpoint.json":
            assert part in ("checkpoint", "entry")
        else:
            assert (part, found) == ("member", "bundle.json")

    flip()


@on_the_file
def test_any_flipped_byte_of_the_archive_around_them_does_no_harm_or_is_found(
    bundle: Path, tmp_path: Path
) -> None:
    whole, other = bundle.read_bytes(), tmp_path / "flipped.tar"
    members = members_of(bundle)

    @examples(max_examples=150, deadline=None, derandomize=True)
    @given(st.integers(0, len(whole) - 1), st.integers(0, 7))
    def flip(place: int, bit: int) -> None:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << bit
        other.write_bytes(flipped)
        if verify_bundle(other).ok:
            assert members_of(other) == members

    flip()


@on_the_file
def test_any_removed_swapped_or_doubled_entry_is_named(bundle: Path, tmp_path: Path) -> None:
    members, other = members_of(bundle), tmp_path / "other.tar"
    lines = lines_of(members)

    def verdict(changed: list[bytes]) -> tuple[str, int | str]:
        return _bad(
            verify_bundle(write_bundle(other, members | {"ledger.jsonl": b"".join(changed)}))
        )

    for index in range(len(lines)):
        assert verdict(lines[:index] + lines[index + 1 :]) == ("entry", index)
        assert verdict(lines[: index + 1] + lines[index:]) == ("entry", index + 1)
        for later in range(index + 1, len(lines)):
            swapped = list(lines)
            swapped[index], swapped[later] = swapped[later], swapped[index]
            assert verdict(swapped) == ("entry", index)


@on_the_file
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"actor":', b'"actor": '),
        (b"\n", b"\r\n"),
        (b"\n", b""),
        (b"{", b" {"),
        (b"worker", b"\\u0077orker"),
    ],
)
def test_another_spelling_of_an_entry_is_named(
    bundle: Path, tmp_path: Path, old: bytes, new: bytes
) -> None:
    members = members_of(bundle)
    lines = lines_of(members)
    place = next(index for index, line in reversed(list(enumerate(lines))) if old in line)
    lines[place] = lines[place].replace(old, new, 1)
    spelled = write_bundle(tmp_path / "s.tar", members | {"ledger.jsonl": b"".join(lines)})
    assert _bad(verify_bundle(spelled)) == ("entry", place)


@on_the_file
@pytest.mark.parametrize("cut", [0, 1, 511, 512, 700, 2048, 3000, 5000])
def test_a_bundle_that_was_cut_off_is_named(bundle: Path, cut: int) -> None:
    bundle.write_bytes(bundle.read_bytes()[:cut])
    assert _bad(verify_bundle(bundle))[0] in ("member", "entry", "artefact", "checkpoint")


@on_the_file
def test_files_that_are_missing_or_do_not_belong_are_named(bundle: Path, tmp_path: Path) -> None:
    members, other = members_of(bundle), tmp_path / "other.tar"
    for name in members:
        less = {kept: data for kept, data in members.items() if kept != name}
        part, found = _bad(verify_bundle(write_bundle(other, less)))
        assert part == ("artefact" if name.startswith("artefacts") else "member")
        assert str(found) in name
    stray = {"../notes.txt": b"x"}
    assert _bad(verify_bundle(write_bundle(other, members | stray))) == ("member", "../notes.txt")
    stray = {"artefacts/" + "0" * 64 + ".safetensors": b"x"}
    assert _bad(verify_bundle(write_bundle(other, members | stray))) == ("artefact", "0" * 64)


@on_the_file
def test_a_link_in_the_archive_is_not_followed(bundle: Path) -> None:
    with tarfile.open(bundle, "a:") as tar:
        member = tarfile.TarInfo("artefacts/passwd")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    assert _bad(verify_bundle(bundle)) == ("member", "artefacts/passwd")


@pytest.mark.usefixtures("recorded")
def test_a_service_with_damaged_artefacts_hands_over_what_it_has(
    client: TestClient, artefacts: ArtefactStore, tmp_path: Path
) -> None:
    revisions = client.get("/v1/revisions").json()["items"]
    first, second = (r["artefact_digest"] for r in revisions if r["artefact_digest"])
    path = tmp_path / "damaged.tar"
    artefacts.path(second).unlink()
    path.write_bytes(client.get("/v1/ledger/bundle").content)
    assert _bad(verify_bundle(path)) == ("artefact", second)
    artefacts.path(first).write_bytes(b"x")
    path.write_bytes(client.get("/v1/ledger/bundle").content)
    assert _bad(verify_bundle(path)) == ("artefact", first)


def test_a_rewrite_of_everything_is_shown_by_a_kept_checkpoint_only(
    settings: Settings, client: TestClient, worked: History, tmp_path: Path
) -> None:
    worked.edit("a")
    kept = Checkpoint.from_text(client.get("/v1/ledger/checkpoint").content)
    worked.edit("b")
    path = tmp_path / "bundle.tar"
    path.write_bytes(client.get("/v1/ledger/bundle").content)
    verdict = verify_bundle(path, kept=kept)
    assert (verdict.ok, verdict.kept_size, verdict.key_trusted) == (True, kept.size, True)

    members, key = members_of(path), SigningKey.of(settings.data_dir)
    forged = write_bundle(tmp_path / "a.tar", rewritten(members, key, {2: {"weights_digest": "x"}}))
    assert verify_bundle(forged).ok  # nothing in it contradicts anything else in it
    assert _bad(verify_bundle(forged, kept=kept)) == ("entry", kept.size - 1)
    forged = write_bundle(tmp_path / "b.tar", rewritten(members, key, {0: {"model": "x"}}))
    assert _bad(verify_bundle(forged, kept=kept)) == ("entry", 0)
    later = write_bundle(tmp_path / "c.tar", rewritten(members, key, {4: {"weights_digest": "x"}}))
    assert verify_bundle(later, kept=kept).ok  # it vouches for what came before it only


@on_the_file
def test_a_chain_cut_back_behind_a_kept_checkpoint_is_named(
    settings: Settings, client: TestClient, bundle: Path, tmp_path: Path
) -> None:
    kept = Checkpoint.from_text(client.get("/v1/ledger/checkpoint").content)
    members = members_of(bundle)
    members["ledger.jsonl"] = b"".join(lines_of(members)[:3])
    short = write_bundle(tmp_path / "s.tar", rewritten(members, SigningKey.of(settings.data_dir)))
    assert verify_bundle(short).entries == 3
    assert _bad(verify_bundle(short, kept=kept)) == ("entry", 3)


@on_the_file
def test_a_signature_of_somebody_else_does_not_count(
    client: TestClient, bundle: Path, tmp_path: Path
) -> None:
    kept = Checkpoint.from_text(client.get("/v1/ledger/checkpoint").content)
    stranger = SigningKey.of(tmp_path)
    forged = write_bundle(tmp_path / "f.tar", rewritten(members_of(bundle), stranger))
    assert verify_bundle(forged).ok
    assert _bad(verify_bundle(forged, kept=kept)) == ("checkpoint", "checkpoint.json")
    trusted = frozenset({kept.public_key})
    assert _bad(verify_bundle(forged, trusted=trusted)) == ("checkpoint", "checkpoint.json")
    both = trusted | {stranger.public_key}  # a key that was lost and made anew
    assert verify_bundle(forged, kept=kept, trusted=both).ok
    altered = kept.model_copy(update={"at": "then"})
    assert _bad(verify_bundle(bundle, kept=altered)) == ("checkpoint", "kept")
    only = frozenset({stranger.public_key})
    assert _bad(verify_bundle(forged, kept=kept, trusted=only)) == ("checkpoint", "kept")


@on_the_file
@pytest.mark.parametrize(
    ("index", "change"),
    [
        (3, {"number": 2}),
        (3, {"parent": 1}),
        (3, {"operations": ["nobody"]}),
        (3, {"added": ["a"]}),
        (3, {"added": ["a", "nobody"]}),
        (3, {"added": ["a", "a"]}),
        (3, {"rows": [0, 0]}),
        (3, {"rows": [0, 1, 2]}),
        (3, {"rows": []}),
        (3, {"rows": None}),
        (3, {"artefact_digest": None}),
        (3, {"artefact_digest": "../../etc/passwd"}),
        (3, {"removed": ["c"]}),
        (3, {"live_edits": 3}),
        (3, {"live_edits": "2"}),
        (3, {"live_edits": None}),
        (3, {"supersedes": None}),
        (0, {"layers": None}),
        (5, {"removed": ["a", "a"]}),
        (5, {"added": ["b"]}),
        (5, {"added": ["c", "b"]}),
        (7, {"added": ["b"]}),
        (7, {"added": [], "live_edits": 1}),
        (7, {"weights_digest": "weights-7"}),
        (6, {"to_revision": 2}),
        (6, {"to_revision": 99}),
    ],
)
def test_a_record_that_does_not_follow_is_named_although_every_hash_is_right(
    settings: Settings, bundle: Path, tmp_path: Path, index: int, change: dict[str, object]
) -> None:
    members = rewritten(members_of(bundle), SigningKey.of(settings.data_dir), {index: change})
    named = 7 if index == 6 else index  # the rollback's own record is where it shows
    assert _bad(verify_bundle(write_bundle(tmp_path / "x.tar", members))) == ("entry", named)


@on_the_file
def test_rows_that_are_those_of_other_edits_are_named(
    settings: Settings, bundle: Path, tmp_path: Path
) -> None:
    members = members_of(bundle)
    record = json.loads(lines_of(members)[3])["payload"]
    assert (record["added"], record["rows"]) == (["a", "b"], [0, 1])
    forged = rewritten(members, SigningKey.of(settings.data_dir), {3: {"rows": [1, 0]}})
    named = _bad(verify_bundle(write_bundle(tmp_path / "x.tar", forged)))
    assert named == ("artefact", record["artefact_digest"])


@on_the_file
def test_a_checkpoint_over_too_little_is_named(
    settings: Settings, bundle: Path, tmp_path: Path
) -> None:
    members = members_of(bundle)
    links = [EntryResource.model_validate_json(line).to_link() for line in lines_of(members)]
    early = sign(links[0], links[4], SigningKey.of(settings.data_dir), utc_now())
    members["checkpoint.json"] = early.to_text().encode()
    assert _bad(verify_bundle(write_bundle(tmp_path / "x.tar", members))) == ("entry", 5)
