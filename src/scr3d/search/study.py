"""Running a search: any number of workers, one study, and a report at the end."""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from scr3d.errors import CollapseError, ConfigError, Scr3dError
from scr3d.runtime import use_threads
from scr3d.search.board import Board, Claim, Stage
from scr3d.search.candidates import label
from scr3d.search.config import SearchConfig, Strategy
from scr3d.search.data import prepare_data, study_identity
from scr3d.search.kept import keep_result, kept_result
from scr3d.search.objective import Objective, Outcome, train_alone
from scr3d.search.one_shot import train_shared
from scr3d.search.page import write_report
from scr3d.search.report import SearchReport, build_report
from scr3d.search.results import damage
from scr3d.search.storage import STORAGE_ERRORS, open_storage, shown, storage_errors, storage_url
from scr3d.search.strategies import build_sampler, stages
from scr3d.signals import end_with_parent

IDENTITY = "scr3d"
"""Name of the study's user attribute that says what it is about."""
SHARED_STUDY = "/one-shot"
SHARED_NAME = "shared weights"
SHARED_SCORES = "scores"

TRAINING = Objective(train_alone, train_shared)


@dataclass
class Search:
    """A search as one worker sees it."""

    config: SearchConfig
    objective: Objective
    url: str
    identity: dict[str, Any]
    board: Board
    shared_board: Board | None

    def work(self) -> None:
        """Train candidates until all are done, whoever does them."""
        for stage in stages(self.config, self.board, self.rank_by_sharing):
            self._complete(self.board, stage, self._train_alone)

    def rank_by_sharing(self) -> list[str]:
        """Candidates by their score with shared weights, best first; trains the shared network if nobody has."""
        assert self.shared_board is not None  # only one-shot asks
        training = self.config.training
        only = Stage(training.images, 1, (training.seed,), (SHARED_NAME,))
        self._complete(self.shared_board, only, self._train_shared)
        scores = self.shared_scores()
        if not scores:
            raise CollapseError("the network with shared weights has no finite score under any candidate; lower --rate")
        return list(scores)

    def shared_scores(self) -> dict[str, dict[str, float]]:
        """Score and standard error of each candidate with shared weights, best first; empty until they are there."""
        board = self.shared_board
        done = board.finished(board.trials()).values() if board else ()
        scores: dict[str, dict[str, float]] = next((trial.user_attrs.get(SHARED_SCORES, {}) for trial in done), {})
        return dict(sorted(scores.items(), key=lambda item: (item[1]["score"], item[0])))

    def report(self) -> SearchReport:
        """The report on all that the study has found, written to the folder of the search."""
        report = build_report(self.config, self.board, self.identity, shown(self.url), self.shared_scores())
        write_report(self.config.folder, report)
        return report

    def _complete(self, board: Board, stage: Stage, do: Callable[[Board, Claim], None]) -> None:
        while not board.is_complete(stage):
            claim = board.claim(stage)
            if claim is None:
                board.pause()
                continue
            with given_back_on_error(board, claim), board.heartbeat(claim):
                do(board, claim)

    def _train_alone(self, board: Board, claim: Claim) -> None:
        outcome = kept_result(self.config, claim.task, self.identity)
        if outcome is None:
            outcome = self.objective.alone(self.config, claim.task)
            if math.isfinite(outcome.score):
                keep_result(self.config, claim.task, self.identity, outcome)
        if not math.isfinite(outcome.score):
            board.spoil(claim, "no finite score")
        elif not board.finish(claim, outcome.score, outcome.attributes):
            print(f"trial {claim.number} had been given to another worker; its result counts")
            return
        print(progress_line(claim, outcome, self.config), flush=True)

    def _train_shared(self, board: Board, claim: Claim) -> None:
        outcomes = self.objective.shared(self.config)
        finite = {n: o for n, o in outcomes.items() if math.isfinite(o.score)}
        scores = {n: {"score": o.score, "standard_error": o.standard_error} for n, o in finite.items()}
        if not scores:
            board.spoil(claim, "no finite score")
            return
        mean = sum(o.score for o in finite.values()) / len(finite)
        board.finish(claim, mean, {SHARED_SCORES: scores})
        print(f"scored {len(scores)} {self.config.space.plural} with shared weights", flush=True)


def search(config: SearchConfig, objective: Objective = TRAINING, works: bool = True) -> SearchReport:
    """Search, or go on with an interrupted search, or help other workers with theirs; then report.

    The same call on any machine that reaches the storage and the folder is one more worker of the same study.

    Args:
        config: the search. With more than one job, a script must call this under `if __name__ == "__main__"`.
        objective: how candidates are trained and scored.
        works: whether this process trains candidates; otherwise it reports what others have done.

    Raises:
        ConfigError: the storage cannot be used, or its study is about other data or has another configuration.
        DataError: the data cannot be read, or cannot give the score.
    """
    config = shared_threads(prepare_data(config))
    use_threads(config.training.threads)
    with storage_errors(storage_url(config.storage, config.folder)):
        opened = open_search(config, objective)
        if works:
            with extra_workers(config, objective):
                opened.work()
        return opened.report()


