"""Exports as jobs: asked for, written, fetched, removed; and what breaks on the way."""

import hashlib
import os
import resource
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.database.database import Database
from app.database.tables.exports import ExportFormat
from app.exports import service
from app.kit.process import ProcessId
from app.settings import Settings
from editing_core.model.loading import LoadedModel, load_model
from tests.support.engines import only_sqlite
from tests.support.exporting import Installation, edited_twice
from tests.support.tiny import build_tiny_model
from tests.support.waiting import wait_until

_GONE = ProcessId("elsewhere", 1, 0.0, None, None)


@pytest.fixture
def installation(
    settings: Settings, database: Database, tiny_model: LoadedModel, one_thread: None
) -> Installation:
    del one_thread
    return edited_twice(settings, database, tiny_model)


@pytest.fixture
def larger(
    settings: Settings, database: Database, tmp_path: Path, one_thread: None
) -> Installation:
    """One revision of a model of more than 8 MB."""
    del one_thread
    folder = build_tiny_model(tmp_path / "larger", layers=64)
    made = Installation(settings, database, load_model(str(folder), cache_dir=tmp_path / "cache"))
    made.edited.edit()
    return made


def _accept(installation: Installation, *ids: str) -> None:
    with installation.edited.database.write() as session:
        for export_id in ids:
            service.accept(
                session,
                id=export_id,
                format=ExportFormat.DELTA,
                revision=1,
                max_rank=None,
                actor="local",
                now=installation.edited.records.clock(),
            )


@only_sqlite
def test_a_download_has_its_digest_and_may_be_continued(installation: Installation) -> None:
    with installation.serving() as client:
        export = client.made(format="merged")
        whole = client.http.get(export["download"])
        rest = client.http.get(export["download"], headers={"Range": "bytes=1000-"})
        etag = whole.headers["ETag"]
        again = client.http.get(export["download"], headers={"If-None-Match": etag})
    assert hashlib.sha256(whole.content).hexdigest() == export["digest"]
    assert etag == f'"{export["digest"]}"'
    assert (len(whole.content), export["progress"]) == (export["bytes"], 1.0)
    assert (rest.status_code, rest.content) == (206, whole.content[1000:])
    assert (again.status_code, again.content) == (304, b"")


@only_sqlite
def test_the_head_of_a_download_tells_its_size_without_sending_it(
    installation: Installation,
) -> None:
    with installation.serving() as client:
        export = client.made(format="delta")
        for path in (export["download"], "/v1/revisions/1/delta"):
            whole, head = client.http.get(path), client.http.head(path)
            assert (head.status_code, head.content) == (200, b"")
            told = {**whole.headers} | {"x-request-id": head.headers["X-Request-ID"]}
            assert {**head.headers} == told
            assert int(head.headers["Content-Length"]) == len(whole.content)
        part = client.http.head(export["download"], headers={"Range": "bytes=0-9"})
        assert (part.status_code, part.headers["Content-Length"]) == (206, "10")


def test_a_part_that_is_not_in_the_file_is_refused_as_a_problem(installation: Installation) -> None:
    with installation.serving() as client:
        export = client.made(format="delta")
        size = export["bytes"]
        asked = {
            f"bytes={size - 1}-": 206,
            f"bytes=-{size + 1}": 206,
            f"bytes=0-{size}": 206,
            f"bytes={size}-": 416,
            "bytes=5-3": 416,
            "bytes=-0": 416,
            "bytes=0-1,3-4": 422,
            "bytes=-": 422,
            "lines=1-2": 422,
        }
        for part, status in asked.items():
            response = client.http.get(export["download"], headers={"Range": part})
            assert response.status_code == status, part
            if status != 206:
                assert response.headers["Content-Type"] == "application/problem+json"
                assert response.json()["error"]["param"] == "Range"


