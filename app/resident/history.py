"""The weights of any revision, rebuilt from the ledger's live edits and their artefacts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor

from app.database.database import Database
from app.edits import repository as edits
from app.edits.text import EditText
from app.errors import Inconsistent
from app.resident.factors import read_factors
from app.resident.rebuilding import Rebuilder, Rebuilt, Start, Wanted, by_id, without
from app.resident.snapshots import Snapshots
from app.revisions import repository
from app.revisions.artefacts import ArtefactStore
from app.revisions.placements import Placement
from app.revisions.repository import LiveEdit
from app.withdrawals import repository as withdrawals
from editing_core.delta import Weights


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
        factors: Edit id → the factors it would have again: of those restored, and of those that
            stay live with other ones.
    """

    weights: Weights
    removed: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    factors: Mapping[str, Placement] = field(default_factory=dict)


class History:
    """Every revision of one base model; knows the head, can rebuild the rest.

    Sums of factors are exact, so a revision reached by undoing has the same bits as one built
    from scratch, and going from the head costs only what differs.
    """

    def __init__(
        self,
        database: Database,
        artefacts: ArtefactStore,
        base: Mapping[int, Tensor],
        snapshots: Snapshots,
    ) -> None:
        self._database, self._artefacts, self._base = database, artefacts, base
        self._rebuilder = Rebuilder(database, artefacts, base, snapshots)
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
        wanted = self._recorded(None)
        rebuilt = self._rebuild(wanted)
        number, live = wanted.recorded.number, wanted.live
        self._head = State(number, rebuilt.weights, live, self._keys(live))
        return rebuilt.matrices

    def materialise(self, revision: int) -> dict[int, Tensor]:
        """The edited matrices of any revision, layer → (d_out, d_in).

        Raises:
            UnknownRevision: There is no such revision.
            Inconsistent: The rebuilt weights do not have the digest the ledger has.
        """
        return self._rebuild(self._recorded(revision)).matrices

    def require_served(self, revision: int) -> None:
        """Let only revisions pass that are served; the base always is.

        Raises:
            RevisionWithdrawn: It was withdrawn.
            DatabaseUnavailable: The database does not answer.
        """
        if revision:
            with self._database.read() as session:
                withdrawals.require_served(session, revision)

    def weights(self, revision: int) -> Weights:
        """The weights of any revision, as base and exact sum.

        Raises:
            UnknownRevision: There is no such revision.
            Inconsistent: The rebuilt weights do not have the digest the ledger has.
        """
        return self._rebuild(self._recorded(revision)).weights

    def change_to(self, revision: int) -> Change:
        """What makes the head equal to an earlier revision.

        Raises:
            Inconsistent: The rebuilt weights do not have the digest the ledger has.
        """
        wanted = self._recorded(revision)
        rebuilt, head = self._rebuild(wanted), self._head.live
        return Change(
            rebuilt.weights,
            removed=tuple(id for id in head if id not in wanted.live),
            restored=tuple(id for id in wanted.live if id not in head),
            factors={edit.edit_id: edit.placement for edit in without(wanted.live, head)},
        )

    def without(self, edits: Iterable[str], restoring: Sequence[LiveEdit] = ()) -> Change:
        """What undoes these live edits, wherever in history they were made.

        Args:
            edits: Ids of the edits.
            restoring: Edits that are to be live again, with these factors.
        """
        gone = set(edits)
        removed = [edit for id, edit in self._head.live.items() if id in gone]
        return Change(
            self._head.weights.changed(
                add=read_factors(self._artefacts, restoring),
                subtract=read_factors(self._artefacts, removed),
            ),
            removed=tuple(edit.edit_id for edit in removed),
            restored=tuple(edit.edit_id for edit in restoring),
            factors={edit.edit_id: edit.placement for edit in restoring},
        )

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
        """Make the revision that was just committed on top of the head the head."""
        with self._database.read() as session:
            gained = repository.gained_edits(session, revision)
            lost = repository.lost_edits(session, revision)
        kept = {id: edit for id, edit in self._head.live.items() if id not in lost}
        live = kept | by_id(gained)
        live = dict(sorted(live.items(), key=lambda item: item[1].seq))
        self._head = State(revision, weights, live, self._keys(live))

    def words(self, ids: Iterable[str], limit: int) -> list[EditText]:
        """What the first of these edits say, up to `limit` of those that were not erased."""
        with self._database.read() as session:
            found = (edits.text_of(session, id) for id in ids)
            return list(islice((text for text in found if text is not None), limit))

    def _recorded(self, revision: int | None) -> Wanted:
        """A revision as the ledger has it; None means the ledger's head."""
        with self._database.read() as session:
            if revision is not None:
                recorded = repository.get(session, revision)
            elif (head := repository.head(session)) is not None:
                recorded = head
            else:
                raise Inconsistent("the ledger has no base revision")
            live = repository.live_edits(session, recorded.number, words=False)
            return Wanted(recorded, by_id(live))

    def _rebuild(self, wanted: Wanted) -> Rebuilt:
        head = self._head
        differing = len(without(head.live, wanted.live)) + len(without(wanted.live, head.live))
        start = Start(differing, lambda: head.live, lambda: head.weights)
        return self._rebuilder.rebuild(wanted, start)

    def _keys(self, live: Mapping[str, LiveEdit]) -> dict[str, Mapping[int, Tensor]]:
        """Keys of these edits; only those the head does not have yet are read from disk."""
        new = without(live, self._head.live)
        missing = {edit.edit_id for edit in new}
        keys = {id: self._head.keys[id] for id in live if id not in missing}
        for delta in read_factors(self._artefacts, new):
            for row, id in enumerate(delta.edits):
                keys[id] = {layer: part.keys[row] for layer, part in delta.layers.items()}
        return keys
