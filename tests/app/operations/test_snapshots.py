import logging
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app.database.database import Database
from app.database.tables.labels import Snapshot
from app.errors import (
    CorruptArtefact,
    LabelTaken,
    StorageFull,
    StorageUnavailable,
    TooManyLabels,
    UnknownRevision,
)
from app.kit.disk import DiskSpace
from app.ledger import repository as ledger
from app.operations import snapshots as repository
from app.operations.label_limits import LabelLimits
from app.operations.labels import add_automatic, remove_label
from editing_core.weights.digest import weights_digest
from tests.support.chain import check_chain
from tests.support.edited import Edited
from tests.support.unkeyed import unkeyed

Open = Callable[..., Edited]


@pytest.fixture
def open_edited(database: Database, tmp_path: Path) -> Open:
    return lambda **options: Edited(database, tmp_path / "data", **options)


def _stored(edited: Edited) -> list[Snapshot]:
    with edited.database.read() as session:
        return list(repository.page(session, after=None, limit=1000))


def _automatic(edited: Edited) -> list[int]:
    return [snapshot.revision for snapshot in _stored(edited) if snapshot.automatic]


def _alter(path: Path) -> None:
    altered = bytearray(path.read_bytes())
    altered[-1] ^= 1
    path.write_bytes(altered)


def test_a_head_that_moved_step_by_step_is_the_one_a_restart_finds(open_edited: Open) -> None:
    edited, draw = open_edited(), random.Random(1)
    for _ in range(12):
        if draw.random() < 0.4:
            edited.roll_back(draw.randrange(edited.head + 1))
        else:
            edited.edit(draw.randrange(1, 4))
    moved, found = edited.lineage.head_state, edited.restarted().lineage.head_state
    assert (moved.revision, list(moved.live.items())) == (found.revision, list(found.live.items()))
    assert moved.ledger_hash == found.ledger_hash
    assert weights_digest(moved.weights.materialise()) == edited.recorded_digest(found.revision)


def test_every_revision_has_the_same_bits_with_and_without_snapshots(open_edited: Open) -> None:
    edited, draw = open_edited(every=5, kept=3), random.Random(0)
    for _ in range(30):
        if draw.random() < 0.3:
            edited.roll_back(draw.randrange(edited.head + 1))
        else:
            edited.edit(draw.randrange(1, 4))
    edited.label("middle", 11)
    expected = [edited.recorded_digest(revision) for revision in range(31)]
    with_snapshots = edited.restarted()
    assert [with_snapshots.digest(revision) for revision in range(31)] == expected
    assert len(edited.files.digests()) == 4
    shutil.rmtree(edited.folder / "snapshots")
    without = edited.restarted()
    assert [without.digest(revision) for revision in range(31)] == expected


def test_a_revision_near_a_snapshot_needs_only_the_factors_between(open_edited: Open) -> None:
    edited = open_edited(every=10)
    for _ in range(12):
        edited.edit()
    for revision in range(1, 11):
        edited.artefacts.remove(edited.artefact_of(revision))
    for revision in (10, 11, 12):
        assert edited.digest(revision) == edited.recorded_digest(revision)
    with pytest.raises(CorruptArtefact, match="missing"):
        edited.digest(3)


def test_a_rollback_finds_the_one_way_that_is_left(open_edited: Open) -> None:
    edited = open_edited(every=10)
    for _ in range(30):
        edited.edit()
    edited.artefacts.remove(edited.artefact_of(5))  # needed from the base
    edited.artefacts.remove(edited.artefact_of(15))  # and from the head
    assert edited.recorded_digest(edited.roll_back(11)) == edited.recorded_digest(11)
    assert len(edited.lineage.head_state.live) == 11


def test_the_nearest_snapshot_is_tried_first_and_others_are_left_alone(
    open_edited: Open, caplog: pytest.LogCaptureFixture
) -> None:
    edited = open_edited(every=10)
    for _ in range(25):
        edited.edit()
    for digest in edited.files.digests():
        _alter(edited.files.path(digest))
    assert edited.digest(9) == edited.recorded_digest(9)
    assert [record.message.split()[0] for record in caplog.records] == ["snapshot_unusable"]
    assert _automatic(edited) == [20]
    assert len(edited.files.digests()) == 1


