"""The training loop: resumable between any two steps, never silent about a collapse."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

import scr3d
from scr3d.causal import StructureKind
from scr3d.data.dataset import Batch
from scr3d.errors import CheckpointError, CollapseError, ConfigError, ProcessLostError, StoppedError
from scr3d.losses.features import FeatureNetwork, squeezenet_features, vgg16_features
from scr3d.models.autoencoder import PhotoGeometricAutoencoder, channels_last
from scr3d.models.growth import start_weights
from scr3d.models.io import save_model
from scr3d.out_of_memory import advised
from scr3d.runtime import keep_freed_memory, use_threads
from scr3d.serialization import to_json
from scr3d.signals import Warnings
from scr3d.training.batches import TrainingData
from scr3d.training.checkpoint import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    optimiser_tensors,
    prune_checkpoints,
    restore_optimiser,
    save_checkpoint,
)
from scr3d.training.collapse import find_collapse
from scr3d.training.config import MachineOptions, TrainConfig
from scr3d.training.fabric import group_of, make_fabric
from scr3d.training.graph import GraphLearner
from scr3d.training.joint import check_replicas, only_run
from scr3d.training.journal import Journal
from scr3d.training.memory import foreseen, step_work
from scr3d.training.objective import TrainingObjective
from scr3d.training.pictures import picture_grid
from scr3d.training.progress import no_bar, progress_bar
from scr3d.training.run_file import check_run_file, write_run_file
from scr3d.training.steps import Steps
from scr3d.training.survival import BAD_BATCH, MAX_BAD_STEPS, BadSteps, Counters, save_bad_batch
from scr3d.training.validation import validate

CHECKPOINT_SECONDS = 300.0
LOG_STEPS = 50
PICTURE_IMAGES = 8


class Trainer:
    """A run: its data, its steps, its counters, and what it writes."""

    def __init__(self, config: TrainConfig, machines: MachineOptions | None = None):
        """Open the data, build the model, and go on from the newest checkpoint if the run has one.

        Args:
            config: the run.
            machines: whose processes train it together; None for this one alone, whoever has started it.

        Raises:
            ConfigError: the run folder belongs to a run of another configuration.
            DataError: the data cannot be read.
            CheckpointError: the newest checkpoint is damaged.
        """
        self.config = config
        keep_freed_memory()
        use_threads(config.threads)
        self.fabric = make_fabric(config, machines)
        self.group = group_of(self.fabric)
        # Importing a folder and downloading leave files that the other processes then find.
        cache_bytes = int(1e9 * (machines or MachineOptions()).shard_cache_gb)
        self.data, features = self.group.first_then_others(lambda: self._open_data(cache_bytes))
        torch.manual_seed(config.seed)
        self.model = PhotoGeometricAutoencoder(config.model)
        if config.start_from is not None:
            self.model.load_state_dict(start_weights(config.start_from, config.model))
        channels_last(self.model)
        cuda_graph = (machines or MachineOptions()).cuda_graph
        objective = TrainingObjective(self.model, features, config.recipe)
        self.steps = Steps(config, self.fabric, self.group, self.data, objective, cuda_graph)
        self.features = features
        self.step = 0
        self.best_loss = math.inf
        self.bad_steps = BadSteps()
        self.collapsed_before = False
        self.group.first_then_others(self._open_run)
        check_replicas(self.model, self.group)

    @property
    def images_seen(self) -> int:
        """Images that the weights have been trained on."""
        return self.step * self.config.optimiser.batch_size

    @property
    def averaged_model(self) -> PhotoGeometricAutoencoder:
        """The model that is validated and kept."""
        return self.steps.averaged_model

    @property
    def graph(self) -> GraphLearner | None:
        """What learns the graph, if it is learned."""
        return self.steps.graph

    def run(self, until: int | None = None) -> dict[str, float]:
        """Train to the end, or for `until` images of the run; returns the scalars of the last validation.

        Raises:
            StoppedError: a signal announced the end of the process; the run has been saved.
            ProcessLostError: another process of the run has gone.
            ConfigError: another process trains in the run's folder.
            DataError: the data has changed meanwhile.
            CollapseError: the run has reached a state from which it does not return.
            MemoryLimitError: a step does not fit into the memory.
        """
        config = self.config
        end = config.steps if until is None else min(config.steps, max(1, until // config.optimiser.batch_size))
        every = max(1, config.validate_every // config.optimiser.batch_size)
        saved = time.monotonic()
        scalars: dict[str, float] = {}
        warnings = Warnings()
        bar = progress_bar if self.group.first else no_bar
        with (
            only_run(config.out, self.group),
            warnings.listening(),
            bar(end, self.step, config.optimiser.batch_size) as advance,
            self._interruptible(),
            advised(step_work(self), self.fabric.device),
        ):
            if message := foreseen(self):
                self.fabric.print(message)
            self.group.together(self._restore_newest)  # another process may have gone on since this one looked
            while self.step < end:
                before = self.step
                parts = self._safe_step()
                advance(parts, self.step - before)
                last = self.step >= end
                if self.step // LOG_STEPS > before // LOG_STEPS:
                    self.journal.scalars("train", self.images_seen, parts)
                if self.step // every > before // every or last:
                    scalars = self._validate()
                    self.save()
                    saved = time.monotonic()
                elif time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = time.monotonic()
                if self.group.any(warnings.received is not None) and self.step < end:
                    self.save()
                    self.group.wait()  # who starts processes may end all when one has left
                    cause = warnings.received or "a signal to another process"
                    raise StoppedError(
                        f"stopped by {cause} after {self.images_seen:,} images; the same command goes on"
                    )
        return scalars

    def _safe_step(self) -> dict[str, float]:
        try:
            return self.train_step()
        except ProcessLostError:
            self.save()  # sums over processes come first in a step: it has changed nothing yet
            raise

    def train_step(self) -> dict[str, float]:
        """One step of the optimiser, or all those of one step of a learned graph; returns the values to log.

        A step without a finite loss and gradient changes nothing.
        """
        taken = self.steps.take(self.step, self.learning_rate)
        self._count_bad(taken.finite, taken.batch)
        self.step += taken.count
        return taken.values

    def learning_rate(self, step: int) -> float:
        """Constant, then falling linearly to a twentieth over the last part of the run; lower after bad steps."""
        optimiser = self.config.optimiser
        rate, left = optimiser.rate * self.bad_steps.rate_factor, 1 - step / self.config.steps
        return rate if left >= optimiser.final_decay else rate * (0.05 + 0.95 * left / optimiser.final_decay)

    def save(self) -> None:
        """Write a checkpoint and remove old ones; the first process does so for all."""
        if not self.group.first:
            return
        state = {
            "step": self.step,
            "best_loss": None if math.isinf(self.best_loss) else self.best_loss,
            "bad_steps": self.bad_steps.record,
            "collapsed_before": self.collapsed_before,
            "data": self.data.train.fingerprint(),
            "averaged": self.steps.average.count,
            "config": to_json(self.config),
        }
        tensors = {
            "model": dict(self.model.state_dict()),
            "average": dict(self.averaged_model.state_dict()),
            "optimiser": optimiser_tensors(self.model, self.steps.optimiser.optimizer),
        }
        if self.graph is not None:
            tensors["graph"] = optimiser_tensors(self.model, self.graph.optimiser)
        save_checkpoint(self.config.out / "checkpoints" / f"{self.step:09d}", Checkpoint(state, tensors))
        prune_checkpoints(self.config.out)

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            CheckpointError: it is damaged or belongs to another model.
        """
        checkpoint = load_checkpoint(folder)
        counters = Counters.read(checkpoint.state, folder)
        try:
            self.model.load_state_dict(checkpoint.tensors["model"])
            self.averaged_model.load_state_dict(checkpoint.tensors["average"])
            restore_optimiser(self.model, self.steps.optimiser.optimizer, checkpoint.tensors["optimiser"])
            if self.graph is not None:
                restore_optimiser(self.model, self.graph.optimiser, checkpoint.tensors["graph"])
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(f"{folder} is a checkpoint of another model: {str(error).splitlines()[0]}") from error
        if counters.data != self.data.train.fingerprint():
            raise ConfigError(f"the data has changed since {folder} was written; train in another --out")
        self.steps.average.count = counters.averaged
        self.step = counters.step
        self.best_loss = math.inf if counters.best_loss is None else counters.best_loss
        self.bad_steps = counters.bad_steps
        self.collapsed_before = counters.collapsed_before

    def _open_data(self, cache_bytes: int) -> tuple[TrainingData, FeatureNetwork]:
        config = self.config
        learns_graph = config.model.structure is StructureKind.GENERIC
        data = TrainingData(config, self.fabric.device, learns_graph, self.group, cache_bytes)
        return data, squeezenet_features() if config.features == "squeezenet" else vgg16_features(config.vgg16_file)

    def _open_run(self) -> None:
        out = self.config.out
        out.mkdir(parents=True, exist_ok=True)
        check_run_file(self.config)
        if self.group.first:
            write_run_file(self.config)
        self._restore_newest()
        self.journal = Journal(out, self.images_seen, writes=self.group.first)

    def _restore_newest(self) -> None:
        found = list_checkpoints(self.config.out)
        if not found or int(found[-1].name) <= self.step:
            return
        try:
            self.restore(found[-1])
        except CheckpointError as error:
            earlier = f"; remove it to go on from {found[-2]}" if len(found) > 1 else "; remove it to start again"
            raise CheckpointError(f"{error}{earlier}") from error

    def _validate(self) -> dict[str, float]:
        config = self.config
        self.group.together(self.data.check_unchanged)
        check_replicas(self.model, self.group)
        model = self.averaged_model.eval()
        scalars = validate(model, self.features, self.data.val, config.recipe, self.data.scored_images, self.group)
        better = scalars["reconstruction"] < self.best_loss
        self.best_loss = min(self.best_loss, scalars["reconstruction"])
        self.group.on_first(lambda: self._write_validation(model, scalars, better))
        self._check_collapse(scalars)
        return scalars

    def _write_validation(self, model: PhotoGeometricAutoencoder, scalars: dict[str, float], better: bool) -> None:
        config = self.config
        self.journal.scalars("validation", self.images_seen, scalars)
        if self.graph is not None:
            self.graph.write(config.out)
        chosen = np.arange(min(PICTURE_IMAGES, len(self.data.val)))
        shown = self.data.val.batch(chosen, self.fabric.device, with_truth=False).image
        self.journal.picture(self.images_seen, picture_grid(model, shown))
        provenance = {
            "version": scr3d.__version__,
            "images_seen": self.images_seen,
            "validation": scalars,
            "data": self.data.train.fingerprint(),
            "crop": self.data.train.crop,
            "training": to_json(config),
        }
        save_model(config.out / "last", model, provenance)
        if better:
            save_model(config.out / "best", model, provenance)

    def _check_collapse(self, scalars: dict[str, float]) -> None:
        message = find_collapse(scalars, self.images_seen, self.config.recipe)
        if message and self.collapsed_before and not self.config.keep_going:
            self.save()
            raise CollapseError(f"training has collapsed after {self.images_seen:,} images: {message}")
        if message:
            self.fabric.print(f"warning after {self.images_seen:,} images: {message}")
        self.collapsed_before = message is not None

    def _count_bad(self, finite: bool, batch: Batch) -> None:
        self.bad_steps.count(finite)
        if self.bad_steps.too_many:
            joint, path = Batch(torch.cat(self.group.gather(batch.image)), None), self.config.out / BAD_BATCH
            self.group.on_first(lambda: save_bad_batch(self.config.out, joint, self.step))
            raise CollapseError(
                f"the loss has not been finite for {MAX_BAD_STEPS} steps in a row, after {self.images_seen:,} images, "
                f"though the rate was lowered; {path} holds the last batch; lower --rate, and use --precision 32-true "
                "if it was not"
            )

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self.save()
            self.fabric.print(f"interrupted after {self.images_seen:,} images; the same command goes on from here")
            raise
        except ProcessLostError as error:
            raise ProcessLostError(
                f"{error} after {self.images_seen:,} images; the same command goes on from the last checkpoint"
            ) from error
        finally:
            self.journal.close()


def train(config: TrainConfig, machines: MachineOptions | None = None) -> dict[str, float]:
    """Train a model, or go on with an interrupted run; returns the scalars of the last validation. See `Trainer`.

    Raises:
        ConfigError: the options contradict each other or the run folder.
        DataError: the data cannot be read.
        CollapseError: the run has reached a state from which it does not return.
    """
    return Trainer(config, machines).run()
