"""FT: fine-tuning one matrix on the edits, the baseline of the field."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from editing_core.edit import Edit, tokenise
from editing_core.errors import NonFinite
from editing_core.methods.base import LayerProblem, LowRank
from editing_core.model.packed import PackedModel
from editing_core.model.packing import Packing
from editing_core.recipe import Recipe
from editing_core.sink import bare_context


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned matrix.

    Attributes:
        update: Δ (d_out, d_in).
        loss: Mean loss over the edits at the last forward pass.
        steps: Adam updates taken.
    """

    update: Tensor
    loss: float
    steps: int


class FineTune(LowRank):
    """Adam on one matrix over all edits of the batch; stops when their mean loss is small.

    The published baselines read every target token off the logits of the last prompt position,
    so that a target of several tokens is learned as a bag; here each token is predicted from the
    ones before it. Optionally no entry may change by more than ``recipe.finetune.largest_change``.
    """

    single_layer = True
    separable = False

    def adjusted_keys(self, problem: LayerProblem, recipe: Recipe) -> Tensor:
        """Not how this rule works: it has no keys.

        Raises:
            NotImplementedError: Always; use ``tune``.
        """
        raise NotImplementedError("fine-tuning solves no least-squares problem")

    def tune(
        self,
        packed: PackedModel,
        tokenizer: PreTrainedTokenizerBase,
        edits: Sequence[Edit],
        layer: int,
        recipe: Recipe,
    ) -> Tuned:
        """Fine-tune the matrix of ``layer`` in ``packed``, which is the caller's to spoil.

        Raises:
            NonFinite: The loss is not finite.
        """
        settings, rows = recipe.finetune, _Rows(packed, tokenizer, edits)
        with torch.no_grad():
            entering = packed.run(rows.tokens, rows.packing, last=layer - 1)
        parameter = cast("nn.Parameter", packed.matrix(layer).weight)
        before = packed.weight(layer).clone()
        original = parameter.detach().clone()
        parameter.requires_grad_(True)
        adam = torch.optim.Adam([parameter], lr=settings.learning_rate)
        step = 0
        for step in range(settings.steps):
            loss = rows.loss(packed, entering, layer)
            if not torch.isfinite(loss):
                raise NonFinite(f"fine-tuning diverged at step {step}")
            if loss < settings.stop_loss or step == settings.steps - 1:
                break
            (parameter.grad,) = torch.autograd.grad(loss, parameter)
            adam.step()
            if settings.largest_change is not None:
                with torch.no_grad():
                    bound = settings.largest_change
                    parameter.copy_(original + (parameter - original).clamp(-bound, bound))
        parameter.requires_grad_(False)
        return Tuned((packed.weight(layer) - before).double(), float(loss.detach()), step)


class _Rows:
    """Bare prompts with their targets, end to end, and where targets are predicted."""

    def __init__(
        self, packed: PackedModel, tokenizer: PreTrainedTokenizerBase, edits: Sequence[Edit]
    ) -> None:
        device = packed.model.device
        prompts = [tokenise(tokenizer, edit, bare_context(tokenizer, edit)) for edit in edits]
        targets = [prompt.target for prompt in prompts]
        rows = [prompt.forced for prompt in prompts]
        self.packing = Packing.of(torch.tensor([len(row) for row in rows], device=device))
        self.tokens = torch.tensor([token for row in rows for token in row], device=device)
        ends = (self.packing.starts + self.packing.lengths).tolist()
        at = [
            position
            for end, target in zip(ends, targets, strict=True)
            for position in range(end - len(target), end)
        ]
        shares = [1 / (len(target) * len(edits)) for target in targets for _ in target]
        self.at = torch.tensor(at, device=device)
        self.targets = torch.tensor([t for target in targets for t in target], device=device)
        self.shares = torch.tensor(shares, device=device)

    def loss(self, packed: PackedModel, entering: Tensor, layer: int) -> Tensor:
        """Mean over edits of the mean over target tokens of −log p."""
        hidden = packed.run(self.tokens, self.packing, entering=entering, first=layer)
        log_p = packed.logits(hidden[self.at]).float().log_softmax(dim=1)
        return -(log_p.gather(1, self.targets[:, None])[:, 0] * self.shares).sum()
