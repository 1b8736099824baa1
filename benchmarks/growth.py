"""What live edits cost those who hold them: a follower's step, a start, and an old revision.

The edits are real but for their values: each has random factors of its own in an artefact, and each
revision the digest of its weights, on a tiny model.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from app.database.database import Database
from app.kit.clock import utc_now
from app.kit.permissions import keep_to_ourselves
from app.ledger.artefacts import ArtefactStore
from app.resident.lineage import Lineage
from app.resident.recipes import Recipes
from app.resident.snapshots import Snapshots
from benchmarks.core import REPOSITORY, Figure, seconds, show
from benchmarks.longhistory import Writer, begun, first_edit
from editing_core.model.loading import load_model
from editing_core.weights.delta import Delta, Weights, left_grid, on_grid
from editing_core.weights.digest import weights_digest
from tests.acceptance.server import running

_AT_ONCE = 16  # revisions in one transaction
_EVERY, _KEPT = 256, 4  # snapshots, as the service takes them by default
_STEPS = 5
_SMALL = 1 / 1024  # of a factor's entries, so that many stay within the grid


class LiveHistory:
    """A data directory with many live edits, and the processes that share it.

    Args:
        folder: Where it is kept.
        together: Edits that are made as one revision.
    """

    def __init__(self, folder: Path, together: int) -> None:
        self.model, self.data = begun(folder)
        self._together, self._random = together, torch.Generator().manual_seed(together)
        self._database = Database(f"sqlite:///{self.data / 'errata.db'}")
        self._artefacts = ArtefactStore(self.data / "artefacts")
        self._base = self._edited_matrices()
        self._snapshots = Snapshots(
            self._database,
            ArtefactStore(self.data / "snapshots"),
            self._base,
            every=_EVERY,
            kept=_KEPT,
            clock=utc_now,
        )

    def process(self) -> Lineage:
        """What another process knows of it before it starts."""
        return Lineage(self._database, self._artefacts, self._base, self._snapshots)

    def grow(self, live: int) -> None:
        """Make edits until so many are live."""
        lineage = self.process()
        lineage.recover()
        state = lineage.head_state
        head, weights, there = state.revision, state.weights, len(state.live)
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("writing live edits", total=live, completed=there)
            while there < live:
                count = _AT_ONCE - head % _AT_ONCE
                weights = self.commit(weights, count)
                head, there = head + count, there + count * self._together
                self._snapshots.take_if_due(head, weights)
                progress.update(task, completed=there)

    def commit(self, weights: Weights, count: int = 1) -> Weights:
        """Make so many revisions on the head, which has these weights; the new head's weights."""
        with self._database.write() as session:
            writer = Writer(session, *first_edit(session))
            for _ in range(count):
                accepted = writer.accept(self._together)
                delta = self._factors([operation.id for operation in accepted])
                weights = weights.changed(add=[delta])
                artefact = self._artefacts.put(delta.to_bytes())
                writer.write(accepted, artefact, weights_digest(weights.materialise()))
        return weights

    def _factors(self, ids: list[str]) -> Delta:
        def draw(width: int) -> Tensor:
            return torch.randn(len(ids), width, generator=self._random, dtype=torch.float64)

        return Delta(
            tuple(ids),
            {
                layer: on_grid(_SMALL * draw(rows), draw(width), draw(width), left_grid(weight))
                for layer, weight in self._base.items()
                for rows, width in [weight.shape]
            },
        )

    def _edited_matrices(self) -> Mapping[int, Tensor]:
        recipe = Recipes(self.data).in_use()
        assert recipe is not None  # noqa: S101 - the service has made one
        base = load_model(str(self.model), cache_dir=self.data / "cache")
        return base.matrices(recipe.layers)


def figures(history: LiveHistory) -> list[Figure]:
    """What a process that shares the history waits for."""
    follower = history.process()
    start = seconds(follower.recover)
    steps, weights = [], follower.head_state.weights
    for _ in range(_STEPS):
        weights = history.commit(weights)
        steps.append(seconds(follower.recover))
    middle = follower.head_state.revision // 2
    old = seconds(lambda: follower.materialise(middle))
    near = seconds(lambda: follower.materialise(follower.head_state.revision - 1))
    began = perf_counter()
    with running(history.data, str(history.model)):
        whole = perf_counter() - began
    return [
        Figure("live edits", f"{len(follower.head_state.live):,}"),
        Figure("revisions", f"{follower.head_state.revision:,}"),
        Figure("a follower's step, ms", f"{1000 * median(steps):.0f}", "under 100"),
        Figure("the longest of five, ms", f"{1000 * max(steps):.0f}"),
        Figure("start: the head's weights and live edits, s", f"{start:.2f}"),
        Figure("start: from the command to ready, s", f"{whole:.1f}", "under 10"),
        Figure("the revision before the head, s", f"{near:.2f}"),
        Figure("a revision in the middle, s", f"{old:.2f}", "under 5 at 10,000"),
    ]


def main(
    live: Annotated[int, typer.Option(help="Edits that are live.")] = 10_000,
    together: Annotated[int, typer.Option(help="Edits that are made as one revision.")] = 1,
) -> None:
    """Measure and show; the history is kept for the next time."""
    keep_to_ourselves()
    kept = Path(os.environ.get("ERRATA_DATA_DIR", REPOSITORY / ".errata")) / "bench"
    history = LiveHistory(kept / f"live-{live}-{together}", together)
    history.grow(live)
    show(Console(), f"{live:,} live edits, {together} a revision", figures(history))


if __name__ == "__main__":
    typer.run(main)
