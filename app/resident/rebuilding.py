"""Building the weights of a revision from wherever the fewest factors differ."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from app.database.database import Database
from app.errors import CorruptArtefact, Inconsistent
from app.observability.logs import get_logger
from app.resident.factors import read_factors
from app.resident.snapshots import Snapshots
from app.revisions import repository
from app.revisions.artefacts import ArtefactStore
from app.revisions.models import Revision
from app.revisions.repository import LiveEdit
from editing_core.delta import Weights
from editing_core.digest import weights_digest

# Reading a snapshot and checking it takes as long as reading and adding so many single edits:
# 105 ms against 21 ms each on the demo model, and both grow alike with the matrices.
_READING_COSTS = 5

_log = get_logger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A revision that is to be built.

    Attributes:
        recorded: What the ledger has of it.
        live: Edit id → the edits live in it, in the order they were accepted.
    """

    recorded: Revision
    live: Mapping[str, LiveEdit]


@dataclass(frozen=True)
class Rebuilt:
    """A revision that has the digest the ledger recorded for it.

    Attributes:
        weights: Its edited matrices, as base and exact sum.
        matrices: The same, layer → (d_out, d_in).
    """

    weights: Weights
    matrices: dict[int, Tensor]


@dataclass(frozen=True)
class Start:
    """Weights to go on from.

    Attributes:
        cost: How far they are from what is wanted, in factors to read and add.
        live: Gives the edits that are live in them.
        weights: Gives them; None if they turn out to be unusable.
        file: Digest of the snapshot they are read from, if they are.
    """

    cost: int
    live: Callable[[], Mapping[str, LiveEdit]]
    weights: Callable[[], Weights | None]
    file: str | None = None


class Rebuilder:
    """Builds revisions of one base model; the bits are the same whatever it starts from."""

    def __init__(
        self,
        database: Database,
        artefacts: ArtefactStore,
        base: Mapping[int, Tensor],
        snapshots: Snapshots,
    ) -> None:
        self._database, self._artefacts = database, artefacts
        self._base, self._snapshots = base, snapshots

    def rebuild(self, wanted: Wanted, head: Start) -> Rebuilt:
        """The revision, from the head, the base or a snapshot; where one fails, from the next.

        Raises:
            Inconsistent: The rebuilt weights do not have the digest the ledger has.
            CorruptArtefact: An artefact on every way is missing or was altered.
        """
        failures, suspects = list[Inconsistent](), list[str]()
        for start in self._starts(wanted, head):
            try:
                rebuilt = self._from(start, wanted)
            except CorruptArtefact as error:  # the factors between; another way may need others
                failures.append(error)
            except Inconsistent as error:
                failures.append(error)
                suspects += [start.file] if start.file is not None else []
            else:
                if rebuilt is not None:
                    self._forget(suspects)
                    return rebuilt
        raise failures[-1]

    def _starts(self, wanted: Wanted, head: Start) -> Iterator[Start]:
        """The cheapest first; snapshots are looked for only where they could help."""
        base = Start(len(wanted.live), dict, lambda: Weights(self._base))
        in_memory = sorted((head, base), key=lambda start: start.cost)
        at_hand = [start for start in in_memory if start.cost <= _READING_COSTS]
        yield from at_hand
        others = [*in_memory[len(at_hand) :], *self._stored(wanted)]
        yield from sorted(others, key=lambda start: start.cost)

    def _stored(self, wanted: Wanted) -> list[Start]:
        placed = {id: edit.placement for id, edit in wanted.live.items()}
        return [
            Start(
                distance + _READING_COSTS,
                partial(self._live, number),
                partial(self._snapshots.read, digest),
                digest,
            )
            for number, (distance, digest) in self._snapshots.distances(placed).items()
        ]

    def _live(self, number: int) -> Mapping[str, LiveEdit]:
        with self._database.read() as session:
            return by_id(repository.live_edits(session, number, words=False))

    def _from(self, start: Start, wanted: Wanted) -> Rebuilt | None:
        weights, live = start.weights(), start.live()
        if weights is None:
            return None
        weights = weights.changed(
            add=read_factors(self._artefacts, without(wanted.live, live)),
            subtract=read_factors(self._artefacts, without(live, wanted.live)),
        )
        matrices = weights.materialise()
        _check_digest(wanted.recorded, matrices)
        return Rebuilt(weights, matrices)

    def _forget(self, suspects: list[str]) -> None:
        """Snapshots that gave other weights than the ledger has, when something else did not."""
        if suspects:
            _log.warning("snapshots_wrong", digests=",".join(suspects))
            self._snapshots.forget(suspects)


def by_id(edits: Sequence[LiveEdit]) -> dict[str, LiveEdit]:
    """Edit id → edit without its words, which may be erased, in the same order."""
    return {edit.edit_id: replace(edit, text=None) for edit in edits}


def without(edits: Mapping[str, LiveEdit], others: Mapping[str, LiveEdit]) -> list[LiveEdit]:
    """The edits that are not among the others, or are with other factors."""
    return [
        edit
        for id, edit in edits.items()
        if id not in others or others[id].placement != edit.placement
    ]


def _check_digest(recorded: Revision, matrices: Mapping[int, Tensor]) -> None:
    found = weights_digest(matrices)
    if found != recorded.weights_digest:
        raise Inconsistent(
            f"revision {recorded.number} was recorded with weights {recorded.weights_digest}, but "
            f"base and factors give {found}; restore the artefacts, or the model that this ledger "
            "belongs to"
        )
