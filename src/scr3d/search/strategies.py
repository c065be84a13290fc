"""The strategies: which candidates are trained, how far, in which order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from math import ceil

import optuna

from scr3d.search.board import Board, Stage
from scr3d.search.config import SearchConfig, Strategy
from scr3d.search.expectation import expect
from scr3d.search.results import Observation, observations, table


def build_sampler(config: SearchConfig) -> optuna.samplers.BaseSampler:
    """The sampler that proposes candidates of stages without a ranking."""
    if config.strategy is Strategy.BO:
        from scr3d.search.sampler import OrderSampler

        return OrderSampler(config.startup_trials, kernel=config.kernel, seed=config.training.seed)
    return optuna.samplers.RandomSampler(config.training.seed)


def stages(config: SearchConfig, board: Board, ranking_by_sharing: Callable[[], list[str]]) -> Iterator[Stage]:
    """The stages of a search, one after the other; each is asked for when the one before is complete.

    Args:
        config: the search.
        board: where the results are.
        ranking_by_sharing: trains the shared network of one-shot and ranks the candidates by it, best first.
    """
    seeds = tuple(range(config.training.seed, config.training.seed + config.seeds))
    names = config.space.names
    if config.strategy is Strategy.HALVING:
        yield from _halving(config, board, seeds)
        return
    ranking: Sequence[str] | None = None
    match config.strategy:
        case Strategy.EXHAUSTIVE:
            ranking = names
        case Strategy.RANDOM:
            ranking = shuffled(names, config.training.seed)
        case Strategy.ONE_SHOT:
            ranking = ranking_by_sharing()
    yield Stage(config.training.images, config.count, seeds, ranking)


def _halving(config: SearchConfig, board: Board, seeds: tuple[int, ...]) -> Iterator[Stage]:
    quota = config.count
    ranking: Sequence[str] = shuffled(config.space.names, config.training.seed)
    for images in config.lengths:
        stage = Stage(images, quota, seeds, ranking)
        yield stage
        trials = board.trials()
        found = [o for o in observations(board, trials) if o.images <= images]
        ranking = promising(board.accepted(stage, trials), found, images, config)
        quota = max(1, ceil(quota / config.eta))


def promising(names: Sequence[str], found: Sequence[Observation], images: int, config: SearchConfig) -> list[str]:
    """Candidates of a rung, most promising first: by what the surrogate expects of them at this length.

    The surrogate has seen the shorter rungs as well and lends each candidate the strength of its neighbours, so a
    single noisy score does not decide. With too few scores for it, the scores decide; a candidate without any is last.
    """
    expected = {e.name: e.mean for e in expect(config.space, found, images, config.kernel)}
    expected = expected or {row.name: row.score for row in table(found) if row.images == images}
    scored = {o.name for o in found if o.images == images}
    return sorted(names, key=lambda name: (name not in scored, expected.get(name, 0.0), name))


def shuffled(names: Sequence[str], seed: int) -> list[str]:
    """The candidates in an order determined by a seed."""
    result = list(names)
    random.Random(seed).shuffle(result)
    return result
