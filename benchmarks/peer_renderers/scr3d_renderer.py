"""The renderer that the others are compared with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch
from torch import Tensor

from peer_renderers.common import Peer, Task
from scr3d.factors import View
from scr3d.rendering import ViewSampling, sample_view
from scr3d.training.parallel import compute_alone


class Renderer(Peer):
    title = "scr3d"
    package = "scr3d"
    setting = (
        "sample_view, which also finds where every pixel looks on the canonical map; there is no scene to build; "
        "several threads take parts of the fields, as in training"
    )

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        threads = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(task.threads, initializer=compute_alone)
        started = Barrier(task.threads)
        list(self.pool.map(lambda _: started.wait(), range(task.threads)))
        torch.set_num_threads(threads)  # the threads above have set that of threads to come

    def build(self, depth: Tensor, view: View) -> None:
        self.depth, self.view = depth, view

    def query(self) -> tuple[Tensor, Tensor]:
        threads, count = self.task.threads, self.task.count
        if threads == 1:
            seen = self.part(slice(None))
            return seen.depth, seen.mask
        ends = [count * thread // threads for thread in range(threads + 1)]
        parts = list(self.pool.map(self.part, map(slice, ends[:-1], ends[1:])))
        return torch.cat([part.depth for part in parts]), torch.cat([part.mask for part in parts])

    def part(self, part: slice) -> ViewSampling:
        """The view of some of the fields."""
        return sample_view(self.depth[part], self.view[part], self.task.camera, self.task.depth_range)

    def close(self) -> None:
        self.pool.shutdown()
