"""A Gaussian process over causal orders: what a few scores say about all of them.

The model is BoTorch's `SingleTaskGP` with standardised outcomes. With at most a few dozen scores its decay and noise
are found on a grid, exactly and in milliseconds: the largest marginal likelihood (scale and mean in closed form) times
mild priors, which keep a handful of scores from being explained by noise alone, or without any.

Scores of trainings of several lengths make one process: the covariance of two candidates is multiplied by one that
falls with the difference of the logarithms of their lengths, and the mean has a trend in that logarithm. Short
trainings so say as much about long ones as the candidates that have both bear out.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from botorch.acquisition.analytic import LogExpectedImprovement
from botorch.exceptions.warnings import InputDataWarning
from botorch.models import SingleTaskGP
from botorch.models.transforms import Standardize
from gpytorch.kernels import ProductKernel, ScaleKernel
from gpytorch.means import Mean
from jaxtyping import Float
from torch import Tensor

from scr3d.causal.graph import parse_edges
from scr3d.errors import ConfigError
from scr3d.factors import FACTORS
from scr3d.search.kernels import KERNELS, MallowsKernel, RankKernel

DECAYS = torch.logspace(-2, 0.6, 27, dtype=torch.float64)
NOISES = torch.logspace(-3, 1, 17, dtype=torch.float64)
"""Variance of the noise against that of the signal."""
LENGTH_DECAYS = torch.logspace(-1.5, 0.7, 9, dtype=torch.float64)
"""In the logarithm of the length of training."""
DECAY_PRIOR = (math.log(0.2), 1.0)
LENGTH_DECAY_PRIOR = (math.log(0.3), 1.0)
NOISE_PRIOR = (math.log(0.1), 1.5)
"""Mean and deviation of the logarithms."""
JITTER = 1e-8
LARGEST = 1e100
"""Scores from here on count as not finite: their variance would not be."""
TOLERANCE = 1.15
"""Squared error of predictions against that of the mean, up to which a model is followed."""
FEW = 64
"""Scores above which every second value of the grid does: the likelihood is sharp, and a Cholesky factor dear."""


def encode(names: Sequence[str], kernel: str = "l1") -> Float[Tensor, "n d"]:
    """Orders as ranks of their items, edges as ones and zeros.

    Args:
        names: orders such as `VDLA` or `press,cut,paint` of any items, or edges such as `V>D,V>L`.
        kernel: that will compare them.

    Raises:
        ConfigError: a name is neither, the names are mixed, or the kernel does not suit them.
    """
    if kernel not in KERNELS:
        raise ConfigError(f"the kernel is one of {', '.join(KERNELS)}; got {kernel!r}")
    of_edges = [not name or ">" in name for name in names]
    if any(of_edges) != all(of_edges):
        raise ConfigError("expected orders alone or graphs alone, got both")
    if not any(of_edges):
        return _ranks(names)
    if KERNELS[kernel] is MallowsKernel:
        raise ConfigError("the mallows kernel compares orders; graphs take the kernel l1")
    size = len(FACTORS)
    masks = [parse_edges(name) if name else torch.zeros(size, size) for name in names]
    return torch.stack(masks).flatten(1).double()


def _ranks(names: Sequence[str]) -> Float[Tensor, "n items"]:
    """The place of each item, items sorted by name, in each order."""
    orders = [name.split(",") if "," in name else list(name) for name in names]
    items = sorted(orders[0])
    for name, order in zip(names, orders, strict=True):
        if len(items) < 2 or len(set(order)) < len(order) or sorted(order) != items:
            raise ConfigError(f"an order names each of {', '.join(items)} once, as {names[0]} should; got {name!r}")
    return torch.tensor([[order.index(item) for item in items] for order in orders], dtype=torch.float64)


def _distance_unit(names: Sequence[str], kernel: str, size: int) -> float:
    """Distances of four factors for one of these candidates: the priors are about orders of four.

    The largest distance of two orders of n is n^2 / 2 in ranks (rounded down) and n (n - 1) / 2 in swaps.
    """
    if not names[0] or ">" in names[0]:
        return 1.0
    return 6 / (size * (size - 1) / 2) if KERNELS[kernel] is MallowsKernel else 8 / (size**2 // 2)


class LengthTrend(Mean):
    """constant + slope * the last input, the logarithm of the length of training."""

    def __init__(self, constant: float, slope: float):
        super().__init__()
        self.register_buffer("constant", torch.tensor(constant, dtype=torch.float64))
        self.register_buffer("slope", torch.tensor(slope, dtype=torch.float64))

    def forward(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n"]:
        """The mean at each input."""
        return self.constant + self.slope * x[..., -1]


@dataclass(frozen=True)
class _Process:
    """What the grid search finds, in standardised scores."""

    decay: float
    length_decay: float
    noise: float
    scale: float
    constant: float
    slope: float


def fit_surrogate(
    names: Sequence[str], values: Sequence[float], kernel: str = "l1", images: Sequence[int] | None = None
) -> SingleTaskGP:
    """The Gaussian process after scores of some candidates; a candidate may have several.

    Args:
        names: orders, or graphs as edges (see `encode`).
        values: their scores, finite.
        kernel: `l1` or `mallows`.
        images: length of the training behind each score; None: all alike.

    Raises:
        ConfigError: no scores, scores that are not finite, or lengths that do not go with them.
    """
    y = torch.tensor(list(values), dtype=torch.float64)[:, None]
    if len(y) == 0 or not bool((y.abs() < LARGEST).all()):
        raise ConfigError(f"expected finite scores of at least one candidate, got {list(values)}")
    if images is not None and (len(images) != len(y) or min(images) <= 0):
        raise ConfigError(f"expected a positive length of training for each of {len(y)} scores, got {list(images)}")
    lengths = torch.tensor(list(images or [1] * len(y)), dtype=torch.float64).log()[:, None]
    x = encode(names, kernel)
    size = x.shape[-1]
    of_candidates, of_lengths = KERNELS[kernel](active_dims=tuple(range(size))), RankKernel(active_dims=(size,))
    constant = len(y) < 2 or float(y.std()) < 1e-12
    standard = torch.zeros_like(y) if constant else (y - y.mean()) / y.std()
    unit = _distance_unit(names, kernel, size)
    found = _fit(unit * of_candidates.distance(x, x), lengths, standard)
    of_candidates.decay, of_lengths.decay = unit * found.decay, found.length_decay
    covariance = ScaleKernel(ProductKernel(of_candidates, of_lengths)).double()
    covariance.outputscale = torch.tensor(found.scale)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputDataWarning)
        model = SingleTaskGP(
            torch.cat([x, lengths], dim=1),
            y,
            covar_module=covariance,
            mean_module=LengthTrend(found.constant + (float(y[0]) if constant else 0.0), found.slope),
            outcome_transform=None if constant else Standardize(1),
            input_transform=None,
        )
    model.likelihood.noise = torch.tensor([found.noise * found.scale])
    return model.eval()


def _fit(distance: Float[Tensor, "n n"], lengths: Float[Tensor, "n 1"], y: Float[Tensor, "n 1"]) -> _Process:
    """The most probable process on the grid."""
    step = 1 if len(y) <= FEW else 2
    between = (lengths - lengths.T).abs()
    several = bool(between.any())
    # Of one length alone there is nothing to learn about others: the decay is the prior's, without a trend.
    length_decays = LENGTH_DECAYS[::step] if several else LENGTH_DECAYS.new_tensor([math.exp(LENGTH_DECAY_PRIOR[0])])
    terms = torch.cat([torch.ones_like(y), lengths], dim=1) if several else torch.ones_like(y)
    length_covariance = torch.exp(-length_decays[:, None, None] * between)
    prior = _log_prior(length_decays, LENGTH_DECAY_PRIOR)[:, None] + _log_prior(NOISES[::step], NOISE_PRIOR)
    best: list[tuple[float, _Process]] = []
    # One decay at a time: the whole grid at once would need gigabytes for a few hundred scores.
    for decay, of_decay in zip(DECAYS[::step], _log_prior(DECAYS[::step], DECAY_PRIOR), strict=True):
        likelihood, scale, trend = _likelihood(
            torch.exp(-decay * distance) * length_covariance, NOISES[::step], terms, y
        )
        probability = likelihood + prior + of_decay
        at = torch.unravel_index(probability.argmax(), probability.shape)
        process = _Process(
            decay=float(decay),
            length_decay=float(length_decays[at[0]]),
            noise=float(NOISES[::step][at[1]]),
            scale=float(scale[at]),
            constant=float(trend[at][0]),
            slope=float(trend[at][1]) if several else 0.0,
        )
        best.append((float(probability[at]), process))
    return max(best, key=lambda pair: pair[0])[1]


def _likelihood(
    covariance: Float[Tensor, "lengths n n"], noises: Float[Tensor, " noises"], terms: Tensor, y: Float[Tensor, "n 1"]
) -> tuple[Float[Tensor, "lengths noises"], Float[Tensor, "lengths noises"], Float[Tensor, "lengths noises terms"]]:
    """Logarithm of the marginal likelihood, and the scale and trend at which it is largest."""
    n = len(y)
    noise = (noises[:, None, None] + JITTER) * torch.eye(n, dtype=torch.float64)
    factor = torch.linalg.cholesky(covariance[:, None] + noise)
    weighted = torch.cholesky_solve(torch.cat([y, terms], dim=1).expand(*factor.shape[:-2], -1, -1), factor)
    trend = torch.linalg.solve(terms.T @ weighted[..., 1:], terms.T @ weighted[..., :1])
    solved = weighted[..., :1] - weighted[..., 1:] @ trend
    # The variance of standardised scores is near one: a weak inverse-gamma prior keeps it from vanishing.
    scale = (((y - terms @ trend) * solved).sum((-1, -2)) + 1.0) / (n + 1.0)
    log_determinant = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * ((n + 1) * scale.log() + log_determinant), scale, trend[..., 0]


def _log_prior(values: Float[Tensor, " n"], prior: tuple[float, float]) -> Float[Tensor, " n"]:
    mean, deviation = prior
    return -0.5 * ((values.log() - mean) / deviation).square()


@torch.no_grad()
def posterior(
    model: SingleTaskGP, names: Sequence[str], images: int | None = None
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Means and standard deviations of candidates' scores, without the noise of a single training.

    Args:
        model: from `fit_surrogate`.
        names: candidates.
        images: length of training at which the scores are asked for; None: the longest that the model has seen.
    """
    found = model.posterior(_inputs(model, names, images))
    return found.mean[:, 0], found.variance[:, 0].clamp(min=0).sqrt()


