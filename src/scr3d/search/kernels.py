"""Covariances between causal orders, and between graphs.

An order enters as the ranks of the four factors, a graph as one number (0 or 1) for each possible edge.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from gpytorch.constraints import Positive
from gpytorch.kernels import Kernel
from jaxtyping import Float
from torch import Tensor


class DistanceKernel(Kernel, ABC):
    """exp(-decay * distance) with a decay > 0; a subclass says which distance."""

    has_lengthscale = False

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.register_parameter("raw_decay", torch.nn.Parameter(torch.zeros(*self.batch_shape, 1, 1)))
        self.register_constraint("raw_decay", Positive())

    @property
    def decay(self) -> Tensor:
        """How fast covariance falls with distance."""
        return self.raw_decay_constraint.transform(self.raw_decay)

    @decay.setter
    def decay(self, value: Tensor | float) -> None:
        tensor = torch.as_tensor(value, dtype=self.raw_decay.dtype, device=self.raw_decay.device)
        self.initialize(raw_decay=self.raw_decay_constraint.inverse_transform(tensor).expand_as(self.raw_decay))

    @abstractmethod
    def distance(self, x1: Float[Tensor, "*b n d"], x2: Float[Tensor, "*b m d"]) -> Float[Tensor, "*b n m"]:
        """Distances between all pairs."""

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Covariances between all pairs, or those of corresponding rows."""
        if params.get("last_dim_is_batch"):
            x1, x2 = (x.transpose(-1, -2).unsqueeze(-1) for x in (x1, x2))
        if not diag:
            decay = self.decay.unsqueeze(-1) if params.get("last_dim_is_batch") else self.decay
            return torch.exp(-decay * self.distance(x1, x2))
        paired = self.distance(x1.unsqueeze(-2), x2.unsqueeze(-2)).squeeze(-1).squeeze(-1)
        return torch.exp(-self.decay[..., 0] * paired)


class RankKernel(DistanceKernel):
    """exp(-decay * L1 distance of ranks); on edges, the number of edges in which two graphs differ.

    Positive definite, since it is a product over coordinates of Laplace kernels.

    Source: [SCR], section 3.3.
    """

    def distance(self, x1: Float[Tensor, "*b n d"], x2: Float[Tensor, "*b m d"]) -> Float[Tensor, "*b n m"]:
        """Sum of absolute differences."""
        return (x1.unsqueeze(-2) - x2.unsqueeze(-3)).abs().sum(-1)


class MallowsKernel(DistanceKernel):
    """exp(-decay * Kendall distance): the number of pairs of factors that two orders put in opposite order.

    Positive definite on all orders for every decay > 0, unlike the plain Kendall kernel.

    Source: Jiao and Vert, The Kendall and Mallows kernels for permutations, ICML 2015.
    """

    def distance(self, x1: Float[Tensor, "*b n d"], x2: Float[Tensor, "*b m d"]) -> Float[Tensor, "*b n m"]:
        """Discordant pairs."""
        first, second = torch.triu_indices(x1.shape[-1], x1.shape[-1], offset=1).unbind()
        s1, s2 = (torch.sign(x[..., first] - x[..., second]) for x in (x1, x2))
        return (s1.unsqueeze(-2) - s2.unsqueeze(-3)).abs().sum(-1) / 2


KERNELS: dict[str, type[DistanceKernel]] = {"l1": RankKernel, "mallows": MallowsKernel}
"""By the name under which a search asks for them."""
