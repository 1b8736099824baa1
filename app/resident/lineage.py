"""The weights of any revision, rebuilt from the ledger's live edits and their artefacts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from sqlalchemy.orm import Session
from torch import Tensor

from app.database.database import Database
from app.database.tables.revisions import Revision
from app.errors import Inconsistent
from app.facts.placements import Placement
from app.facts.text import EditText
from app.ledger import repository as ledger
from app.ledger.artefacts import ArtefactStore
from app.operations import edits, withdrawals
from app.operations import revisions as repository
from app.operations.commit import Committed
from app.operations.live import LiveDifference, LiveEdit, difference
from app.resident.edited import Edited
from app.resident.factors import read_factors
from app.resident.rebuilding import Rebuilder, Start
from app.resident.remembered_keys import RememberedKeys
from app.resident.snapshots import Snapshots
from editing_core.weights.delta import Delta, Weights

_RECENT = 1024  # keys that new ones are compared with: bounds memory and what is read


@dataclass(frozen=True)
class State:
    """A revision in full: which edits are live in it, and what the edited matrices are.

    Attributes:
        revision: Its number.
        weights: Its edited matrices, as base and exact sum.
        live: Edit id → the edit, in the order they were accepted.
        ledger_hash: Of the entry that tells of it, and so of all history up to it; None for the
            base, which every history has.
    """

    revision: int
    weights: Weights
    live: Mapping[str, LiveEdit]
    ledger_hash: str | None = None


@dataclass(frozen=True)
class Change:
    """A state that is not committed yet.

    Attributes:
        edited: The edited matrices as they would be.
        removed: Ids of edits that would cease to be live.
        restored: Ids of edits that would be live again.
        factors: Edit id → the factors it would have again: of those restored, and of those that
            stay live with other ones.
    """

    edited: Edited
    removed: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    factors: Mapping[str, Placement] = field(default_factory=dict)


class Lineage:
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
        self._past, self._recent = RememberedKeys(artefacts), RememberedKeys(artefacts)
        self._head = self._origin = State(0, Weights(base), {})

    @property
    def base(self) -> Mapping[int, Tensor]:
        """The edited matrices of revision 0, layer → (d_out, d_in)."""
        return self._base

    @property
    def head_state(self) -> State:
        """The newest revision this process has seen committed."""
        return self._head

    def recover(self) -> dict[int, Tensor]:
        """Make the ledger's head the head here, verified against its recorded digest.

        What was changed since the head here is read, and no more.

        Returns:
            The edited matrices, layer → (d_out, d_in).

        Raises:
            Inconsistent: The rebuilt weights do not have the digest the ledger has.
            CorruptArtefact: An artefact is missing or was altered.
        """
        with self._database.read() as session:
            recorded = repository.newest(session)
            if recorded is None:
                raise Inconsistent("the ledger has no base revision")
            known = self._known(session)
            found = difference(session, known.revision, recorded.number)
            told = _ledger_hash(session, recorded)
        rebuilt = self._rebuild(recorded, known, found)
        self._head = State(recorded.number, rebuilt.weights, found.applied(known.live), told)
        return rebuilt.matrices

    def materialise(self, revision: int) -> dict[int, Tensor]:
        """The edited matrices of any revision, layer → (d_out, d_in).

        Raises:
            UnknownRevision: There is no such revision.
            Inconsistent: The rebuilt weights do not have the digest the ledger has.
        """
        return self._rebuilt(revision)[0].matrices

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
        return self._rebuilt(revision)[0].weights

    def change_to(self, revision: int) -> Change:
        """What makes the head equal to an earlier revision.

        Raises:
            Inconsistent: The rebuilt weights do not have the digest the ledger has.
        """
        rebuilt, found = self._rebuilt(revision)
        return Change(
            rebuilt,
            removed=tuple(edit.edit_id for edit in found.removed),
            restored=tuple(edit.edit_id for edit in found.added),
            factors={edit.edit_id: edit.placement for edit in found.gained},
        )

    def without(self, edits: Iterable[str], restoring: Sequence[LiveEdit] = ()) -> Change:
        """What undoes these live edits, wherever in history they were made.

        Args:
            edits: Ids of the edits.
            restoring: Edits that are to be live again, with these factors.
        """
        gone = set(edits)
        removed = [edit for id, edit in self._head.live.items() if id in gone]
        weights = self._head.weights
        if removed or restoring:
            weights = weights.changed(
                add=read_factors(self._artefacts, restoring),
                subtract=read_factors(self._artefacts, removed),
            )
        return Change(
            Edited(weights),
            removed=tuple(edit.edit_id for edit in removed),
            restored=tuple(edit.edit_id for edit in restoring),
            factors={edit.edit_id: edit.placement for edit in restoring},
        )

    def past_keys(self, leaving_out: Iterable[str]) -> dict[int, Tensor]:
        """Keys of the head's live edits but these, layer → (N, d_in); all are held from then on."""
        gone = set(leaving_out)
        return self._past.of([edit for id, edit in self._head.live.items() if id not in gone])

    def recent_keys(self, leaving_out: Iterable[str], most: int = _RECENT) -> dict[int, Tensor]:
        """Keys of the newest live edits but these, layer → (N, d_in), N at most so many."""
        gone, newest_first = set(leaving_out), reversed([*self._head.live.values()])
        newest = islice((edit for edit in newest_first if edit.edit_id not in gone), most)
        return self._recent.of([*newest][::-1])

    def advance(self, made: Committed, change: Change, delta: Delta | None = None) -> None:
        """Make the revision that was just committed on top of the head the head.

        Args:
            made: What was committed.
            change: What it changed.
            delta: The factors that were stored for it, if any were.
        """
        live, revision = self._head.live, made.revision
        left = [*change.removed, *(edit.edit_id for edit in made.gained)]
        found = LiveDifference([live[id] for id in left if id in live], made.gained)
        weights, told = change.edited.weights, made.ledger_hash
        self._head = State(revision.number, weights, found.applied(live), told)
        for keys in (self._past, self._recent):
            keys.hand_over(revision.artefact_digest, delta)

    def words(self, ids: Iterable[str], limit: int) -> list[EditText]:
        """What the first of these edits say, up to `limit` of those that were not erased."""
        with self._database.read() as session:
            found = (edits.text_of(session, id) for id in ids)
            return list(islice((text for text in found if text is not None), limit))

    def _known(self, session: Session) -> State:
        """The head here; the base where the ledger was exchanged for one without that head."""
        head = self._head
        if head.ledger_hash is None:
            return head
        recorded = session.get(Revision, head.revision)
        same = recorded is not None and _ledger_hash(session, recorded) == head.ledger_hash
        return head if same else self._origin

    def _rebuilt(self, revision: int) -> tuple[Edited, LiveDifference]:
        """A revision, and what leads to it from the head.

        Raises:
            UnknownRevision: There is no such revision.
        """
        head = self._head
        with self._database.read() as session:
            recorded = repository.get(session, revision)
            found = difference(session, head.revision, revision)
        return self._rebuild(recorded, head, found), found

    def _rebuild(self, recorded: Revision, state: State, found: LiveDifference) -> Edited:
        start = Start(found.size, lambda: found, lambda: state.weights)
        return self._rebuilder.rebuild(recorded, start)


def _ledger_hash(session: Session, recorded: Revision) -> str | None:
    return ledger.hash_at(session, recorded.ledger_index)
