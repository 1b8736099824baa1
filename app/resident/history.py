"""The weights of any revision, rebuilt from the ledger's live edits and their artefacts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from sqlalchemy.orm import Session
from torch import Tensor

from app.database.database import Database
from app.errors import Inconsistent
from app.revisions import repository
from app.revisions.artefacts import ArtefactStore
from app.revisions.repository import LiveEdit
from editing_core.delta import Delta, Weights
from editing_core.digest import weights_digest


@dataclass(frozen=True)
class State:
    """A revision in full: which edits are live in it, and what the edited matrices are.

    Attributes:
        revision: Its number.
        weights: Its edited matrices, as base and exact sum.
        live: Edit id → the edit, in the order they were accepted.
        keys: Edit id → layer → the edit's key (d_in,), what methods with a memory remember.
    """

    revision: int
    weights: Weights
    live: Mapping[str, LiveEdit]
    keys: Mapping[str, Mapping[int, Tensor]]


@dataclass(frozen=True)
class Change:
    """A state that is not committed yet.

    Attributes:
        weights: The edited matrices as they would be.
        removed: Ids of edits that would cease to be live.
        restored: Ids of edits that would be live again.
    """

    weights: Weights
    removed: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()


class History:
    """Every revision of one base model; knows the head, can rebuild the rest.

    Sums of factors are exact, so a revision reached by undoing has the same bits as one built
    from scratch, and going from the head costs only what differs.
    """

    def __init__(
        self, database: Database, artefacts: ArtefactStore, base: Mapping[int, Tensor]
    ) -> None:
        self._database, self._artefacts = database, artefacts
        self._base = base
        self._head = State(0, Weights(base), {}, {})

    @property
    def base(self) -> Mapping[int, Tensor]:
        """The edited matrices of revision 0, layer → (d_out, d_in)."""
        return self._base

    @property
    def head(self) -> State:
        """The newest revision this process has seen committed."""
        return self._head

    def recover(self) -> dict[int, Tensor]:
        """Make the ledger's head the head here, verified against its recorded digest.

        Returns:
            The edited matrices, layer → (d_out, d_in).

        Raises:
            Inconsistent: The rebuilt weights do not have the digest the ledger has.
            CorruptArtefact: An artefact is missing or was altered.
        """
        with self._database.read() as session:
            recorded = repository.head(session)
            if recorded is None:
                raise Inconsistent("the ledger has no base revision")
            live = _by_id(repository.live_edits(session, recorded.number))
        sums = self._changed(self._head, live).weights
        weights = sums.materialise()
        _check_digest(recorded.number, weights, recorded.weights_digest)
        self._head = State(recorded.number, sums, live, self._keys(live))
        return weights

    def materialise(self, revision: int) -> dict[int, Tensor]:
        """The edited matrices of any revision, layer → (d_out, d_in).

        Raises:
            UnknownRevision: There is no such revision.
            Inconsistent: The rebuilt weights do not have the digest the ledger has.
        """
        with self._database.read() as session:
            recorded = repository.get(session, revision)
            live = _by_id(repository.live_edits(session, revision))
        weights = self._changed(self._head, live).weights.materialise()
        _check_digest(revision, weights, recorded.weights_digest)
        return weights

    def change_to(self, session: Session, revision: int) -> Change:
        """What makes the head equal to an earlier revision."""
        return self._changed(self._head, _by_id(repository.live_edits(session, revision)))

    def without(self, edits: Iterable[str]) -> Change:
        """What undoes these live edits, wherever in history they were made."""
        gone = set(edits)
        live = {id: edit for id, edit in self._head.live.items() if id not in gone}
        return self._changed(self._head, live)

    def past_keys(self, leaving_out: Iterable[str]) -> dict[int, Tensor]:
        """Keys of the head's live edits but these, layer → (N, d_in)."""
        gone = set(leaving_out)
        columns = defaultdict[int, list[Tensor]](list)
        for id in self._head.live:
            if id not in gone:
                for layer, key in self._head.keys[id].items():
                    columns[layer].append(key)
        return {layer: torch.stack(keys) for layer, keys in columns.items()}

    def advance(self, revision: int, weights: Weights) -> None:
        """Make a revision that was just committed the head."""
        with self._database.read() as session:
            live = _by_id(repository.live_edits(session, revision))
        self._head = State(revision, weights, live, self._keys(live))

    def _changed(self, state: State, live: Mapping[str, LiveEdit]) -> Change:
        removed = [edit for id, edit in state.live.items() if id not in live]
        restored = [edit for id, edit in live.items() if id not in state.live]
        return Change(
            state.weights.changed(add=self._deltas(restored), subtract=self._deltas(removed)),
            removed=tuple(edit.edit_id for edit in removed),
            restored=tuple(edit.edit_id for edit in restored),
        )

    def _keys(self, live: Mapping[str, LiveEdit]) -> dict[str, Mapping[int, Tensor]]:
        """Keys of these edits; only those the head does not have yet are read from disk."""
        known = self._head.keys
        keys = {id: known[id] for id in live if id in known}
        for delta in self._deltas([edit for id, edit in live.items() if id not in known]):
            for row, id in enumerate(delta.edits):
                keys[id] = {layer: part.keys[row] for layer, part in delta.layers.items()}
        return keys

    def _deltas(self, edits: Sequence[LiveEdit]) -> list[Delta]:
        """The factors of these edits; an artefact that several share is read once."""
        rows = defaultdict[str, list[int]](list)
        for edit in edits:
            rows[edit.artefact].append(edit.artefact_index)
        return [
            Delta.from_bytes(self._artefacts.read(digest)).select(found)
            for digest, found in rows.items()
        ]


def _by_id(edits: Sequence[LiveEdit]) -> dict[str, LiveEdit]:
    return {edit.edit_id: edit for edit in edits}


def _check_digest(revision: int, weights: Mapping[int, Tensor], recorded: str) -> None:
    found = weights_digest(weights)
    if found != recorded:
        raise Inconsistent(
            f"revision {revision} was recorded with weights {recorded}, but base and factors "
            f"give {found}; restore the artefacts, or the model that this ledger belongs to"
        )
