"""FT: fine-tuning one matrix on the edits, the baseline of the field."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from editing_core.edit import Edit, tokenise
from editing_core.errors import NonFinite
from editing_core.methods.base import MethodBase, Step
from editing_core.model.packed import PackedModel
from editing_core.model.packing import PackedRows
from editing_core.sink import bare_context
from editing_core.solution import Effort, LayerSolution


class FineTune(MethodBase):
    """Adam on one matrix over all edits of the batch; stops when their mean loss is small.

    The published baselines read every target token off the logits of the last prompt position,
    so that a target of several tokens is learned as a bag; here each token is predicted from the
    ones before it. Optionally no entry may change by more than ``recipe.finetune.largest_change``.
    """

    has_values = False
    single_layer = True
    separable = False

    def update(self, step: Step) -> LayerSolution:
        """The change of the matrix, fine-tuned where it is: in the scratch model.

        Raises:
            NonFinite: The loss is not finite.
        """
        layer, packed, settings = step.layer, step.scratch.packed, step.scratch.recipe.finetune
        rows = _Rows(packed, step.scratch.tokenizer, step.scratch.edits)
        with torch.no_grad():
            entering = packed.run(rows.tokens, rows.packing, last=layer - 1)
        parameter = cast("nn.Parameter", packed.matrix(layer).weight)
        before = packed.weight(layer).clone()
        original = parameter.detach().clone()
        parameter.requires_grad_(True)
        adam = torch.optim.Adam([parameter], lr=settings.learning_rate)
        taken = 0
        for taken in range(settings.steps):
            loss = rows.loss(packed, entering, layer)
            if not torch.isfinite(loss):
                raise NonFinite(f"fine-tuning diverged at step {taken}")
            if loss < settings.stop_loss or taken == settings.steps - 1:
                break
            (parameter.grad,) = torch.autograd.grad(loss, parameter)
            adam.step()
            if settings.largest_change is not None:
                with torch.no_grad():
                    bound = settings.largest_change
                    parameter.copy_(original + (parameter - original).clamp(-bound, bound))
        parameter.requires_grad_(False)
        change = (packed.weight(layer) - before).double().to(step.problem.keys.device)
        effort = Effort(taken, float(loss.detach()))
        return LayerSolution(layer, step.problem.keys, dense=change, effort=effort)


class _Rows:
    """Bare prompts with their targets, end to end, and where targets are predicted."""

    def __init__(
        self, packed: PackedModel, tokenizer: PreTrainedTokenizerBase, edits: Sequence[Edit]
    ) -> None:
        device = packed.model.device
        prompts = [tokenise(tokenizer, edit, bare_context(tokenizer, edit)) for edit in edits]
        targets = [prompt.target for prompt in prompts]
        laid = PackedRows.of([prompt.forced for prompt in prompts], device)
        self.tokens, self.packing = laid.tokens, laid.packing
        at = [
            position
            for last, target in zip(laid.packing.ends.tolist(), targets, strict=True)
            for position in range(last + 1 - len(target), last + 1)
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
