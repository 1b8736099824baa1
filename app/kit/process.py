"""What tells one process from every other, and whether it is gone."""

import json
import os
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil

_PROC = Path("/proc")
_ZOMBIE = "Z"
# Fields of /proc/PID/stat behind the command's name, which may hold anything (proc(5)).
_STATE, _START = 0, 19


@dataclass(frozen=True)
class ProcessId:
    """A process among all hosts that share a database.

    Two machines may have one name, and two containers of one machine count from 1 each: a number
    says something of a process only where the same boot and the same namespace are looked at.

    Attributes:
        host: The machine's or container's name, for people.
        pid: Its number there, which may be given again.
        started: When it began, in clock ticks since the machine did: no clock that somebody sets
            moves it. Without /proc in seconds since the epoch.
        boot: The machine's identity since it began; None without /proc.
        namespace: In which its number counts; None without /proc.
    """

    host: str
    pid: int
    started: float
    boot: str | None
    namespace: str | None

    @classmethod
    def own(cls) -> Self:
        """This process."""
        pid, (boot, namespace) = os.getpid(), _place()
        found = _stat(pid)
        started = psutil.Process().create_time() if found is None else float(found[_START])
        return cls(platform.node(), pid, started, boot, namespace)

    @property
    def is_gone(self) -> bool:
        """Whether it has certainly ended; unknown from another boot or namespace."""
        place = (self.boot, self.namespace)
        if None in place or place != _place():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # it is another user's
        found = _stat(self.pid)
        return found is not None and (
            found[_STATE] == _ZOMBIE or float(found[_START]) != self.started
        )

    def to_text(self) -> str:
        """For a database column."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what ``to_text`` wrote."""
        return cls(**json.loads(text))


def _place() -> tuple[str | None, str | None]:
    """This machine's boot, and the namespace in which this process's number counts."""
    with suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return boot, str((_PROC / "self/ns/pid").readlink())
    return None, None


def _stat(pid: int) -> list[str] | None:
    """What the kernel tells of a process, from its state on; None where it tells nothing."""
    with suppress(OSError):
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return None
