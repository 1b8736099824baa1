"""The folder of exports' files; a file with its final name is always whole."""

import os
import re
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

_FOLDER = "exports"
_FILE = re.compile(r"export_[0-9a-z]+\.(tar|partial)")


class ExportStore:
    """One tar file an export, and folders of those being written, in a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / _FOLDER

    def path(self, export_id: str) -> Path:
        """Where the file of an export is, or would be."""
        return self._folder / f"{export_id}.tar"

    def prepare(self, export_id: str) -> Path:
        """An empty folder to write an export in.

        Raises:
            OSError: The disk did not take it.
        """
        partial = self._partial(export_id)
        self._remove(partial)
        partial.mkdir(parents=True)
        return partial

    def keep(self, export_id: str, archive: Path) -> None:
        """Give a durable archive its final name, durably.

        Raises:
            OSError: The disk did not take it.
        """
        archive.replace(self.path(export_id))
        # A rename survives a power cut only once its folder is on disk too.
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def abandon(self, export_id: str) -> None:
        """Remove what was written on the way; a kept file stays."""
        self._remove(self._partial(export_id))

    def remove(self, export_id: str) -> None:
        """Remove an export's file, if it is there."""
        self.path(export_id).unlink(missing_ok=True)

    def listed(self) -> list[Path]:
        """Everything of exports that is there now, whole or not."""
        return [path for path in sorted(self._folder.glob("*")) if _FILE.fullmatch(path.name)]

    def sweep(
        self, listed: Iterable[Path], *, running: Collection[str], finished: Collection[str]
    ) -> int:
        """Remove what is neither being written nor to be downloaded; how much there was.

        Args:
            listed: What was there before the ids were read: what came later is somebody's.
            running: Ids of exports that are being written.
            finished: Ids of exports to be downloaded.
        """
        removed = 0
        for path in listed:
            is_whole = path.suffix == ".tar"
            if path.stem not in running and not (is_whole and path.stem in finished):
                self._remove(path)
                removed += 1
        return removed

    def _partial(self, export_id: str) -> Path:
        return self._folder / f"{export_id}.partial"

    def _remove(self, path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
