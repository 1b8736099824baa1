"""The files of one export, from the resident model and the factors of its live edits."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from app.database.database import Database
from app.database.tables.exports import Export, ExportFormat
from app.exports.manifest import NAME, Manifest, adapter_notes
from app.ledger.artefacts import ArtefactStore
from app.operations.live import LiveEdit, live_edits
from app.resident.factors import read_factors
from app.resident.resident import Resident
from editing_core.export import adapter_of, live_delta_bytes, write_adapter, write_merged

_DELTA = "delta.safetensors"


@dataclass(frozen=True)
class Source:
    """Where exports come from: the ledger's revisions, their factors, and the model they edit."""

    database: Database
    artefacts: ArtefactStore
    resident: Resident

    def size_of(self, export: Export) -> int:
        """About how many bytes its files have."""
        if export.format is ExportFormat.MERGED:
            weights = self.resident.base.model.parameters()
            return sum(weight.numel() * weight.element_size() for weight in weights)
        with self.database.read() as session:
            live = live_edits(session, export.revision)
        return self.artefacts.size({edit.artefact for edit in live})

    def write(self, export: Export, folder: Path) -> Manifest:
        """Write every file of an export, its manifest among them.

        Raises:
            NotLowRank: The revision cannot be an adapter.
            RankTooHigh: The adapter would be larger than servers take.
            Inconsistent: The revision cannot be rebuilt.
            OSError: The disk did not take a file.
            SafetensorError: The disk did not take the weights.
        """
        with self.database.read() as session:
            live = live_edits(session, export.revision)
            manifest = Manifest.of(session, export, live, self.resident.base)
        if export.format is ExportFormat.MERGED:
            manifest.warnings = self._write_merged(export, folder)
        elif export.format is ExportFormat.LORA:
            self._write_adapter(export, live, folder, manifest)
        else:
            (folder / _DELTA).write_bytes(live_delta_bytes(read_factors(self.artefacts, live)))
        manifest.files = {path.name: _digest(path) for path in sorted(folder.iterdir())}
        text = manifest.model_dump_json(indent=1)
        (folder / NAME).write_text(text + "\n", encoding="utf-8")
        return manifest

    def _write_merged(self, export: Export, folder: Path) -> list[str]:
        with self.resident.view(export.revision) as view:
            return write_merged(folder, view.model, self.resident.tokenizer)

    def _write_adapter(
        self, export: Export, live: list[LiveEdit], folder: Path, manifest: Manifest
    ) -> None:
        base = self.resident.base
        deltas = list(read_factors(self.artefacts, live))
        adapter = adapter_of(deltas, base.architecture, max_rank=export.max_rank)
        manifest.adapter, manifest.warnings = adapter_notes(adapter), adapter.warnings
        write_adapter(folder, adapter, base.architecture, base.name)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
