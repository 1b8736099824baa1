"""What tells one process from every other, and whether it is gone."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from typing import Self

import psutil

_SAME_START_S = 1.0  # two readings of one process's start may differ by rounding


@dataclass(frozen=True)
class ProcessId:
    """A process among all hosts that share a database.

    Attributes:
        host: The machine's or container's name.
        pid: Its number there, which may be given again.
        started: When it began, in seconds since the epoch by that machine's clock.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def own(cls) -> Self:
        """This process."""
        return cls(platform.node(), os.getpid(), psutil.Process().create_time())

    @property
    def is_gone(self) -> bool:
        """Whether it surely no longer runs; never known of another host."""
        if self.host != platform.node():
            return False
        try:
            found = psutil.Process(self.pid)
            ended = found.status() == psutil.STATUS_ZOMBIE
            return ended or bool(abs(found.create_time() - self.started) > _SAME_START_S)
        except psutil.NoSuchProcess:
            return True

    def to_text(self) -> str:
        """For a database column."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what ``to_text`` wrote."""
        return cls(**json.loads(text))