def test_an_altered_labelled_snapshot_loses_its_file_but_not_its_label(
    open_edited: Open, caplog: pytest.LogCaptureFixture
) -> None:
    edited = open_edited()
    for _ in range(8):
        edited.edit()
    digest = edited.label("release", 7)
    _alter(edited.files.path(digest))
    fresh = edited.restarted()
    assert fresh.digest(7) == edited.recorded_digest(7)
    assert "was altered" in caplog.text
    (kept,) = _stored(edited)
    assert (kept.label, kept.revision, kept.digest) == ("release", 7, None)
    assert fresh.label("release", 7) == digest
    assert fresh.files.digests() == {digest}


def test_a_snapshot_of_other_weights_than_recorded_is_found_out(open_edited: Open) -> None:
    edited = open_edited()
    for _ in range(8):
        edited.edit()
    other = edited.files.put(edited.lineage.weights(2).to_bytes())
    with edited.database.write() as session:
        add_automatic(session, 7, other, kept=4, now=edited.records.clock())
    assert edited.restarted().digest(7) == edited.recorded_digest(7)
    assert _stored(edited) == []
    assert edited.files.digests() == set()


def test_snapshots_stay_when_it_is_the_factors_that_are_lost(open_edited: Open) -> None:
    edited = open_edited(every=5)
    for _ in range(9):
        edited.edit()
    edited.artefacts.remove(edited.artefact_of(7))
    with pytest.raises(CorruptArtefact, match="missing"):
        edited.restarted()
    assert _automatic(edited) == [5]
    assert len(edited.files.digests()) == 1


def test_a_revision_is_restored_the_way_round_a_lost_artefact(open_edited: Open) -> None:
    edited = open_edited()
    edited.edit()
    edited.edit()
    edited.artefacts.remove(edited.artefact_of(2))
    assert edited.digest(1) == edited.recorded_digest(1)  # taking 2 from the head is impossible


def test_a_snapshot_that_cannot_be_read_just_now_is_not_forgotten(
    open_edited: Open, caplog: pytest.LogCaptureFixture
) -> None:
    edited = open_edited()
    for _ in range(8):
        edited.edit()
    path = edited.files.path(edited.label("release", 7))
    path.rename(path.with_suffix(".aside"))
    path.mkdir()  # reading it is an error of the disk
    assert edited.restarted().digest(7) == edited.recorded_digest(7)
    assert "snapshot_unreadable" in caplog.text
    (kept,) = _stored(edited)
    assert kept.digest is not None


def test_the_worker_keeps_its_newest_snapshots_and_every_labelled_one(open_edited: Open) -> None:
    edited = open_edited(every=2, kept=2)
    for _ in range(4):
        edited.edit()
    label = edited.label("release", 4)
    for _ in range(5):
        edited.edit()
    assert _automatic(edited) == [6, 8]
    assert len(edited.files.digests()) == 3
    assert label in edited.files.digests()


def test_no_snapshot_is_taken_unless_asked_for_where_the_setting_is_zero(open_edited: Open) -> None:
    edited = open_edited(every=0)
    edited.edit()
    edited.edit()
    assert _stored(edited) == []


def test_an_edit_commits_although_its_snapshot_cannot_be_written(
    open_edited: Open, caplog: pytest.LogCaptureFixture
) -> None:
    edited = open_edited(every=1)
    shutil.rmtree(edited.folder / "snapshots")
    assert edited.edit() == 1
    assert "snapshot_not_taken revision=1" in caplog.text
    with pytest.raises(StorageUnavailable, match="could not be written"):
        edited.label("release", 1)
    assert _stored(edited) == []
    assert edited.digest(1) == edited.recorded_digest(1)


