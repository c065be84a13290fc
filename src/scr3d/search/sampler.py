"""Bayesian optimisation over causal orders as an Optuna sampler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from scr3d.search.surrogate import LARGEST, encode, fit_surrogate, log_expected_improvement, predicts

PARAMETERS = ("order", "edges")
"""Parameters whose values the sampler understands unless it is told others; the rest is drawn at random."""
ENOUGH_TO_JUDGE = 5
"""Scores from which on a model that predicts nothing is not followed."""

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class OrderSampler(optuna.samplers.BaseSampler):
    """Proposes the order from which most improvement is expected.

    Works in any study whose trials suggest one categorical parameter `order` (strings such as `VDLA`, or
    `press,cut,paint`: permutations of any items) or `edges` (strings such as `V>D,V>L`, graphs over the factors):

        study = optuna.create_study(sampler=OrderSampler(startup_trials=4))
        study.optimize(lambda trial: score(trial.suggest_categorical("order", orders)), n_trials=8)

    The first trials are drawn at random, and so is each later one for which the model predicts the scores found so far
    worse than their mean does: then similar orders have nothing to do with one another. Orders that have been
    tried or are under way are proposed again only when nothing else is left, or if `repeats` allows it: then scores
    count as noisy observations of their order. A pruned trial counts with its last score, if it has any; a failed one
    does not count.
    """

    def __init__(
        self,
        startup_trials: int = 4,
        kernel: str = "l1",
        seed: int = 0,
        repeats: bool = False,
        parameters: Sequence[str] = PARAMETERS,
    ):
        """Set up a sampler.

        Args:
            startup_trials: trials drawn at random before the model is asked.
            kernel: `l1` (ranks, or edges) or `mallows` (ranks).
            seed: of the random draws; together with the trial's number it determines them.
            repeats: propose an order again where that promises most.
            parameters: names of the categorical parameters that are orders or edges.
        """
        self.startup_trials = startup_trials
        self.kernel = kernel
        self.seed = seed
        self.repeats = repeats
        self.parameters = tuple(parameters)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Nothing: the parameter is proposed when the trial asks for it."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing, see `infer_relative_search_space`."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of a parameter for a trial."""
        if param_name not in self.parameters or not isinstance(param_distribution, CategoricalDistribution):
            fallback = optuna.samplers.RandomSampler(seed=self.seed + trial.number)
            return fallback.sample_independent(study, trial, param_name, param_distribution)
        trials = study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.RUNNING))
        others = [t for t in trials if t.number != trial.number and param_name in t.params]
        sign = -1.0 if study.direction is StudyDirection.MAXIMIZE else 1.0
        return self.propose(
            [str(choice) for choice in param_distribution.choices],
            [(t.params[param_name], _score(t, sign)) for t in others if t.state in FINISHED],
            [t.params[param_name] for t in others if t.state is TrialState.RUNNING],
            trial.number,
        )

    def propose(
        self, choices: Sequence[str], scores: Sequence[tuple[str, float]], pending: Sequence[str], number: int
    ) -> str:
        """The next candidate.

        Args:
            choices: all candidates.
            scores: what has been found, lower is better; one that is not finite only marks its order as tried.
            pending: candidates under way.
            number: of the proposal, for the random draws.

        Raises:
            ConfigError: the candidates are not orders of the same items, or graphs, or do not suit the kernel.
        """
        encode(choices, self.kernel)
        known = {name for name, _ in scores} | set(pending)
        free = list(choices) if self.repeats else [name for name in choices if name not in known]
        free = free or [name for name in choices if name not in pending] or list(choices)
        random = np.random.default_rng([self.seed, number])
        finite = [(name, score) for name, score in scores if abs(score) < LARGEST]
        unknown = [name for name in free if name not in known] or free
        if len(known) < self.startup_trials or len(finite) < 2:
            return str(random.choice(unknown))
        names, values = zip(*finite, strict=True)
        model = fit_surrogate(names, values, self.kernel)
        if len(finite) >= ENOUGH_TO_JUDGE and not predicts(model):
            return str(random.choice(unknown))
        improvement = log_expected_improvement(model, free, pending).numpy()
        best = np.flatnonzero(improvement >= improvement.max() - 1e-9)
        return free[int(random.choice(best))]


def _score(trial: FrozenTrial, sign: float) -> float:
    return float("nan") if trial.value is None else sign * float(trial.value)
