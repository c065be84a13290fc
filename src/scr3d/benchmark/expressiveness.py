"""How rich a family of conditional distributions each structure gives, on generative models that are known.

Four factors u = (V, D, L, A) are drawn along the order VDLA, and an observation x of V alone. A structure models
p(u | x) as a product over factors of mixtures of two normal distributions; the parameters of factor i are read off
e_i(x) + sum_j M_ij p_j(u_j), embeddings mixed as those of the autoencoder are ([SCR], section 3.2; the argument that
conditioning on one another makes the family richer is the paper's). The score is the mean held-out log-likelihood,
beside that of the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scr3d.causal.order import Order
from scr3d.files import write_json
from scr3d.provenance import machine

RIGHT_ORDER, WRONG_ORDER = "VDLA", "ALDV"
STRUCTURES = ("independent", "dense, right order", "dense, wrong order", "dynamic")
COUNT = 4
COMPONENTS = 2
EMBEDDING = 16
HIDDEN = 48
LARGEST_RATE = 1e-2
"""Of a schedule that rises and falls once."""
GRID = 4001
"""Points of the integral over V in the likelihood of the truth."""


@dataclass(frozen=True)
class World:
    """A generative model: V ~ N(0, 1), then the other factors from those before them, and x from V.

    Attributes:
        observe: mean of x given V.
        observe_std: its deviation.
        means: means of D, L, A given the factors before them.
        stds: their deviations.
    """

    observe: Callable[[Tensor], Tensor]
    observe_std: float
    means: tuple[Callable[[Tensor], Tensor], ...]
    stds: tuple[float, ...]

    def draw(self, count: int, generator: torch.Generator) -> tuple[Float[Tensor, "count 4"], Float[Tensor, "count 1"]]:
        """Factors and observations."""
        noise = torch.randn(count, COUNT + 1, generator=generator)
        factors = [noise[:, 0]]
        for number, (mean, std) in enumerate(zip(self.means, self.stds, strict=True), start=1):
            factors.append(mean(torch.stack(factors, dim=1)) + std * noise[:, number])
        observed = self.observe(factors[0]) + self.observe_std * noise[:, COUNT]
        return torch.stack(factors, dim=1), observed[:, None]

    def log_likelihood(self, factors: Float[Tensor, "count 4"], observed: Float[Tensor, "count 1"]) -> Tensor:
        """Exact log p(u | x) of every sample; p(x) by an integral over V."""
        grid = torch.linspace(-6, 6, GRID)
        step = float(grid[1] - grid[0])
        joint = normal(grid, 0.0, 1.0)[None] + normal(observed, self.observe(grid)[None], self.observe_std)
        evidence = torch.logsumexp(joint, dim=1) + math.log(step)
        value = normal(factors[:, 0], 0.0, 1.0)
        value = value + normal(observed[:, 0], self.observe(factors[:, 0]), self.observe_std) - evidence
        for number, (mean, std) in enumerate(zip(self.means, self.stds, strict=True), start=1):
            value = value + normal(factors[:, number], mean(factors[:, :number]), std)
        return value


WORLDS: dict[str, World] = {
    "correlated Gaussian": World(
        observe=lambda v: v,
        observe_std=0.7,
        means=(
            lambda u: 0.9 * u[:, 0],
            lambda u: 0.8 * u[:, 1] - 0.5 * u[:, 0],
            lambda u: 0.7 * u[:, 2] + 0.7 * u[:, 1],
        ),
        stds=(0.3, 0.4, 0.3),
    ),
    "bimodal": World(
        observe=lambda v: v.abs(),
        observe_std=0.2,
        means=(lambda u: 1.5 * (3 * u[:, 0]).tanh(), lambda u: -u[:, 1], lambda u: u[:, 0] + 0.5 * u[:, 2]),
        stds=(0.3, 0.3, 0.3),
    ),
    "folded": World(
        observe=lambda v: v,
        observe_std=0.5,
        means=(
            lambda u: (3 * u[:, 0]).cos(),
            lambda u: u[:, 1].square() - 0.5 * u[:, 0].square(),
            lambda u: (2 * (u[:, 2] + u[:, 1])).cos(),
        ),
        stds=(0.15, 0.15, 0.15),
    ),
}
"""Which cause hides behind an effect is clear in the first, a matter of sign in the second, and many-valued in the
third, where only the right order has simple conditionals."""


class ConditionalModel(nn.Module):
    """p(u | x) under a structure, for several seeds side by side: the seeds share nothing but the loop."""

    mask: Tensor

    def __init__(self, structure: str, seeds: int):
        """Build small networks.

        Args:
            structure: one of `STRUCTURES`.
            seeds: how many models.
        """
        super().__init__()
        order = WRONG_ORDER if structure == "dense, wrong order" else RIGHT_ORDER
        mask = torch.zeros(COUNT, COUNT) if structure == "independent" else Order.parse(order).mask()
        self.register_buffer("mask", mask)
        self.dynamic = structure == "dynamic"
        self.own = SmallNetworks(seeds, 1, EMBEDDING)
        self.handed_on = SmallNetworks(seeds, 1, EMBEDDING)
        self.heads = SmallNetworks(seeds, EMBEDDING, 3 * COMPONENTS)

    def forward(
        self, factors: Float[Tensor, "seed count 4"], observed: Float[Tensor, "seed count 1"]
    ) -> Float[Tensor, "seed count"]:
        """Log p(u | x) of every sample."""
        own = self.own(observed[:, :, None].expand(-1, -1, COUNT, -1))
        parents = self.handed_on(factors[..., None])
        weights = self.mask
        if self.dynamic:
            weights = (own @ parents.mT / EMBEDDING**0.5).sigmoid() * self.mask
        logits, mean, log_std = self.heads(own + weights @ parents).chunk(3, dim=3)
        parts = logits.log_softmax(3) + normal(factors[..., None], mean, log_std.clamp(-5, 3).exp())
        return parts.logsumexp(3).sum(2)


class SmallNetworks(nn.Module):
    """A network of two layers for each seed and factor, computed together."""

    def __init__(self, seeds: int, inputs: int, outputs: int):
        super().__init__()
        self.first = nn.Parameter(torch.randn(seeds, COUNT, inputs, HIDDEN) / inputs**0.5)
        self.bias = nn.Parameter(torch.randn(seeds, 1, COUNT, HIDDEN))
        self.second = nn.Parameter(torch.randn(seeds, COUNT, HIDDEN, outputs) / HIDDEN**0.5)
        self.shift = nn.Parameter(torch.zeros(seeds, 1, COUNT, outputs))

    def forward(self, values: Float[Tensor, "seed count 4 inputs"]) -> Float[Tensor, "seed count 4 outputs"]:
        """One set of values for each factor's network."""
        hidden = torch.einsum("snfi,sfih->snfh", values, self.first) + self.bias
        return torch.einsum("snfh,sfho->snfo", nn.functional.silu(hidden), self.second) + self.shift


