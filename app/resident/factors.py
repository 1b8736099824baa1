"""Factors of committed edits, read from their artefacts."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from app.ledger.artefacts import ArtefactStore
from app.operations.live import LiveEdit
from editing_core.weights.delta import Delta


def read_factors(artefacts: ArtefactStore, edits: Iterable[LiveEdit]) -> Iterator[Delta]:
    """The factors of these edits; an artefact that several share is read once.

    Raises:
        CorruptArtefact: An artefact is missing or was altered.
    """
    rows = defaultdict[str, list[int]](list)
    for edit in edits:
        rows[edit.artefact].append(edit.artefact_index)
    for digest, found in rows.items():
        yield Delta.from_bytes(artefacts.read(digest)).select(found)
