"""The fast linear map against PyTorch's own."""

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from editing_core.model.linear import fast_linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 48), (13, 48), (2, 7, 48)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_values_and_gradients_are_those_of_linear(
    shape: tuple[int, ...], dtype: torch.dtype, bias: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    module = nn.Linear(48, 32, bias=bias, dtype=dtype).requires_grad_(False)
    upstream = torch.randn(*shape[:-1], 32, generator=generator).to(dtype)
    ours = torch.randn(*shape, generator=generator).to(dtype).requires_grad_(True)
    theirs = ours.detach().clone().requires_grad_(True)
    found, expected = fast_linear(module, ours), linear(theirs, module.weight, module.bias)
    (ours_grad,) = torch.autograd.grad(found, ours, upstream)
    (theirs_grad,) = torch.autograd.grad(expected, theirs, upstream)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(ours_grad, theirs_grad)


def test_a_gradient_that_is_not_contiguous_is_read_right() -> None:
    module = nn.Linear(48, 32).requires_grad_(False)
    x = torch.randn(13, 48, requires_grad=True)
    upstream = torch.randn(32, 13).t()
    (found,) = torch.autograd.grad(fast_linear(module, x), x, upstream)
    torch.testing.assert_close(found, upstream @ module.weight)


def test_a_weight_in_training_gets_its_gradient() -> None:
    module = nn.Linear(48, 32)
    x = torch.randn(13, 48)
    (found,) = torch.autograd.grad(fast_linear(module, x).square().sum(), module.weight)
    (expected,) = torch.autograd.grad(module(x).square().sum(), module.weight)
    torch.testing.assert_close(found, expected)