def test_a_label_is_in_the_ledger_and_an_automatic_snapshot_is_not(open_edited: Open) -> None:
    edited = open_edited(every=1)
    edited.edit()
    digest = edited.label("release", 1)
    with edited.database.read() as session:
        newest = ledger.last(session)
        verdict = check_chain(session)
    assert newest is not None
    assert newest.payload == f'{{"digest":"{digest}","label":"release","revision":1}}'
    assert (newest.kind, newest.actor) == ("snapshot", "client")
    assert (verdict.ok, verdict.entries) == (True, 4)  # base, operation, revision, label


def test_a_label_belongs_to_one_revision_until_it_is_removed(open_edited: Open) -> None:
    edited = open_edited()
    edited.edit()
    edited.edit()
    digest = edited.label("release", 1)
    assert edited.label("release", 1) == digest
    with pytest.raises(LabelTaken, match="'release' is on revision 1"):
        edited.label("release", 2)
    with edited.database.write() as session:
        remove_label(session, "release", actor="client", now=edited.records.clock())
    assert edited.label("release", 2) != digest
    with edited.database.read() as session:
        kinds = [link.kind for link in ledger.links(session)]
    assert kinds.count("snapshot") == 3


def test_a_revision_that_does_not_exist_gets_no_label(open_edited: Open) -> None:
    edited = open_edited()
    with pytest.raises(UnknownRevision):
        edited.label("release", 1)
    assert _stored(edited) == []


def test_what_a_snapshot_took_is_logged(
    open_edited: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    edited = open_edited(every=1)
    edited.edit()
    (digest,) = edited.files.digests()
    assert f"snapshot_taken revision=1 digest={digest}" in caplog.text


def test_so_many_labels_are_given_and_no_more(open_edited: Open) -> None:
    edited = open_edited(labels=LabelLimits(most=2))
    edited.edit()
    edited.edit()
    for number, label in enumerate(("first", "second")):
        edited.snapshots.label(number, label, edited.lineage.weights, unkeyed("client"))
    with pytest.raises(TooManyLabels, match="there are 2 labels"):
        edited.snapshots.label(2, "third", edited.lineage.weights, unkeyed("client"))
    assert not edited.snapshots.label(0, "first", edited.lineage.weights, unkeyed("client"))[1]
    with edited.database.write() as session:
        remove_label(session, "second", actor="client", now=edited.records.clock())
    edited.snapshots.label(2, "third", edited.lineage.weights, unkeyed("client"))


def test_labels_take_so_many_bytes_and_one_file_counts_once(open_edited: Open) -> None:
    edited = open_edited()
    edited.edit()
    edited.edit()
    first, second, third = (len(edited.lineage.weights(number).to_bytes()) for number in range(3))
    edited = open_edited(labels=LabelLimits(bytes=first + second))
    for number, label in ((0, "first"), (1, "second"), (1, "second-again")):
        edited.snapshots.label(number, label, edited.lineage.weights, unkeyed("client"))
    with pytest.raises(TooManyLabels, match=f"take {first + second} bytes, this one {third} more"):
        edited.snapshots.label(2, "third", edited.lineage.weights, unkeyed("client"))
    assert len(edited.files.digests()) == 2


def test_no_label_is_given_that_the_disk_has_no_room_for(open_edited: Open, tmp_path: Path) -> None:
    full = DiskSpace(tmp_path, 2 * shutil.disk_usage(tmp_path).free)
    edited = open_edited(labels=LabelLimits(space=full))
    edited.edit()
    with pytest.raises(StorageFull):
        edited.snapshots.label(1, "release", edited.lineage.weights, unkeyed("client"))
    assert edited.files.digests() == set()


def test_a_label_and_the_key_it_was_asked_for_with_are_stored_together(open_edited: Open) -> None:
    edited = open_edited()
    edited.edit()
    for key in ("first", "of the label that is there"):
        once = replace(unkeyed("client"), key=key)
        snapshot, _ = edited.snapshots.label(1, "release", edited.lineage.weights, once)
        with edited.database.read() as session:
            assert once.recall(session) == str(snapshot.id)
