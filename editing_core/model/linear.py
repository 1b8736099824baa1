"""Linear maps of few rows on a CPU, forward and backward, by oneDNN.

A value's optimisation multiplies matrices of the model by a dozen to a few hundred rows. PyTorch
hands such products to a BLAS that first copies the whole matrix into its own layout; oneDNN
multiplies it where it lies, which `make bench` shows. Elsewhere PyTorch's own product is used.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class _OneDnnLinear(torch.autograd.Function):
    """x Wᵀ + b for frozen W (d_out, d_in) and b; the gradient is of x (N, d_in) alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _product(gradient.contiguous(), weight.t(), None), None, None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


def fast_linear(module: nn.Linear, x: Tensor) -> Tensor:
    """What ``module(x)`` is, faster where that can be had; x (…, d_in).

    A weight that is being trained, a device other than the CPU and a dtype other than float32
    take PyTorch's own way.
    """
    weight, bias = module.weight, module.bias
    suits = (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not weight.requires_grad
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )
    if not suits:
        return linear(x, weight, bias)
    rows: Tensor = _OneDnnLinear.apply(x.flatten(0, -2), weight, bias)  # type: ignore[no-untyped-call]
    return rows.view(*x.shape[:-1], len(weight))
