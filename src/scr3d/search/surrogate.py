"""A Gaussian process over causal orders: what a few scores say about all of them.

The model is BoTorch's `SingleTaskGP` with standardised outcomes. With at most a few dozen scores its decay and noise
are found on a grid, exactly and in milliseconds: the largest marginal likelihood (scale and mean in closed form) times
mild priors, which keep a handful of scores from being explained by noise alone, or without any.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import cast

import torch
from botorch.acquisition.analytic import LogExpectedImprovement
from botorch.exceptions.warnings import InputDataWarning
from botorch.models import SingleTaskGP
from botorch.models.transforms import Standardize
from gpytorch.kernels import ScaleKernel
from jaxtyping import Float
from torch import Tensor

from scr3d.causal.graph import Order, parse_edges
from scr3d.errors import ConfigError
from scr3d.factors import FACTORS
from scr3d.search.kernels import KERNELS, MallowsKernel

DECAYS = torch.logspace(-2, 0.6, 27, dtype=torch.float64)
NOISES = torch.logspace(-3, 1, 17, dtype=torch.float64)
"""Variance of the noise against that of the signal."""
DECAY_PRIOR = (math.log(0.2), 1.0)
NOISE_PRIOR = (math.log(0.1), 1.5)
"""Mean and deviation of the logarithms."""
JITTER = 1e-8


def encode(names: Sequence[str], kernel: str = "l1") -> Float[Tensor, "n d"]:
    """Orders as ranks of the factors, edges as ones and zeros.

    Raises:
        ConfigError: a name is neither, the names are mixed, or the kernel does not suit them.
    """
    if kernel not in KERNELS:
        raise ConfigError(f"the kernel is one of {', '.join(KERNELS)}; got {kernel!r}")
    of_edges = [not name or ">" in name for name in names]
    if any(of_edges) != all(of_edges):
        raise ConfigError("expected orders alone or graphs alone, got both")
    if not any(of_edges):
        return torch.tensor([Order.parse(name).rank for name in names], dtype=torch.float64)
    if KERNELS[kernel] is MallowsKernel:
        raise ConfigError("the mallows kernel compares orders; graphs take the kernel l1")
    size = len(FACTORS)
    masks = [parse_edges(name) if name else torch.zeros(size, size) for name in names]
    return torch.stack(masks).flatten(1).double()


def fit_surrogate(names: Sequence[str], values: Sequence[float], kernel: str = "l1") -> SingleTaskGP:
    """The Gaussian process after scores of some candidates; a candidate may have several.

    Args:
        names: orders, or graphs as edges.
        values: their scores, finite.
        kernel: `l1` or `mallows`.

    Raises:
        ConfigError: no scores, or scores that are not finite.
    """
    y = torch.tensor(list(values), dtype=torch.float64)[:, None]
    if len(y) == 0 or not bool(y.isfinite().all()):
        raise ConfigError(f"expected finite scores of at least one candidate, got {list(values)}")
    x = encode(names, kernel)
    covariance = ScaleKernel(KERNELS[kernel]()).double()
    constant = len(y) < 2 or float(y.std()) < 1e-12
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputDataWarning)
        model = SingleTaskGP(
            x, y, covar_module=covariance, outcome_transform=None if constant else Standardize(1), input_transform=None
        )
    standard = torch.zeros_like(y) if constant else (y - y.mean()) / y.std()
    decay, noise, scale, mean = _fit(covariance.base_kernel.distance(x, x), standard)
    covariance.base_kernel.decay = decay
    covariance.outputscale = torch.tensor(scale)
    model.likelihood.noise = torch.tensor([noise * scale])
    model.mean_module.constant = mean + float(y[0]) if constant else mean
    return model.eval()


def _fit(distance: Float[Tensor, "n n"], y: Float[Tensor, "n 1"]) -> tuple[float, float, float, float]:
    """Decay, relative noise, scale and mean of the most probable process on the grid."""
    n = len(y)
    eye = torch.eye(n, dtype=torch.float64)
    covariance = torch.exp(-DECAYS[:, None, None, None] * distance) + (NOISES[:, None, None] + JITTER) * eye
    factor = torch.linalg.cholesky(covariance)
    ones = torch.ones_like(y)
    weighted = torch.cholesky_solve(torch.cat([y, ones], dim=1).expand(*covariance.shape[:2], -1, -1), factor)
    mean = (ones * weighted[..., :1]).sum((-1, -2)) / (ones * weighted[..., 1:]).sum((-1, -2))
    rest = y - mean[..., None, None]
    solved = weighted[..., :1] - mean[..., None, None] * weighted[..., 1:]
    # The variance of standardised scores is near one: a weak inverse-gamma prior keeps it from vanishing.
    scale = ((rest * solved).sum((-1, -2)) + 1.0) / (n + 1.0)
    log_determinant = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    score = -0.5 * ((n + 1) * scale.log() + log_determinant)
    score = score - 0.5 * ((DECAYS.log() - DECAY_PRIOR[0]) / DECAY_PRIOR[1]).square()[:, None]
    score = score - 0.5 * ((NOISES.log() - NOISE_PRIOR[0]) / NOISE_PRIOR[1]).square()[None, :]
    row, column = divmod(int(score.argmax()), len(NOISES))
    return float(DECAYS[row]), float(NOISES[column]), float(scale[row, column]), float(mean[row, column])


@torch.no_grad()
def posterior(model: SingleTaskGP, names: Sequence[str]) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Means and standard deviations of candidates' scores, without the noise of a single training."""
    found = model.posterior(encode(names, _kernel_name(model)))
    return found.mean[:, 0], found.variance[:, 0].clamp(min=0).sqrt()


