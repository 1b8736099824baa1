"""A real PgBouncer in front of a real PostgreSQL, as services in the cloud find it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.waiting import wait_until

_START_S = 30.0
_PORT = 6432  # names the socket's file, in a folder of its own


@contextmanager
def pooled(server: Any, database: str, *, sessions: int = 2) -> Iterator[str]:
    """URL of a database behind PgBouncer, which pools transactions on so many sessions."""
    if shutil.which("pgbouncer") is None:
        assert "CI" not in os.environ, "CI installs PgBouncer (.ci/run)"
        pytest.skip("PgBouncer is not installed (Debian, Ubuntu: apt-get install pgbouncer)")
    found = conninfo_to_dict(server.get_uri())
    socket = str(found["host"])
    with tempfile.TemporaryDirectory(prefix="errata-pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o777)  # it gives up being root, and then opens its socket here
        (folder / "pgbouncer.ini").write_text(
            f"""
[databases]
{database} = host={socket} dbname={database} user={found["user"]}
[pgbouncer]
listen_port = {_PORT}
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
ignore_startup_parameters = extra_float_digits
logfile = {folder}/log
"""
        )
        # PostgreSQL's own user may use its socket, whoever that is on this machine.
        as_owner = ["-u", Path(socket).owner()] if os.geteuid() == 0 else []
        command = ["pgbouncer", "-q", *as_owner, str(folder / "pgbouncer.ini")]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as bouncer:
            try:
                address = f"{found['user']}@/{database}?host={folder}&port={_PORT}"
                wait_until(lambda: _answers(address), _START_S, what="PgBouncer")
                yield f"postgresql+psycopg://{address}"
            finally:
                bouncer.terminate()


def _answers(address: str) -> bool:
    try:
        psycopg.connect(f"postgresql://{address}").close()
    except psycopg.OperationalError:
        return False
    return True
