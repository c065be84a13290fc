"""Search for the causal order that suits a data set: studies, strategies, and Bayesian optimisation over orders.

`search` runs what `scr3d search` runs. The sampler is usable by itself, in any Optuna study whose trials suggest an
order of any items as one categorical parameter:

    >>> import itertools, optuna
    >>> from scr3d.search import OrderSampler
    >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
    >>> orders = [",".join(order) for order in itertools.permutations(("cut", "drill", "paint"))]
    >>> def cost(trial):  # painting should come last
    ...     return -trial.suggest_categorical("order", orders).split(",").index("paint")
    >>> study = optuna.create_study(sampler=OrderSampler(startup_trials=3, seed=0))
    >>> study.optimize(cost, n_trials=6)
    >>> study.best_value, len({trial.params["order"] for trial in study.trials})
    (-2.0, 6)

It needs `pip install 'scr3d[search]'`.
"""

from typing import TYPE_CHECKING

from scr3d.lazy import lazy_names

if TYPE_CHECKING:
    from scr3d.search.config import ScoreKind, SearchConfig, Strategy
    from scr3d.search.kernels import MallowsKernel, RankKernel
    from scr3d.search.report import SearchReport
    from scr3d.search.sampler import OrderSampler
    from scr3d.search.study import search

__all__ = [
    "MallowsKernel",
    "OrderSampler",
    "RankKernel",
    "ScoreKind",
    "SearchConfig",
    "SearchReport",
    "Strategy",
    "search",
]

__getattr__ = lazy_names(__name__, ("config", "kernels", "sampler", "report", "study"), __all__, extra="search")
