"""Keys and residuals: one sweep up the edited layers (MEMIT, arXiv 2210.07229).

The sweep keeps the hidden states of all rows at the input of the current layer. At each layer
it reads the keys, runs only the bare rows on to the last edited layer for the residual, and,
once the layer's update is written, takes all rows through the block as it is now. The model runs
on the rows of a few edits at a time, so that a batch of any size needs little more memory.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from editing_core.edit import Edit, tokenise
from editing_core.model.packed import PackedModel
from editing_core.model.packing import PackedRows, Packing
from editing_core.recipe import Recipe
from editing_core.sink import contexts_of

_CHUNK = 64  # edits whose rows run together: bounds memory
_HOST = torch.device("cpu")


class KeySweep:
    """Walks up ``layers`` for a batch of edits; they must be taken in order.

    Args:
        packed: The model.
        tokenizer: Its tokenizer.
        edits: The batch.
        recipe: Has the contexts.
        layers: The edited layers, ascending.
        device: Where keys and outputs are wanted: where edits are solved.
    """

    def __init__(
        self,
        packed: PackedModel,
        tokenizer: PreTrainedTokenizerBase,
        edits: Sequence[Edit],
        recipe: Recipe,
        layers: Sequence[int],
        *,
        device: torch.device = _HOST,
    ) -> None:
        self._device = device
        self._chunks = [
            _Chunk(packed, tokenizer, edits[first : first + _CHUNK], recipe, layers)
            for first in range(0, len(edits), _CHUNK)
        ]

    def keys(self, layer: int) -> tuple[Tensor, Tensor]:
        """Inputs of the edited matrix: averaged over contexts, and at the bare prompt.

        Both (d_in, B) in float64.
        """
        averaged, bare = zip(*(chunk.keys(layer) for chunk in self._chunks), strict=True)
        return self._joined(averaged), self._joined(bare)

    def current(self, layer: int) -> Tensor:
        """Z_cur (d, B) in float64: output of the last edited block, weights as they are now."""
        return self._joined([chunk.current(layer) for chunk in self._chunks])

    def advance(self, layer: int, until: int) -> None:
        """Take all rows from the input of ``layer`` to the input of ``until``."""
        for chunk in self._chunks:
            chunk.advance(layer, until)

    def _joined(self, columns: Sequence[Tensor]) -> Tensor:
        return torch.cat([part.to(self._device) for part in columns], dim=1)


class _Chunk:
    """The rows of some edits on their way up."""

    def __init__(
        self,
        packed: PackedModel,
        tokenizer: PreTrainedTokenizerBase,
        edits: Sequence[Edit],
        recipe: Recipe,
        layers: Sequence[int],
    ) -> None:
        self._packed, self._layers, self._edits = packed, layers, len(edits)
        device = packed.model.device
        rows = [
            tokenise(tokenizer, edit, context)
            for edit in edits
            for context in contexts_of(tokenizer, edit, recipe.all_contexts)
        ]
        ids = [row.ids[: row.subject_last + 1] for row in rows]
        laid = PackedRows.of(ids, device)
        self._tokens, self._packing = laid.tokens, laid.packing
        self._bare = torch.arange(len(edits), device=device) * len(recipe.all_contexts)
        weights = [
            1 / (len(group) * len(recipe.contexts)) for group in recipe.contexts for _ in group
        ]
        self._weights = torch.tensor(weights, dtype=torch.float64, device=device)  # (contexts,)
        self._hidden = self._enter()

    @torch.no_grad()
    def keys(self, layer: int) -> tuple[Tensor, Tensor]:
        """Inputs of the edited matrix: averaged over contexts, and at the bare prompt.

        Both (d_in, B) in float64.
        """
        subject = self._packing.ends  # (R,) the subject's last token ends each row
        found = self._packed.keys(self._tokens, self._packing, self._hidden, layer, subject)
        grouped = found.double().view(self._edits, len(self._weights), -1)
        return torch.einsum("bcd,c->db", grouped, self._weights), grouped[:, 0].T

    @torch.no_grad()
    def current(self, layer: int) -> Tensor:
        """Z_cur (d, B) in float64: output of the last edited block, weights as they are now."""
        owner = torch.repeat_interleave(self._packing.lengths)
        bare = torch.isin(owner, self._bare)
        packing = Packing.of(self._packing.lengths[self._bare])
        out = self._packed.run(
            self._tokens[bare],
            packing,
            entering=self._hidden[bare],
            first=layer,
            last=self._layers[-1],
        )
        return out[packing.ends].double().T

    @torch.no_grad()
    def advance(self, layer: int, until: int) -> None:
        """Take all rows from the input of ``layer`` to the input of ``until``."""
        self._hidden = self._packed.run(
            self._tokens, self._packing, entering=self._hidden, first=layer, last=until - 1
        )

    @torch.no_grad()
    def _enter(self) -> Tensor:
        return self._packed.run(self._tokens, self._packing, last=self._layers[0] - 1)
