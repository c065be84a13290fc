"""Which images a run trains on, learns its graph on, and is scored on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scr3d.data.dataset import Batch, Dataset, Truth, batch_indices, open_dataset
from scr3d.data.shard_files import DEFAULT_CACHE_BYTES
from scr3d.errors import DataError
from scr3d.processes import ALONE, Group
from scr3d.training.config import TrainConfig
from scr3d.training.objective import Whole

MIRROR_STREAM = 0x6D6972726F72


class TrainingData:
    """The data of a run; every batch is determined by the run's seed and its number alone."""

    def __init__(
        self,
        config: TrainConfig,
        device: torch.device,
        learns_graph: bool,
        group: Group = ALONE,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ):
        """Open the splits; each process of the group reads its part of every batch. `cache_bytes` is for shards.

        Raises:
            DataError: the data cannot be read.
            ConfigError: there are more processes than images in a batch.
        """
        cache, size = config.out / "data", config.model.size
        self.config = config
        self.part = group.part(config.optimiser.batch_size)
        self.device = device
        self.train: Dataset = open_dataset(config.data, "train", size, cache, shard_bytes=cache_bytes)
        self.val: Dataset = open_dataset(config.data, "val", size, cache, shard_bytes=cache_bytes)
        available = len(self.val)
        self.scored_images = min(config.validation_images, max(1, available // 2) if learns_graph else available)
        """The first validation images are scored; a learned graph has at least half of them for itself."""

        self._signatures = [(data.store, data.store.signature()) for data in (self.train, self.val)]

    def check_unchanged(self) -> None:
        """Look at the files again.

        Raises:
            DataError: they are gone or others.
        """
        for store, before in self._signatures:
            if store.signature() != before:
                raise DataError(
                    f"{store.folder} has changed while it was trained on; restore it and give the same command again, "
                    "or train in another --out"
                )

    def train_batch(self, step: int) -> Batch:
        """This process's images of a training step."""
        config, chosen = self.config, self.part.chosen
        indices = self.train.batch_indices(config.optimiser.batch_size, config.seed, step)
        batch = self.train.batch(indices[chosen], self.device, with_truth=config.recipe.supervised)
        return mirror_some(batch, config.seed, step, chosen.start) if config.mirror else batch

    def graph_batch(self, number: int) -> Batch:
        """Images for a step of the graph: validation images that are neither trained on nor scored."""
        config, first = self.config, self.scored_images
        indices = batch_indices(len(self.val) - first, config.optimiser.batch_size, config.seed + 1, number)
        return self.val.batch(indices[self.part.chosen] + first, self.device, with_truth=config.recipe.supervised)

    def joint(self, batch: Batch) -> Whole:
        """A batch of this process as what it is: a part of the joint one."""
        return Whole(batch, self.part.across, self.part.weight)


def mirror_some(batch: Batch, seed: int, step: int, start: int = 0) -> Batch:
    """Mirror each image with all that belongs to it, with probability one half; determined by seed and step alone.

    Of the truth, only depth and foreground are kept. `start` is the number of the first image in the step's batch.
    """
    generator = np.random.Philox(key=np.array([seed ^ MIRROR_STREAM, step], dtype=np.uint64))
    draws = generator.random_raw(start + len(batch.image))[start:] >> np.uint64(63) == 1
    chosen = torch.from_numpy(draws).to(batch.image.device)

    def mirrored(maps: Tensor) -> Tensor:
        return torch.where(chosen.view(-1, *[1] * (maps.ndim - 1)), maps.flip(-1), maps)

    truth = batch.truth
    if truth is not None:
        truth = Truth(mirrored(truth.depth), mirrored(truth.foreground), None, None, None, {})
    mask, target = (None if maps is None else mirrored(maps) for maps in (batch.mask, batch.target))
    return Batch(mirrored(batch.image), truth, mask, target)
