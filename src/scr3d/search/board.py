"""The study as a board on which workers take, keep and finish tasks, without a master and without locks.

Workers share nothing but the storage. Three rules settle every race:

1. A trial is a claim. Its number orders it among all claims of the study; storages give numbers out one at a time.
2. A claim stands if no claim with a lower number holds the same task, and if its candidate is among the first N of its
   stage by number. Before a worker judges its own claim it waits until all trials with lower numbers say what they
   claim (Lamport's bakery). So of several workers that choose the same task at once exactly one keeps it.
3. A worker shows that it lives by counting up a tick on its trial. A trial whose tick stands still for four intervals,
   or whose process has ended on this machine, is failed; its task is open again, and whoever takes it goes on from
   the checkpoint in its folder. Intervals are measured by the observer's own clock, so clocks need not agree.

Optuna's own heartbeat is not used: journal files have none, and it trusts the clocks of the machines.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from scr3d.search.config import Task
from scr3d.search.storage import STORAGE_ERRORS
from scr3d.search.workers import has_died, worker_identity

MISSED_TICKS = 4
POLL_SECONDS = 1.0

# Names of the trials' user attributes.
CLAIMED, WITHDRAWN, SPOILED, ENDED = "claimed", "withdrawn", "spoiled", "ended"
SEED, IMAGES, WORKER, TICK = "seed", "images", "worker", "tick"


@dataclass(frozen=True)
class Stage:
    """Candidates that are trained equally far.

    Attributes:
        images: length of their training.
        quota: how many candidates.
        seeds: of every candidate.
        ranking: candidates in the order in which they are taken; None leaves the choice to the study's sampler.
    """

    images: int
    quota: int
    seeds: tuple[int, ...]
    ranking: Sequence[str] | None


@dataclass(frozen=True)
class Claim:
    """A task that this worker holds, and the trial that says so."""

    task: Task
    trial_id: int
    number: int


class Board:
    """One study, seen by one worker."""

    def __init__(
        self, study: optuna.Study, storage: BaseStorage, parameter: str, names: Sequence[str], heartbeat_s: float
    ):
        """Look at a study.

        Args:
            study: with any number of trials.
            storage: that of the study.
            parameter: name of the trials' only parameter.
            names: its values, the candidates.
            heartbeat_s: seconds between signs of life, the same for all workers.
        """
        self.study = study
        self.storage = storage
        self.parameter = parameter
        self.names = tuple(names)
        self.heartbeat_s = heartbeat_s
        self.worker = worker_identity()
        self.distribution = CategoricalDistribution(self.names)
        self._ticks: dict[int, tuple[object, float]] = {}
        self._judged: int | None = None

    def trials(self) -> list[FrozenTrial]:
        """All trials, by number."""
        return self.study.get_trials(deepcopy=False)

    def task(self, trial: FrozenTrial) -> Task | None:
        """What a trial claims; None if it has not said so, or has taken it back."""
        attributes = trial.user_attrs
        if not self._has_said(trial) or attributes.get(WITHDRAWN):
            return None
        return Task(trial.params[self.parameter], attributes[SEED], attributes[IMAGES])

    def _has_said(self, trial: FrozenTrial) -> bool:
        """Whether a trial says what it claims.

        Databases are read in parts, the parameters before the attributes, so the mark alone does not prove that the
        rest has been read.
        """
        return self.parameter in trial.params and {CLAIMED, SEED, IMAGES} <= trial.user_attrs.keys()

    def accepted(self, stage: Stage, trials: Sequence[FrozenTrial]) -> list[str]:
        """The candidates of a stage so far: the first by number, as many as it has places."""
        found: dict[str, None] = {}
        for trial in trials:
            task = self.task(trial)
            if task is not None and task.images == stage.images and len(found) < stage.quota:
                found.setdefault(task.name)
        return list(found)

    def finished(self, trials: Sequence[FrozenTrial]) -> dict[Task, FrozenTrial]:
        """Tasks that are done, with the trial that did them."""
        return {task: t for t in trials if _is_done(t) and (task := self.task(t)) is not None}

    def is_complete(self, stage: Stage) -> bool:
        """Whether all places of a stage are taken and all their tasks done."""
        trials = self.trials()
        names, done = self.accepted(stage, trials), self.finished(trials)
        return len(names) == stage.quota and all(
            Task(name, seed, stage.images) in done for name in names for seed in stage.seeds
        )

    def claim(self, stage: Stage) -> Claim | None:
        """Take a task of a stage; None if all are taken (not: done)."""
        sampled = False
        while True:
            self.release_dead()
            trials = self.trials()
            names = self.accepted(stage, trials)
            open_tasks = self._open_tasks(stage, names, trials)
            if open_tasks:
                claim = self._take(open_tasks[0])
            elif len(names) < stage.quota:
                # A sampler that proposes what is taken is asked once; then the first free candidate is.
                if stage.ranking is None and not sampled:
                    claim, sampled = self._ask(stage), True
                else:
                    claim = self._take(Task(self._first_free(stage, names), stage.seeds[0], stage.images))
            else:
                return None
            self._judged = claim.trial_id
            with self.heartbeat(claim):
                stands = self._stands(claim, stage)
            self._judged = None
            if stands:
                return claim
            self._end(claim.trial_id, WITHDRAWN, "taken by a trial with a lower number")

    def finish(self, claim: Claim, score: float, attributes: dict[str, object]) -> bool:
        """Record a score; False if the task had been given to another worker meanwhile."""
        try:
            for name, value in attributes.items():
                self.storage.set_trial_user_attr(claim.trial_id, name, value)
            self.storage.set_trial_state_values(claim.trial_id, TrialState.COMPLETE, [score])
        except UpdateFinishedTrialError:
            return False
        return True

    def spoil(self, claim: Claim, reason: str) -> None:
        """Record that a task has no score and never will."""
        self._end(claim.trial_id, SPOILED, reason)

    def give_back(self, claim: Claim, reason: str) -> None:
        """End a claim whose task is to be taken up again."""
        self._end(claim.trial_id, ENDED, reason)

    def release_dead(self) -> None:
        """Fail the trials of workers that have died, so that their tasks are open again."""
        now = time.monotonic()
        for trial in self.trials():
            if trial.state is not TrialState.RUNNING:
                continue
            attributes = trial.user_attrs
            worker, tick = attributes.get(WORKER, ""), attributes.get(TICK)
            seen, since = self._ticks.get(trial._trial_id, (None, now))
            if trial._trial_id not in self._ticks or seen != tick:
                self._ticks[trial._trial_id] = (tick, since := now)
            if has_died(worker):
                self._end(trial._trial_id, ENDED, "its worker has ended")
            elif trial._trial_id != self._judged and now - since > MISSED_TICKS * self.heartbeat_s:
                self._end(trial._trial_id, ENDED, "its worker shows no sign of life")

    def heartbeat(self, claim: Claim) -> Heartbeat:
        """Signs of life for as long as the block lasts."""
        return Heartbeat(lambda tick: self.storage.set_trial_user_attr(claim.trial_id, TICK, tick), self.heartbeat_s)

    def pause(self) -> None:
        """Wait a little before looking again."""
        time.sleep(min(POLL_SECONDS, self.heartbeat_s))

    def _open_tasks(self, stage: Stage, names: Sequence[str], trials: Sequence[FrozenTrial]) -> list[Task]:
        """Tasks of accepted candidates that nobody does or has done: further seeds, and those of dead workers."""
        held = {self.task(trial) for trial in trials if _holds(trial)}
        tasks = (Task(name, seed, stage.images) for name in names for seed in stage.seeds)
        return [task for task in tasks if task not in held]

    def _first_free(self, stage: Stage, names: Sequence[str]) -> str:
        return next(name for name in (stage.ranking or self.names) if name not in names)

    def _take(self, task: Task) -> Claim:
        """Claim a given task, in one write."""
        template = create_trial(
            state=TrialState.RUNNING,
            params={self.parameter: task.name},
            distributions={self.parameter: self.distribution},
            user_attrs={CLAIMED: True, SEED: task.seed, IMAGES: task.images, WORKER: self.worker},
        )
        trial_id = self.storage.create_new_trial(self.study._study_id, template)
        return Claim(task, trial_id, self.storage.get_trial_number_from_id(trial_id))

    def _ask(self, stage: Stage) -> Claim:
        """Claim what the sampler proposes. The mark comes last: until then the trial is undecided."""
        trial = self.study.ask()
        task_id = trial._trial_id
        for name, value in ((WORKER, self.worker), (SEED, stage.seeds[0]), (IMAGES, stage.images)):
            self.storage.set_trial_user_attr(task_id, name, value)
        name = str(trial.suggest_categorical(self.parameter, self.names))
        self.storage.set_trial_user_attr(task_id, CLAIMED, True)
        return Claim(Task(name, stage.seeds[0], stage.images), task_id, trial.number)

    def _stands(self, claim: Claim, stage: Stage) -> bool:
        while True:
            trials = self.trials()
            earlier = [trial for trial in trials if trial.number < claim.number]
            if all(t.state is not TrialState.RUNNING or self._has_said(t) for t in earlier):
                break
            self.release_dead()
            time.sleep(min(0.05, self.heartbeat_s))
        own = next(trial for trial in trials if trial.number == claim.number)
        taken = any(_holds(trial) and self.task(trial) == claim.task for trial in earlier)
        if taken or own.state is not TrialState.RUNNING:
            return False
        names = self.accepted(stage, earlier)
        return claim.task.name in names or len(names) < stage.quota

    def _end(self, trial_id: int, mark: str, reason: str) -> None:
        try:
            self.storage.set_trial_user_attr(trial_id, mark, reason)
            self.storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            pass  # another worker was faster, or the trial had just ended by itself


class Heartbeat:
    """Counts up a tick in a thread, as long as its block lasts."""

    def __init__(self, write: Callable[[int], None], interval_s: float):
        self._write = write
        self._interval_s = interval_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        tick = 0
        while not self._over.is_set():
            tick += 1
            try:
                self._write(tick)
            except UpdateFinishedTrialError:
                return  # the task has been given to another worker
            except STORAGE_ERRORS:
                pass  # a storage that is away for a while may come back; the next tick tries again
            self._over.wait(self._interval_s)


def _is_done(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.COMPLETE or SPOILED in trial.user_attrs


def _holds(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.RUNNING or _is_done(trial)
