"""`revision.json`: what an export is of, so that whoever holds the files can check it."""

from importlib.metadata import version
from typing import Self

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from app.database.tables.exports import Export, ExportFormat
from app.ledger import repository as ledger
from app.operations import revisions
from app.operations.live import LiveEdit
from editing_core.export import Adapter
from editing_core.model.loading import LoadedModel

NAME = "revision.json"

_VERSIONS = ("errata", "torch", "transformers", "safetensors")

#: What tests/readers opens exports of this format with, where the reader knows the model's family.
READERS: dict[ExportFormat, dict[str, list[str]]] = {
    ExportFormat.MERGED: {"transformers": ["4.44.2", "4.57.6", "5.23.0"]},
    ExportFormat.LORA: {"peft": ["0.20.0", "0.21.2"], "transformers": ["4.57.6", "5.23.0"]},
    ExportFormat.DELTA: {"safetensors": ["0.8.0"]},
}


class LedgerPoint(BaseModel):
    """The end of the ledger when the revision was committed."""

    model_config = ConfigDict(extra="forbid")

    index: int
    hash: str


class AdapterLayerNote(BaseModel):
    """How near an adapter comes to the change of one matrix."""

    model_config = ConfigDict(extra="forbid")

    layer: int
    rank: int
    exact_rank: int
    dropped_energy: float
    float_error: float
    bfloat16_error: float


class Manifest(BaseModel):
    """What an export is of; holds no word of an edit."""

    model_config = ConfigDict(extra="forbid")

    format: ExportFormat
    model: str
    model_digest: str
    dtype: str
    revision: int
    weights_digest: str
    live_edits: int
    ledger: LedgerPoint
    artefacts: list[str]
    adapter: list[AdapterLayerNote] | None
    warnings: list[str]
    versions: dict[str, str]
    #: name → versions with which exports of this format are tested, of any model
    readers: dict[str, list[str]]
    #: name → SHA-256 of every other file
    files: dict[str, str]

    @classmethod
    def of(cls, session: Session, export: Export, live: list[LiveEdit], base: LoadedModel) -> Self:
        """The manifest of an export before anything of it is written."""
        revision = revisions.get(session, export.revision)
        index = revision.ledger_index
        return cls(
            format=export.format,
            model=base.name,
            model_digest=base.digest,
            dtype=str(base.model.dtype).removeprefix("torch."),
            revision=revision.number,
            weights_digest=revision.weights_digest,
            live_edits=len(live),
            ledger=LedgerPoint(index=index, hash=ledger.hashes(session, [index])[index]),
            artefacts=sorted({edit.artefact for edit in live}),
            adapter=None,
            warnings=[],
            versions={name: version(name) for name in _VERSIONS},
            readers=READERS[export.format],
            files={},
        )


def adapter_notes(adapter: Adapter) -> list[AdapterLayerNote]:
    """What the manifest says of an adapter."""
    return [
        AdapterLayerNote(
            layer=layer,
            rank=found.rank,
            exact_rank=found.exact_rank,
            dropped_energy=found.dropped_energy,
            float_error=found.float_error,
            bfloat16_error=found.bfloat16_error,
        )
        for layer, found in sorted(adapter.layers.items())
    ]
