"""How much memory a piece of work needs beyond what the process holds when it begins."""

from pathlib import Path
from types import TracebackType
from typing import Self

_STATUS = Path("/proc/self/status")
_CLEAR_PEAK = Path("/proc/self/clear_refs")  # writing 5 resets VmHWM: Linux


class PeakMemory:
    """Measures inside ``with``: ``extra`` is the peak of the resident set above its start, bytes.

    Raises:
        OSError: This is no Linux, or the kernel does not let the peak be reset.
    """

    def __init__(self) -> None:
        self.extra = 0
        self._before = 0

    def __enter__(self) -> Self:
        _CLEAR_PEAK.write_text("5")
        self._before = _status("VmRSS")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.extra = _status("VmHWM") - self._before


def _status(name: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} does not tell {name}")
