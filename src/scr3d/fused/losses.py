"""The losses with learned confidence in one kernel each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.fused import _kernels as kernels
from scr3d.fused.dispatch import in_order, launch, plain_gradients

Form = Callable[[Tensor, Tensor, Tensor], Tensor]


def confidence_loss(
    plain: Form, reconstruction: Tensor, target: Tensor, sigma: Tensor, squared: bool, epsilon: float
) -> Float[Tensor, ""]:
    """Mean over pixels and channels of an error against its expected size.

    Args:
        plain: the same in PyTorch.
        reconstruction: [batch, channels, height, width].
        target: likewise; gets no gradient.
        sigma: expected error, [batch, height, width].
        squared: for normal errors (the perceptual loss) instead of Laplace errors.
        epsilon: added to the scale.
    """
    own = (in_order(reconstruction), in_order(target), sigma.contiguous())
    return _Loss.apply(plain, squared, epsilon, *own)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plain: Form, squared: bool, epsilon: float, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        ctx.plain, ctx.options, loss = plain, (squared, epsilon), torch.empty(())
        launch(
            kernels.loss_forward, [*inputs, loss, inputs[2].numel(), inputs[0].shape[1], squared, None, None], epsilon
        )
        return loss

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> Any:
        reconstruction, target, sigma = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled():
            inputs = (reconstruction, target, sigma)
            return None, None, None, *plain_gradients(ctx.plain, inputs, wanted, [given])
        squared, epsilon = ctx.options
        found = torch.empty_like(reconstruction) if wanted[0] else None
        found_sigma = torch.empty_like(sigma) if wanted[2] else None
        sizes = [sigma.numel(), reconstruction.shape[1], squared]
        tensors = [reconstruction, target, sigma, given.contiguous()]
        launch(kernels.loss_backward, [*tensors, *sizes, found, found_sigma], epsilon)
        return None, None, None, found, None, found_sigma
