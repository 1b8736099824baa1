"""What the client does with exports: ask for one, wait, and fetch its file."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.client.answers import Answer
from app.client.errors import StillWaiting

if TYPE_CHECKING:
    from app.client.client import Errata

Told = Callable[["Export"], None]
"""``told(export)``: called with how an export stands, each time that was asked."""

_UNFINISHED = ("accepted", "running")
_POLL_S = 0.2


class Export(Answer):
    """A revision made into files, and how far that is."""

    id: str
    format: str
    revision: int
    status: Literal["accepted", "running", "finished", "failed"]
    progress: float
    bytes: int | None
    digest: str | None
    reason: str | None
    warnings: list[str]
    download: str | None


class ExportPage(Answer):
    """Some exports."""

    items: list[Export]
    next: int | None


class Exports:
    """The exports of one server; its methods raise what those of `Errata` do."""

    def __init__(self, errata: "Errata") -> None:
        self._errata = errata

    def start(
        self, format: str, *, revision: int | None = None, max_rank: int | None = None
    ) -> Export:
        """Ask for a revision, or the head, as `merged`, `lora` or `delta`."""
        body = {"format": format, "revision": revision, "max_rank": max_rank}
        sent = {name: value for name, value in body.items() if value is not None}
        return self._errata._post("/v1/exports", sent, Export)

    def get(self, export_id: str) -> Export:
        """One export as it stands now."""
        return self._errata._get(f"/v1/exports/{export_id}", Export)

    def all(self) -> Iterator[Export]:
        """All exports, oldest first, read page by page."""
        after: int | None = None
        while True:
            query: dict[str, Any] = {} if after is None else {"after": after}
            page = self._errata._get("/v1/exports", ExportPage, query)
            yield from page.items
            if page.next is None:
                return
            after = page.next

    def wait(self, export_id: str, timeout_s: float = 600.0, told: Told | None = None) -> Export:
        """The export once it has ended, however it ended.

        Raises:
            StillWaiting: It has not ended in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.get(export_id)
            if told is not None:
                told(found)
            if found.status not in _UNFINISHED:
                return found
            if time.monotonic() > deadline:
                raise StillWaiting(found.id, found.status, timeout_s)
            time.sleep(_POLL_S)

    def download(self, export: Export, path: Path) -> None:
        """Store the file of a finished export, checked against its digest.

        Raises:
            Damaged: What came is not what was written; it is not kept.
            OSError: The file cannot be written.
        """
        self._errata._fetch(f"/v1/exports/{export.id}/download", path, digest=export.digest)

    def remove(self, export_id: str) -> None:
        """Remove an export and its file from the server."""
        self._errata._delete(f"/v1/exports/{export_id}")
