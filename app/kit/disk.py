"""Free space: what grows is refused before the disk is full, so that what must go on can."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from app.errors import StorageFull


@dataclass(frozen=True)
class DiskSpace:
    """The space of one folder's disk.

    Attributes:
        folder: A folder that exists.
        reserve: Bytes that stay free for the ledger and for what was accepted.
    """

    folder: Path
    reserve: int

    def require(self, size: int = 0) -> None:
        """Make sure that so many bytes may be written beyond the reserve.

        Raises:
            StorageFull: They may not.
        """
        free, needed = shutil.disk_usage(self.folder).free, size + self.reserve
        if free < needed:
            raise StorageFull(free, needed)
