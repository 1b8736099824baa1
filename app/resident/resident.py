"""The resident model: one base in memory, and immutable views of its revisions."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from editing_core.model.loading import LoadedModel

RequireServed = Callable[[int], None]
"""``require_served(revision)``: raises RevisionWithdrawn where it is not to be served."""

Materialise = Callable[[int], Mapping[int, Tensor]]
"""``materialise(revision)``: layer → edited matrix; raises UnknownRevision."""


@dataclass(frozen=True)
class View:
    """The model as it is at one revision; no tensor in it is ever written."""

    revision: int
    model: PreTrainedModel


class Resident:
    """Serves views: the head, swapped at a commit, and old revisions, made when asked for.

    A reader keeps the view it was given for as long as it needs it; a view that nobody holds
    any more is freed.

    Args:
        base: The model that is edited.
        materialise: Gives the edited matrices of an old revision.
        revision: The head.
        weights: Its edited matrices.
        require_served: Asked before each use of a view that is not the head.
    """

    def __init__(
        self,
        base: LoadedModel,
        materialise: Materialise,
        *,
        revision: int,
        weights: Mapping[int, Tensor],
        require_served: RequireServed = lambda _: None,
    ) -> None:
        self._base = base
        self._materialise, self._require_served = materialise, require_served
        self._layers = tuple(sorted(weights))
        self._head = self._view(revision, weights)
        self._told: tuple[Callable[[], object], ...] = ()

    @property
    def base(self) -> LoadedModel:
        """The model that every revision shares its tensors with; never written."""
        return self._base

    @property
    def name(self) -> str:
        """The served model's name."""
        return self._base.name

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The base model's tokenizer."""
        return self._base.tokenizer

    @property
    def head(self) -> int:
        """The revision that a request without one is answered with."""
        return self._head.revision

    @property
    def newest(self) -> View:
        """The model at the head."""
        return self._head

    def require_served(self, revision: int) -> None:
        """Make sure that a revision may be shown.

        Raises:
            RevisionWithdrawn: It may not.
        """
        self._require_served(revision)

    def rebuilt(self, revision: int) -> View:
        """The model at a revision, made anew; `app.resident.old_views` has few of them at a time.

        Raises:
            UnknownRevision: There is no such revision.
            RevisionWithdrawn: It is not served any more.
        """
        self.require_served(revision)
        return self._view(revision, self._materialise(revision))

    @contextmanager
    def view(self, revision: int | None = None) -> Iterator[View]:
        """The model at ``revision``, or at the head.

        Raises:
            UnknownRevision: There is no such revision.
            RevisionWithdrawn: It is not served any more.
        """
        head = self._head
        yield head if revision is None or revision == head.revision else self.rebuilt(revision)

    def matrices(self, view: View) -> dict[int, Tensor]:
        """The edited matrices of a view, layer → (d_out, d_in)."""
        weight_of = self._base.architecture.weight_of
        return {layer: weight_of(view.model, layer) for layer in self._layers}

    def publish(self, revision: int, weights: Mapping[int, Tensor]) -> None:
        """Make a committed revision the head: one pointer moves, readers keep what they hold."""
        self._head = self._view(revision, weights)
        for call in self._told:
            call()

    @contextmanager
    def telling(self, call: Callable[[], object]) -> Iterator[None]:
        """Call this after each change of the head, in the thread that made it."""
        self._told += (call,)
        try:
            yield
        finally:
            self._told = tuple(told for told in self._told if told is not call)

    def shadow(self, weights: Mapping[int, Tensor]) -> PreTrainedModel:
        """A model with these edited matrices that nobody else sees."""
        return self._view(self.head, weights).model

    def _view(self, revision: int, weights: Mapping[int, Tensor]) -> View:
        return View(revision, self._base.architecture.view_with(self._base.model, weights))