def test_an_export_is_made_once_there_is_a_model(installation: Installation) -> None:
    _accept(installation, "export_a", "export_b")
    with installation.serving() as client:
        for export_id in ("export_a", "export_b"):
            assert client.ended(export_id)["status"] == "finished"
        listed = client.http.get("/v1/exports", params={"limit": 1}).json()
        rest = client.http.get("/v1/exports", params={"after": listed["next"]}).json()
    assert [item["id"] for item in listed["items"] + rest["items"]] == ["export_a", "export_b"]


@only_sqlite
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives threads a niceness")
def test_exports_are_written_behind_queries(installation: Installation) -> None:
    others = set(threading.enumerate())
    with installation.serving() as client:
        client.made(format="delta")
        started = set(threading.enumerate()) - others
        (exporter,) = [thread for thread in started if thread.name == "exporter"]
        assert exporter.native_id is not None
        nice = os.getpriority(os.PRIO_PROCESS, exporter.native_id)
        assert nice == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 5)


def test_a_removed_export_is_gone_with_its_file(installation: Installation) -> None:
    with installation.serving() as client:
        export = client.made(format="delta")
        assert installation.files == [f"{export['id']}.tar"]
        assert client.http.delete(f"/v1/exports/{export['id']}").status_code == 204
        assert installation.files == []
        for method, path in (
            ("GET", f"/v1/exports/{export['id']}"),
            ("GET", export["download"]),
            ("DELETE", f"/v1/exports/{export['id']}"),
        ):
            response = client.http.request(method, path)
            assert response.status_code == 404
            assert response.json()["error"]["code"] == "unknown_export"


def test_only_the_newest_exports_are_kept(installation: Installation) -> None:
    with installation.serving(exports_kept=2) as client:
        made = [client.made(format="delta", revision=revision)["id"] for revision in range(3)]
        listed = [item["id"] for item in client.http.get("/v1/exports").json()["items"]]
        assert listed == made[1:]
        assert client.http.get(f"/v1/exports/{made[0]}").status_code == 404
    assert installation.files == [f"{export_id}.tar" for export_id in sorted(made[1:])]


def test_what_is_not_finished_cannot_be_downloaded_and_ends_when_it_is_removed(
    installation: Installation,
) -> None:
    _accept(installation, "export_a")
    database, now = installation.edited.database, installation.edited.records.clock()
    with database.write() as session:
        service.claim(session, _GONE, now)
    with installation.serving() as client:  # another host's process writes it
        download = client.http.get("/v1/exports/export_a/download")
        assert (download.status_code, download.json()["error"]["code"]) == (
            409,
            "export_not_finished",
        )
        assert client.http.delete("/v1/exports/export_a").status_code == 204
    with database.write() as session:  # as that process goes on
        assert not service.note_progress(session, "export_a", 0.5)
        assert not service.finish(session, "export_a", service.Written(1, "digest", ()), now=now)
        service.fail(session, "export_a", "its folder is gone", now=now)
        service.release(session, "export_a")


@only_sqlite
def test_an_export_that_is_removed_while_it_is_written_leaves_nothing(larger: Installation) -> None:
    with larger.serving() as client:
        removed = client.post(format="merged")["id"]
        wait_until(lambda: client.get(removed)["status"] == "running", 60.0)
        assert client.http.delete(f"/v1/exports/{removed}").status_code == 204
        made = client.made(format="delta")["id"]  # begun when the other has ended
        assert client.http.get(f"/v1/exports/{removed}").status_code == 404
        assert larger.files == [f"{made}.tar"]


def test_an_export_that_kills_its_process_is_given_up(installation: Installation) -> None:
    _accept(installation, "export_a", "export_b")
    own, now = ProcessId.own(), installation.edited.records.clock
    for _ in range(3):
        with installation.edited.database.write() as session:
            found = service.claim(session, own, now())
            assert found is not None
            assert found.id == "export_a"
    with installation.serving() as client:
        failed = client.ended("export_a")
        assert (failed["status"], failed["attempts"]) == ("failed", 3)
        assert "begun 3 times" in failed["reason"]
        assert client.ended("export_b")["status"] == "finished"