def open_search(config: SearchConfig, objective: Objective = TRAINING) -> Search:
    """Open the study of a search, or make it.

    Raises:
        ConfigError: the storage cannot be used, or its study is about other data or has another configuration.
        DataError: the data cannot be read, or cannot give the score.
    """
    identity = study_identity(config)
    url = storage_url(config.storage, config.folder)
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {config.folder} cannot be made ({error.strerror}); give a folder") from error
    storage = open_storage(url)
    study = open_study(storage, config.study_name, identity, build_sampler(config), shown(url))
    board = Board(study, storage, config.space.parameter, config.space.names, config.heartbeat_s)
    shared_board = None
    if config.strategy is Strategy.ONE_SHOT:
        study = open_study(storage, config.study_name + SHARED_STUDY, identity, None, shown(url))
        shared_board = Board(study, storage, "network", (SHARED_NAME,), config.heartbeat_s)
    return Search(config, objective, url, identity, board, shared_board)


def open_study(
    storage: BaseStorage,
    name: str,
    identity: dict[str, Any],
    sampler: optuna.samplers.BaseSampler | None,
    shown_url: str,
) -> optuna.Study:
    """The study of a name, which is about what `identity` says.

    Raises:
        ConfigError: it is about something else, or damaged.
    """
    with suppress(optuna.exceptions.DuplicatedStudyError):
        optuna.create_study(storage=storage, study_name=name, direction="minimize")
    study = optuna.load_study(storage=storage, study_name=name, sampler=sampler)
    if IDENTITY not in study.user_attrs and not study.get_trials(deepcopy=False):
        study.set_user_attr(IDENTITY, identity)
    found = study.user_attrs.get(IDENTITY, {})
    if found != identity:
        differing = "; ".join(differences(found, identity)) or "it was not made by scr3d search"
        raise ConfigError(
            f"the study {name} in {shown_url} is another search ({differing}); give the same options and data to go "
            "on with it, or another --study-name and --out"
        )
    for trial in study.get_trials(deepcopy=False):
        if reason := damage(trial):
            raise ConfigError(
                f"trial {trial.number} of the study {name} in {shown_url} is damaged ({reason}); search in another "
                "--storage and --out"
            )
    return study


def differences(found: Any, wanted: Any, name: str = "") -> Iterator[str]:
    """Where two records differ, in words."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in [*wanted, *(key for key in found if key not in wanted)]:
            yield from differences(found.get(key), wanted.get(key), f"{name} {key}".strip().replace("_", "-"))
    elif found != wanted:
        yield f"{name}: {found} there, {wanted} here"


@contextmanager
def given_back_on_error(board: Board, claim: Claim) -> Iterator[None]:
    """Opens a task for others if this worker has to stop in the middle of it."""
    try:
        yield
    except BaseException as error:
        with suppress(*STORAGE_ERRORS):
            board.give_back(claim, f"{type(error).__name__}: {error}"[:500])
        raise


def progress_line(claim: Claim, outcome: Outcome, config: SearchConfig) -> str:
    """One line on a training that is done."""
    collapsed = f"; collapsed: {outcome.collapsed}" if outcome.collapsed else ""
    return (
        f"trial {claim.number}: {label(claim.task.name)}, seed {claim.task.seed}, {claim.task.images:,} images: "
        f"{config.score} {outcome.score:.4f} ± {outcome.standard_error:.4f} in {outcome.seconds:.0f} s{collapsed}"
    )


def shared_threads(config: SearchConfig) -> SearchConfig:
    """The search with this machine's threads shared out among its workers, unless they are given."""
    if config.jobs == 1 or config.training.threads:
        return config
    threads = max(1, (os.cpu_count() or 1) // config.jobs)
    return replace(config, training=replace(config.training, threads=threads))


@contextmanager
def extra_workers(config: SearchConfig, objective: Objective) -> Iterator[None]:
    """All workers of this machine but the first, each a process of its own with its output in a file."""
    context = multiprocessing.get_context("spawn")
    alone = replace(config, jobs=1)
    logs = config.folder / "workers"
    if config.jobs > 1:
        logs.mkdir(parents=True, exist_ok=True)
    processes: list[BaseProcess] = [
        context.Process(target=run_extra_worker, args=(alone, objective, logs / f"worker-{number}.log"))
        for number in range(2, config.jobs + 1)
    ]
    for process in processes:
        process.start()
    try:
        yield
    except BaseException:
        for process in processes:
            process.terminate()  # they save; SIGINT would be ignored by what a script has started in the background
        raise
    finally:
        for process in processes:
            process.join()
    for number, process in enumerate(processes, start=2):
        if process.exitcode:
            print(f"worker {number} has stopped early, see {logs / f'worker-{number}.log'}; the others did its part")


def run_extra_worker(config: SearchConfig, objective: Objective, log: Path) -> None:
    """Body of a further process on this machine."""
    with log.open("a", encoding="utf-8", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        end_with_parent()
        try:
            use_threads(config.training.threads)
            with storage_errors(storage_url(config.storage, config.folder)):
                open_search(config, objective).work()
        except Scr3dError as error:
            print(f"scr3d: {error}")
            sys.exit(2)
        except KeyboardInterrupt:
            print("scr3d: interrupted")
            sys.exit(130)
