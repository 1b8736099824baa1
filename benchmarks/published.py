"""The published way to a value, as the baseline: one edit, seven padded rows, the whole model."""

import torch
from torch import Tensor

from editing_core.edit import Edit, tokenise
from editing_core.model.loading import LoadedModel
from editing_core.recipe import Recipe

_KL_TEMPLATE = "{} is a"


def optimise_published(model: LoadedModel, edit: Edit, recipe: Recipe) -> Tensor:
    """Z (d,) of one edit: every step runs all rows through all layers and the whole LM head."""
    settings, layer = recipe.value, recipe.layers[-1]
    prompts = [tokenise(model.tokenizer, edit, context) for context in recipe.all_contexts]
    target = prompts[0].target
    alone = Edit(edit.id, edit.subject, _KL_TEMPLATE, edit.target)
    kl_prompt = tokenise(model.tokenizer, alone, "{}")
    ids = [prompt.ids + target[:-1] for prompt in prompts] + [kl_prompt.ids]
    subject = torch.tensor([p.subject_last for p in [*prompts, kl_prompt]])
    width = max(map(len, ids))
    padded = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    rows = torch.arange(len(prompts))[:, None]
    ends = torch.tensor([len(row) for row in ids[:-1]])[:, None]
    at = ends - len(target) + torch.arange(len(target))  # (contexts, T) predict the target
    wanted = torch.tensor(target).expand(len(prompts), -1)

    shift: Tensor | None = None
    z0: Tensor | None = None

    def add(_module: object, _args: object, hidden: Tensor) -> Tensor:
        nonlocal z0
        if z0 is None:
            z0 = hidden[0, subject[0]].detach().clone()
        return (
            hidden
            if shift is None
            else hidden.index_put(
                (torch.arange(len(ids)), subject), shift.expand(len(ids), -1), accumulate=True
            )
        )

    block = model.model.get_submodule(f"{model.architecture.blocks}.{layer}")
    handle = block.register_forward_hook(add)
    shift = torch.zeros(model.architecture.width, requires_grad=True)
    adam, before = torch.optim.Adam([shift], lr=settings.learning_rate), None
    try:
        for step in range(settings.steps):
            log_p = model.model(padded, use_cache=False).logits.log_softmax(dim=-1)
            nll = -log_p[rows, at].gather(2, wanted[..., None]).mean()
            now = log_p[-1, subject[-1]]
            before = now.detach() if before is None else before
            divergence = (now.exp() * (now - before)).sum()
            norm = z0.norm() if z0 is not None else shift.norm()
            decay = settings.weight_decay * shift.norm() / norm**2
            loss = nll + settings.kl * divergence + decay
            if float(loss.detach()) < settings.stop_loss or step == settings.steps - 1:
                break
            (shift.grad,) = torch.autograd.grad(loss, shift)
            adam.step()
            with torch.no_grad():
                shift.mul_((settings.clamp * norm / shift.norm()).clamp(max=1))
    finally:
        handle.remove()
    return shift.detach() if z0 is None else z0 + shift.detach()
