"""Snapshots on disk: taking them, reading them back, and never relying on one."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from threading import Lock

from torch import Tensor

from app.database.database import Database
from app.database.tables.labels import Snapshot
from app.database.tables.revisions import Revision
from app.errors import CorruptArtefact, StorageUnavailable, Unavailable
from app.kit.clock import Clock
from app.kit.logs import get_logger
from app.ledger.artefacts import ArtefactStore
from app.operations import labels as service
from app.operations import snapshots as repository
from app.operations.label_limits import LabelLimits
from app.operations.once import Once
from app.operations.withdrawals import require_served
from editing_core.errors import ForeignSums
from editing_core.weights.delta import Weights

_ANY_NUMBER = LabelLimits()
_log = get_logger(__name__)


class Snapshots:
    """Revisions of one base model, each stored whole: the exact sums of its factors.

    Every file here may vanish or rot; what it is needed for then takes longer, and nothing else.

    Args:
        database: Where they are noted.
        store: Where their files are.
        base: The base model's edited matrices.
        every: Revisions after which one is taken without being asked for; 0 means never.
        kept: How many of those are kept.
        clock: When one was taken.
        labels: How much labels may keep.
    """

    def __init__(
        self,
        database: Database,
        store: ArtefactStore,
        base: Mapping[int, Tensor],
        *,
        every: int,
        kept: int,
        clock: Clock,
        labels: LabelLimits = _ANY_NUMBER,
    ) -> None:
        self._database, self._store, self._base = database, store, base
        self._every, self._kept, self._clock = every, kept, clock
        self._labels = labels
        # Between storing a file and noting it, no other thread may find it unclaimed and remove it;
        # another process that does costs time only.
        self._storing = Lock()

    def distances(self, wanted: Revision, most: int | None) -> dict[int, tuple[int, str]]:
        """Revision → how many sets of factors it has too many or too few, and its file.

        Args:
            wanted: The revision that they are to lead to.
            most: Leaves those out that are farther, as far as that is seen at a glance; None for
                all.
        """
        with self._database.read() as session:
            files = repository.files(session)
            if most is not None:
                files = repository.near(session, files, wanted, most)
            found = repository.distances(session, wanted.number, files)
        return {number: (found[number], digest) for number, digest in files.items()}

    def read(self, digest: str) -> Weights | None:
        """What a file holds; None if it cannot be read, and it is forgotten if it is no good."""
        try:
            return Weights.from_bytes(self._base, self._store.read(digest))
        except (CorruptArtefact, ForeignSums) as error:
            _log.warning("snapshot_unusable", error=str(error))
            self.forget([digest])
        except OSError as error:  # the disk may answer again
            _log.warning("snapshot_unreadable", error=str(error))
        return None

    def forget(self, digests: Collection[str]) -> None:
        """Remove these files, and every claim to them; labels stay."""
        if not digests:
            return
        try:
            with self._storing, self._database.write() as session:
                repository.forget(session, digests)
            for digest in digests:
                self._store.remove(digest)
        except (Unavailable, OSError) as error:
            _log.warning("snapshots_not_forgotten", error=str(error))

    def take_if_due(self, revision: int, weights: Weights) -> None:
        """Store a revision that was just committed, if it is its turn; a failure is only logged."""
        if self._every == 0 or revision % self._every:
            return
        try:
            with self._storing:
                digest = self._store.put(weights.to_bytes())
                with self._database.write() as session:
                    dropped = service.add_automatic(
                        session, revision, digest, kept=self._kept, now=self._clock()
                    )
                for old in dropped:
                    self._store.remove(old)
        except (Unavailable, OSError) as error:
            _log.warning("snapshot_not_taken", revision=revision, error=str(error))
        else:
            _log.info("snapshot_taken", revision=revision, digest=digest)

    def label(
        self, revision: int, label: str, weights: Callable[[int], Weights], once: Once
    ) -> tuple[Snapshot, bool]:
        """Store a revision under a label; whether that is new.

        Args:
            revision: Its number.
            label: The label, unless it is another revision's.
            weights: Gives the weights of a revision; asked only if they are not stored yet.
            once: The request that gives the label.

        Raises:
            LabelTaken: It is on another revision.
            RevisionWithdrawn: The revision was withdrawn.
            TooManyLabels: There is no room for a further one.
            StorageFull: There is too little free space for it.
            StorageUnavailable: The disk did not take the file.
        """
        with self._database.read() as session:
            require_served(session, revision)
            found = service.find_label(session, revision, label)
            labelled = repository.labelled(session)
        if found is not None and found.digest in self._store.digests():
            with self._database.write() as session:
                once.keep(session, str(found.id))
            return found, False
        if found is None:
            self._labels.require_place(len(labelled))
        data = weights(revision).to_bytes()
        stored = {digest for digest in labelled.values() if digest is not None}
        if hashlib.sha256(data).hexdigest() not in stored:
            self._labels.require_bytes(self._store.size(stored), len(data))
        try:
            with self._storing:
                digest = self._store.put(data)
                with self._database.write() as session:
                    snapshot = service.add_label(
                        session, revision, label, digest, actor=once.actor, now=self._clock()
                    )
                    once.keep(session, str(snapshot.id))
        except OSError as error:
            raise StorageUnavailable(
                "the snapshot could not be written", cause=str(error)
            ) from error
        return snapshot, found is None

    def tidy(self) -> int:
        """Remove the files that no snapshot refers to, as a start does; how many there were."""
        with self._storing, self._database.read() as session:
            return self._store.remove_all_but(repository.claimed(session))