@torch.no_grad()
def log_expected_improvement(
    model: SingleTaskGP, names: Sequence[str], pending: Sequence[str] = ()
) -> Float[Tensor, " n"]:
    """Logarithm of the expected improvement (downwards) over the best expected score so far.

    Candidates under way count as if they had come out as expected (a constant liar that believes the model), so that
    workers side by side do not all go to the same place.
    """
    kernel = _kernel_name(model)
    believed = model
    if pending:
        x = encode(pending, kernel)
        believed = cast(SingleTaskGP, model.condition_on_observations(x, model.posterior(x).mean))
    best = believed.posterior(believed.train_inputs[0]).mean.min()
    acquisition = LogExpectedImprovement(believed, best_f=best, maximize=False)
    return acquisition(encode(names, kernel)[:, None])


def _kernel_name(model: SingleTaskGP) -> str:
    return next(name for name, kind in KERNELS.items() if type(model.covar_module.base_kernel) is kind)


def leave_one_out(names: Sequence[str], values: Sequence[float], kernel: str) -> dict[str, float]:
    """How well each score is predicted from the others.

    Returns:
        `rmse` in units of the scores, `correlation` of predicted and true scores, and `log_density` (mean logarithm
        of the predictive density, noise included).
    """
    predicted, density = [], []
    for left_out in range(len(names)):
        others = [i for i in range(len(names)) if i != left_out]
        model = fit_surrogate([names[i] for i in others], [values[i] for i in others], kernel)
        with torch.no_grad():
            found = model.posterior(encode([names[left_out]], kernel), observation_noise=True)
        mean, variance = float(found.mean.detach()), float(found.variance.detach())
        predicted.append(mean)
        density.append(-0.5 * (math.log(2 * math.pi * variance) + (values[left_out] - mean) ** 2 / variance))
    guess, truth = torch.tensor(predicted), torch.tensor(list(values))
    return {
        "rmse": float((guess - truth).square().mean().sqrt()),
        "correlation": float(torch.corrcoef(torch.stack([guess, truth]))[0, 1]),
        "log_density": sum(density) / len(density),
    }
