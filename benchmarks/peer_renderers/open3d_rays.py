"""Ray casting with the RaycastingScene of Open3D."""

from __future__ import annotations

import numpy as np
import open3d as o3d
import torch
from torch import Tensor

from peer_renderers.common import OneScene, Task
from scr3d.factors import View


class Renderer(OneScene):
    title = "Open3D RaycastingScene"
    package = "open3d"
    setting = "all maps in one scene, one call for all rays"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.indices = o3d.core.Tensor(self.triangles.numpy().astype(np.uint32))
        self.rays = o3d.core.Tensor(torch.cat([self.origins, self.directions], dim=1).numpy())
        self.first = self.rays[:1]

    def build(self, depth: Tensor, view: View) -> None:
        self.scene = o3d.t.geometry.RaycastingScene(nthreads=self.task.threads)
        self.scene.add_triangles(o3d.core.Tensor(self.vertices(depth, view).numpy()), self.indices)
        # The tree is built by the first query.
        self.scene.cast_rays(self.first, nthreads=self.task.threads)

    def query(self) -> tuple[Tensor, Tensor]:
        return self.seen(self.scene.cast_rays(self.rays, nthreads=self.task.threads)["t_hit"].numpy())
