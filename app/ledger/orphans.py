"""Artefacts that nothing in the database names, kept aside for as long as somebody may miss them.

Why nothing names one cannot be told from the database alone: a crash before the commit, or a newer
database that somebody else puts back tomorrow.
"""

from collections.abc import Set
from datetime import date
from pathlib import Path


class Orphans:
    """A folder inside that of the artefacts, with a folder for each day on which any came in."""

    def __init__(self, artefacts: Path) -> None:
        self._artefacts, self._folder = artefacts, artefacts / "orphans"

    def take(self, path: Path, today: date) -> None:
        """Move an artefact in."""
        folder = self._folder / today.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        path.replace(folder / path.name)

    def give_back(self, name: str) -> bool:
        """Move an artefact back to its place, if it is here; whether it was."""
        for found in sorted(self._folder.glob(f"*/{name}")):
            found.replace(self._artefacts / name)
            return True
        return False

    def remove(self, *, before: date, but: Set[str]) -> int:
        """Remove what came in before a day, but for these names; how many files that was."""
        removed = 0
        for folder in sorted(self._folder.glob("????-??-??")):
            if folder.name >= before.isoformat():
                continue
            for path in sorted(folder.iterdir()):
                if path.name not in but:
                    path.unlink()
                    removed += 1
            if not any(folder.iterdir()):
                folder.rmdir()
        return removed
