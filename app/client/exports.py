"""What the client does with exports: ask for one, wait, and fetch its file."""

from collections.abc import Callable, Iterator
from pathlib import Path

from app.client.answers import Export, ExportPage
from app.client.connection import Connection

Told = Callable[[Export], None]
"""``told(export)``: called with how an export stands, each time that was asked."""


class Exports:
    """The exports of one server; its methods raise what those of `Errata` do."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start(
        self,
        format: str,
        *,
        revision: int | None = None,
        max_rank: int | None = None,
        idempotency_key: str | None = None,
    ) -> Export:
        """Ask for a revision, or the head, as `merged`, `lora` or `delta`."""
        body = {"format": format, "revision": revision, "max_rank": max_rank}
        return self._connection._post("/v1/exports", body, Export, idempotency_key)

    def get(self, export_id: str) -> Export:
        """One export as it stands now."""
        return self._connection._get(f"/v1/exports/{export_id}", Export)

    def all(self) -> Iterator[Export]:
        """All exports, oldest first, read page by page."""
        for page in self._connection._pages("/v1/exports", ExportPage):
            yield from page.items

    def wait(self, export_id: str, timeout_s: float = 600.0, told: Told | None = None) -> Export:
        """The export once it has ended, however it ended.

        Raises:
            StillWaiting: It has not ended in time.
        """
        return self._connection._ended(f"/v1/exports/{export_id}", Export, timeout_s, told)

    def download(self, export: Export, path: Path) -> None:
        """Store the file of a finished export, checked against its digest.

        Raises:
            Damaged: What came is not what was written; it is not kept.
            OSError: The file cannot be written.
        """
        self._connection._fetch(f"/v1/exports/{export.id}/download", path, digest=export.digest)

    def remove(self, export_id: str, *, idempotency_key: str | None = None) -> None:
        """Remove an export and its file from the server."""
        self._connection._delete(f"/v1/exports/{export_id}", idempotency_key)
