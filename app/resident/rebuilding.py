"""Building the weights of a revision from wherever the fewest factors differ."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from app.database.database import Database
from app.database.tables.revisions import Revision
from app.errors import CorruptArtefact, Inconsistent
from app.kit.logs import get_logger
from app.ledger.artefacts import ArtefactStore
from app.operations.live import LiveDifference, difference
from app.resident.edited import Edited
from app.resident.factors import read_factors
from app.resident.snapshots import Snapshots
from editing_core.weights.delta import Weights

# Reading a snapshot and checking it takes as long as reading and adding so many single edits:
# 105 ms against 21 ms each on the demo model, and both grow alike with the matrices.
_READING_COSTS = 5

_log = get_logger(__name__)


@dataclass(frozen=True)
class Start:
    """Weights to go on from.

    Attributes:
        cost: How far they are from what is wanted, in factors to read and add.
        missing: Gives what leads from there to what is wanted.
        weights: Gives them; None if they turn out to be unusable.
        file: Digest of the snapshot they are read from, if they are.
    """

    cost: int
    missing: Callable[[], LiveDifference]
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

    def rebuild(self, wanted: Revision, head: Start) -> Edited:
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

    def _starts(self, wanted: Revision, head: Start) -> Iterator[Start]:
        """The cheapest first; snapshots are looked for only where they could help."""
        base = Start(
            wanted.live_edits, partial(self._missing, 0, wanted), lambda: Weights(self._base)
        )
        in_memory = sorted((head, base), key=lambda start: start.cost)
        at_hand = [start for start in in_memory if start.cost <= _READING_COSTS]
        yield from at_hand
        others = in_memory[len(at_hand) :]
        near = self._stored(wanted, within=others[0].cost) if others else []
        yield from sorted([*others, *near], key=lambda start: start.cost)
        tried = {start.file for start in near}
        far = self._stored(wanted, within=None)
        yield from (start for start in far if start.file not in tried)

    def _stored(self, wanted: Revision, within: int | None) -> list[Start]:
        """The snapshots, the nearest first; only those that may be within some cost, if it says."""
        most = None if within is None else within - _READING_COSTS
        found = [
            Start(
                distance + _READING_COSTS,
                partial(self._missing, number, wanted),
                partial(self._snapshots.read, digest),
                digest,
            )
            for number, (distance, digest) in self._snapshots.distances(wanted, most).items()
        ]
        return sorted(found, key=lambda start: start.cost)

    def _missing(self, number: int, wanted: Revision) -> LiveDifference:
        with self._database.read() as session:
            return difference(session, number, wanted.number)

    def _from(self, start: Start, wanted: Revision) -> Edited | None:
        weights = start.weights()
        if weights is None:
            return None
        missing = start.missing()
        rebuilt = Edited(
            weights.changed(
                add=read_factors(self._artefacts, missing.gained),
                subtract=read_factors(self._artefacts, missing.lost),
            )
        )
        _check_digest(wanted, rebuilt)
        return rebuilt

    def _forget(self, suspects: list[str]) -> None:
        """Snapshots that gave other weights than the ledger has, when something else did not."""
        if suspects:
            _log.warning("snapshots_wrong", digests=",".join(suspects))
            self._snapshots.forget(suspects)


def _check_digest(recorded: Revision, rebuilt: Edited) -> None:
    if rebuilt.digest != recorded.weights_digest:
        raise Inconsistent(
            f"revision {recorded.number} was recorded with weights {recorded.weights_digest}, but "
            f"base and factors give {rebuilt.digest}; restore the artefacts, or the model that "
            "this ledger belongs to"
        )