def normal(value: Tensor, mean: Tensor | float, std: Tensor | float) -> Tensor:
    """Log density of a normal distribution."""
    deviation = torch.as_tensor(std)
    return -0.5 * ((value - mean) / deviation).square() - deviation.log() - 0.5 * math.log(2 * math.pi)


def held_out(world: World, structure: str, seeds: int, steps: int, batch: int = 128, test: int = 10_000) -> list[float]:
    """Mean held-out log-likelihood of each seed after training on samples that are never seen twice."""
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        factors, observed = world.draw(seeds * count, generator)
        return factors.view(seeds, count, COUNT), observed.view(seeds, count, 1)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ConditionalModel(structure, seeds)
    optimiser = torch.optim.Adam(model.parameters(), lr=LARGEST_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LARGEST_RATE, total_steps=steps)
    for _ in range(steps):
        optimiser.zero_grad()
        (-model(*draw(batch)).mean(1).sum()).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return model(*draw(test)).mean(1).tolist()


def measure_expressiveness(path: Path, seeds: int = 3, steps: int = 600) -> dict[str, Any]:
    """Train every structure in every world and write the result."""
    worlds: dict[str, Any] = {}
    for name, world in WORLDS.items():
        truth = world.log_likelihood(*world.draw(20_000, torch.Generator().manual_seed(seeds)))
        scores = {
            structure: [round(value, 4) for value in held_out(world, structure, seeds, steps)]
            for structure in STRUCTURES
        }
        worlds[name] = {"truth": round(float(truth.mean()), 4), "held_out": scores}
    record = {
        "format": "scr3d-expressiveness",
        "version": 1,
        "seeds": seeds,
        "steps": steps,
        "machine": machine(torch.get_num_threads(), "cpu"),
        "worlds": worlds,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    return record