@only_sqlite
def test_leftovers_are_swept_and_strangers_stay(installation: Installation) -> None:
    folder = installation.settings.data_dir / "exports"
    (folder / "export_0.partial" / "files").mkdir(parents=True)
    (folder / "export_1.tar").write_text("of an export that is gone")
    (folder / "notes.txt").write_text("somebody's")
    with installation.serving() as client:
        made = client.made(format="delta")
    assert installation.files == sorted([f"{made['id']}.tar", "notes.txt"])


@only_sqlite
def test_a_file_that_is_gone_is_told(installation: Installation) -> None:
    with installation.serving() as client:
        export = client.made(format="delta")
        (installation.settings.data_dir / "exports" / f"{export['id']}.tar").unlink()
        response = client.http.get(export["download"])
    assert (response.status_code, response.json()["error"]["code"]) == (404, "export_gone")


@contextmanager
def _no_file_above(size: int) -> Iterator[None]:
    """Every write beyond fails, as on a full disk; the kernel sees to it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@only_sqlite
def test_a_full_disk_fails_the_export_with_the_reason_and_nothing_else(
    larger: Installation,
) -> None:
    with larger.serving() as client:
        with _no_file_above(8_000_000):  # below the weights, above any log of the database
            failed = client.ended(client.post(format="merged")["id"])
            assert failed["status"] == "failed"
            assert "the disk did not take the export" in failed["reason"]
            assert larger.files == []
            assert client.http.get("/readyz").json()["revision"] == 1
            client.made(format="delta")
        assert client.made(format="merged")["bytes"] > 8_000_000


_BAD_REQUESTS: list[tuple[dict[str, object], str]] = [
    ({"format": "gguf"}, "format"),
    ({}, "format"),
    ({"format": "lora", "revision": 9}, "revision"),
    ({"format": "lora", "revision": -1}, "revision"),
    ({"format": "lora", "revision": "1"}, "revision"),
    ({"format": "lora", "max_rank": 0}, "max_rank"),
    ({"format": "lora", "max_rank": 513}, "max_rank"),
    ({"format": "merged", "max_rank": 4}, "max_rank"),
    ({"format": "merged", "path": "/etc"}, "path"),
]


@only_sqlite
def test_a_bad_request_is_named(installation: Installation) -> None:
    with installation.serving() as client:
        for body, field in _BAD_REQUESTS:
            response = client.http.post("/v1/exports", json=body)
            assert (response.status_code, response.json()["error"]["param"]) == (422, field)
        assert client.http.get("/v1/exports").json()["items"] == []


_ABSENT = [
    ("/v1/revisions/3/delta", 404),
    ("/v1/revisions/-1/delta", 422),
    ("/v1/revisions/99999999999999999999/delta", 404),
    ("/v1/exports/export_0", 404),
    ("/v1/exports/..%2f..%2ferrata.db/download", 404),
    ("/v1/exports/%00/download", 422),
]


@only_sqlite
def test_what_does_not_exist_is_refused(installation: Installation) -> None:
    with installation.serving() as client:
        for path, status in _ABSENT:
            assert client.http.get(path).status_code == status, path


def test_what_a_stopped_service_was_writing_is_written_after_the_next_start(
    larger: Installation,
) -> None:
    with larger.serving() as client:
        export_id = client.post(format="merged")["id"]
        wait_until(lambda: client.get(export_id)["status"] != "accepted", 60.0)
    with larger.serving() as client:
        export = client.ended(export_id)
    assert (export["status"], export["attempts"]) == ("finished", 1)
    assert larger.files == [f"{export_id}.tar"]


def test_the_same_export_is_one_whoever_asks_for_it(installation: Installation) -> None:
    database, now = installation.edited.database, installation.edited.records.clock()
    _accept(installation, "export_a")
    with database.write() as session:
        service.claim(session, _GONE, now)  # another host's process writes it
    with installation.serving() as client:
        assert client.post(format="delta", revision=1)["id"] == "export_a"
        other = client.post(format="delta", revision=2)
        assert other["id"] != "export_a"
        client.ended(other["id"])
        again = client.http.post("/v1/exports", json={"format": "delta", "revision": 2})
        assert (again.status_code, again.json()["id"]) == (200, other["id"])
        assert again.json()["status"] == "finished"
        assert client.post(format="lora", revision=2)["id"] != other["id"]
        assert client.post(format="lora", revision=2, max_rank=1)["max_rank"] == 1
        client.http.delete(f"/v1/exports/{other['id']}")
        assert client.post(format="delta", revision=2)["id"] != other["id"]


@only_sqlite
def test_an_export_whose_file_is_gone_is_made_again(installation: Installation) -> None:
    with installation.serving() as client:
        export = client.made(format="delta")
        (installation.settings.data_dir / "exports" / f"{export['id']}.tar").unlink()
        assert client.made(format="delta")["id"] != export["id"]


def test_so_many_exports_are_unfinished_and_no_more(installation: Installation) -> None:
    _accept(installation, "export_a")
    with installation.edited.database.write() as session:
        service.claim(session, _GONE, installation.edited.records.clock())
    with installation.serving(exports_per_caller=1) as client:
        refused = client.http.post("/v1/exports", json={"format": "delta", "revision": 2})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_exports")
        assert int(refused.headers["Retry-After"]) > 0
        assert client.post(format="delta", revision=1)["id"] == "export_a"
        client.http.delete("/v1/exports/export_a")
        client.made(format="delta", revision=2)
    with installation.serving(max_exports=1) as client:
        client.made(format="delta", revision=1)


@only_sqlite
def test_finished_exports_take_so_many_bytes_but_the_newest_always_stays(
    installation: Installation,
) -> None:
    with installation.serving(exports_kept_bytes=1) as client:
        made = [client.made(format="delta", revision=revision) for revision in range(3)]
    assert installation.files == [f"{made[-1]['id']}.tar"]


@only_sqlite
def test_no_export_is_begun_that_the_disk_has_no_room_for(installation: Installation) -> None:
    free = shutil.disk_usage(installation.settings.data_dir).free
    with installation.serving(min_free_bytes=2 * free) as client:
        refused = client.http.post("/v1/exports", json={"format": "delta"})
        assert refused.status_code == 507
        assert refused.json()["error"]["code"] == "insufficient_storage"
    _accept(installation, "export_a")
    with installation.serving(min_free_bytes=2 * free) as client:
        failed = client.ended("export_a")
    assert failed["status"] == "failed"
    assert "bytes free" in failed["reason"]
    assert installation.files == []


def test_the_ledger_tells_who_exported_what_which_file_came_of_it_and_who_removed_it(
    installation: Installation,
) -> None:
    with installation.serving(exports_kept=1) as client:
        first = client.made(format="lora", revision=1, max_rank=2)
        second = client.made(format="delta", revision=2)
        client.http.delete(f"/v1/exports/{second['id']}")
        entries = client.http.get("/v1/ledger?limit=1000").json()["items"]
        verdict = client.http.get("/v1/ledger/verify").json()
    told = [(e["actor"], e["payload"]) for e in entries if e["kind"] == "export"]
    one, two = {"id": first["id"]}, {"id": second["id"]}
    assert told == [
        ("local", one | {"format": "lora", "revision": 1, "max_rank": 2}),
        ("exporter", one | {"digest": first["digest"], "bytes": first["bytes"]}),
        ("local", two | {"format": "delta", "revision": 2}),
        ("exporter", two | {"digest": second["digest"], "bytes": second["bytes"]}),
        ("exporter", one | {"removed": True}),
        ("local", two | {"removed": True}),
    ]
    assert {first["created_by"], second["created_by"]} == {"local"}
    assert verdict["ok"], verdict