@torch.no_grad()
def log_expected_improvement(
    model: SingleTaskGP, names: Sequence[str], pending: Sequence[str] = ()
) -> Float[Tensor, " n"]:
    """Logarithm of the expected improvement (downwards) over the best expected score so far, for the longest training.

    Candidates under way count as if they had come out as expected (a constant liar that believes the model), so that
    workers side by side do not all go to the same place.
    """
    believed = model
    if pending:
        x = _inputs(model, pending)
        believed = cast(SingleTaskGP, model.condition_on_observations(x, model.posterior(x).mean))
    seen = believed.train_inputs[0].clone()
    seen[:, -1] = seen[:, -1].max()
    acquisition = LogExpectedImprovement(believed, best_f=believed.posterior(seen).mean.min(), maximize=False)
    return acquisition(_inputs(model, names)[:, None])


def predicts(model: SingleTaskGP) -> bool:
    """Whether the model predicts its scores, each from the others, hardly worse than their mean does, or better.

    With few scores the comparison is noisy; a model that is a little behind the mean may still be right.
    """
    return error_against_mean(model) < TOLERANCE


@torch.no_grad()
def error_against_mean(model: SingleTaskGP) -> float:
    """Squared error of predicting each score from the others, against that of predicting the mean of the others.

    The constant is estimated anew without the left-out score, the other parameters stay as they are, so it is a closed
    form: the i-th score is missed by (P r)_i / P_ii, where r are the scores, K is their covariance with noise and
    P = K^-1 - K^-1 1 (1^T K^-1 1)^-1 1^T K^-1.

    Source: Dubrule, Cross validation of kriging in a unique neighborhood, Mathematical Geology 15, 1983.
    """
    x, y = model.train_inputs[0], model.train_targets
    noise = model.likelihood.noise * torch.eye(len(y), dtype=y.dtype)
    inverse = torch.linalg.inv(model.covar_module(x).to_dense() + noise)
    weights = inverse.sum(1)
    projected = inverse - torch.outer(weights, weights) / weights.sum()
    misses = projected @ (y - model.mean_module(x)) / projected.diagonal()
    by_mean = (y - y.mean()) * len(y) / (len(y) - 1)
    # Scores that are all alike are predicted as well by their mean.
    return float(misses.square().sum() / by_mean.square().sum()) if bool(by_mean.any()) else 1.0


def _inputs(model: SingleTaskGP, names: Sequence[str], images: int | None = None) -> Float[Tensor, "n d"]:
    """Candidates as the model takes them, at a length of training (None: the longest it has seen)."""
    length = float(model.train_inputs[0][:, -1].max()) if images is None else math.log(images)
    x = encode(names, _kernel_name(model))
    return torch.cat([x, torch.full_like(x[:, :1], length)], dim=1)


def _kernel_name(model: SingleTaskGP) -> str:
    return next(name for name, kind in KERNELS.items() if type(model.covar_module.base_kernel.kernels[0]) is kind)


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
            found = model.posterior(_inputs(model, [names[left_out]]), observation_noise=True)
        mean, variance = float(found.mean.detach()), float(found.variance.detach())
        predicted.append(mean)
        density.append(-0.5 * (math.log(2 * math.pi * variance) + (values[left_out] - mean) ** 2 / variance))
    guess, truth = torch.tensor(predicted), torch.tensor(list(values))
    return {
        "rmse": float((guess - truth).square().mean().sqrt()),
        "correlation": float(torch.corrcoef(torch.stack([guess, truth]))[0, 1]),
        "log_density": sum(density) / len(density),
    }
