"""Ray casting with embreex, the Embree binding that trimesh uses."""

from __future__ import annotations

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore import EmbreeDevice
from embreex.rtcore_scene import EmbreeScene
from torch import Tensor

from peer_renderers.common import OneScene, Task
from scr3d.factors import View


class Renderer(OneScene):
    title = "embreex (trimesh)"
    package = "embreex"
    setting = (
        "the calls that trimesh makes, without its checks and copies; all maps in one scene, one call for all rays"
    )

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.device = EmbreeDevice()
        self.indices = self.triangles.numpy().astype(np.int32)
        self.start, self.toward = self.origins.numpy(), self.directions.numpy()

    def build(self, depth: Tensor, view: View) -> None:
        self.scene = EmbreeScene(self.device)
        TriangleMesh(self.scene, self.vertices(depth, view).numpy(), self.indices)
        # The tree is built by the first query.
        self.scene.run(self.start[:1], self.toward[:1], query="DISTANCE")

    def query(self) -> tuple[Tensor, Tensor]:
        return self.seen(self.scene.run(self.start, self.toward, query="DISTANCE"))
