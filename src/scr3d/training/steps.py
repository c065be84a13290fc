"""One step of a run: a plain one, the same from a recording on a GPU, or one that a graph is learned through."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor

from scr3d.causal import LearnedStructure
from scr3d.data.dataset import Batch
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.processes import Group
from scr3d.training.average import RunningAverage
from scr3d.training.batches import TrainingData
from scr3d.training.captured import CapturedStep
from scr3d.training.config import TrainConfig
from scr3d.training.graph import GraphLearner
from scr3d.training.joint import JointGradients
from scr3d.training.objective import TrainingObjective, Whole
from scr3d.training.parallel import BatchInParts
from scr3d.training.recipe import Moment


@dataclass(frozen=True)
class Taken:
    """What a step has done.

    Attributes:
        values: loss (`total`), norm of the gradient before it was clipped (`gradient`), and what else is logged.
        finite: whether loss and gradient were; if not, no weight has changed.
        batch: the images of this process that the step ended with.
        count: steps of the weights.
    """

    values: dict[str, float]
    finite: bool
    batch: Batch
    count: int = 1


class Steps:
    """Takes the steps of a run, and holds what they change: weights, their running average, optimisers.

    Attributes:
        model: is trained.
        parameters: of the model.
        average: running average of its weights.
        objective: the loss as a module, set up for the device.
        optimiser: of all weights but those of a learned graph.
        graph: learns the graph of the model, if that is learned.
    """

    def __init__(
        self,
        config: TrainConfig,
        fabric: Fabric,
        group: Group,
        data: TrainingData,
        objective: TrainingObjective,
        cuda_graph: bool,
    ):
        """Set up optimiser and running average.

        Args:
            config: the run.
            fabric: device and precision.
            group: the processes that share each batch.
            data: where batches come from.
            objective: holds the model; is moved to the device.
            cuda_graph: whether a GPU may repeat a recorded step.
        """
        self.config = config
        self.fabric = fabric
        self.group = group
        self.data = data
        self.model = model = objective.model
        on_gpu = fabric.device.type == "cuda"
        threads = torch.get_num_threads()
        self.in_parts = BatchInParts(threads) if threads > 1 and not on_gpu else None
        learned = isinstance(model.structure, LearnedStructure)
        self.graph = GraphLearner(config, model, group) if learned else None
        graph_parameters = set(model.structure.parameters()) if learned else set()
        optimiser = torch.optim.Adam(
            [parameter for parameter in model.parameters() if parameter not in graph_parameters],
            lr=config.optimiser.rate,
            betas=(config.optimiser.beta1, config.optimiser.beta2),
            weight_decay=config.optimiser.weight_decay,
            fused=True,
            capturable=on_gpu,
        )
        self.objective, self.optimiser = fabric.setup(objective, optimiser)
        self.average = RunningAverage(model, config.optimiser.average)
        self.parameters = list(model.parameters())
        self.captured: CapturedStep | None = None
        if on_gpu and group.size == 1 and self.graph is None and cuda_graph:
            self.captured = CapturedStep(
                self._alone, config.recipe, model, self.averaged_model, self.optimiser.optimizer, self._clip
            )

    @property
    def averaged_model(self) -> PhotoGeometricAutoencoder:
        """The model with the running average of the weights."""
        return self.average.module

    def take(self, step: int, rate: Callable[[int], float]) -> Taken:
        """Take a step of the optimiser, or all those of one step of a learned graph.

        Args:
            step: how many were taken before.
            rate: learning rate at a step.

        Raises:
            CollapseError: the graph was to be fixed now, and no edge is left.
            ProcessLostError: another process has gone; no weight has changed.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate(step)
        if self.graph is not None:
            if self.graph.settle_if_due(step, self.config.keep_going):
                self.fabric.print(f"graph settled: {', '.join(self.graph.record()['edges'])}")
            if self.graph.unrolls_at(step):
                return self._outer(self.graph, step, rate)
        if self.captured is not None and self.captured.ready:
            return self._recorded(self.captured, step, rate(step))
        return self._plain(step)

    def _plain(self, step: int) -> Taken:
        batch, images_seen = self.data.train_batch(step), self._images(step)
        self.optimiser.zero_grad(set_to_none=True)
        gradients = JointGradients(self.group, self.parameters, self.fabric.backward, self.in_parts)
        objective = self.objective if self.in_parts is None else self._alone
        total, parts = gradients.of(objective, self.data.joint(batch), images_seen)
        minimised = total
        if self.graph is not None and (extra := self.graph.joint_loss(step)) is not None:
            self.fabric.backward(extra)
            minimised, parts = total + extra, parts | {"dag_penalty": self.graph.penalty().detach()}
        if self.graph is not None and self.graph.bilevel:
            self.graph.optimiser.zero_grad(set_to_none=True)  # only held-out images move this graph
        norm = self._clip()
        found = read({"total": total, "gradient": norm, "minimised": minimised, **parts})
        finite = math.isfinite(found.pop("minimised")) and math.isfinite(found["gradient"])
        if finite:
            self.optimiser.step()
            if self.graph is not None:
                self.graph.joint_step(step)
            self.average.follow()
        if self.graph is not None:
            self.graph.optimiser.zero_grad(set_to_none=True)
        return Taken(found, finite, batch)

    def _recorded(self, captured: CapturedStep, step: int, rate: float) -> Taken:
        batch = self.data.train_batch(step)
        found = captured.take(batch, self._images(step), rate, self.average.weight)
        finite = math.isfinite(found["total"]) and math.isfinite(found["gradient"])
        if finite:
            self.average.count += 1
        return Taken(found, finite, batch)

    def _outer(self, graph: GraphLearner, step: int, rate: Callable[[int], float]) -> Taken:
        count = min(self.config.graph.inner_steps, graph.learning_steps - step, self.config.steps - step)
        outer_batch = self.data.graph_batch(step // graph.round)
        with self.fabric.autocast():
            found = graph.outer_step(
                self.objective.module,
                self.optimiser.optimizer,
                lambda number: (self.data.joint(self.data.train_batch(step + number)), self._images(step + number)),
                (self.data.joint(outer_batch), self._images(step + count)),
                [rate(step + number) for number in range(count)],
                step,
            )
        if found.finite:
            self.average.follow()
        values = {"total": found.losses[-1], "gradient": found.norms[-1], "held_out": found.held_out}
        return Taken(read({**values, "dag_penalty": found.penalty}), found.finite, outer_batch, count)

    def _images(self, step: int) -> int:
        return step * self.config.optimiser.batch_size

    def _alone(self, whole: Whole, when: int | Moment) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective without the strategy's wrapper, for gradients that are not asked for by way of it."""
        with self.fabric.autocast():
            return self.objective.module(whole, when)

    def _clip(self) -> Tensor:
        limit = self.config.optimiser.gradient_clip
        return torch.nn.utils.clip_grad_norm_(self.parameters, limit if limit > 0 else math.inf)


def read(values: dict[str, Tensor]) -> dict[str, float]:
    """Numbers from the device, all at once: each reading waits for what it has been told to do."""
    return dict(zip(values, torch.stack([value.detach().double() for value in values.values()]).tolist(), strict=True))
