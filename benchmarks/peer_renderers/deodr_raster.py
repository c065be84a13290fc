"""Rasterising with DEODR, a differentiable renderer in C++ for the CPU."""

from __future__ import annotations

import numpy as np
import torch
from deodr.differentiable_renderer import Scene2D
from deodr.differentiable_renderer_cython import renderSceneCpp
from torch import Tensor

from peer_renderers.common import Peer, Task
from scr3d.factors import View
from scr3d.geometry.camera import project


class Renderer(Peer):
    title = "DEODR"
    package = "deodr"
    setting = "its C++ function without anti-aliasing and without its checks of the arguments, one call for each map"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        camera = task.camera
        _, triangles = self.pixels()
        faces, vertices = triangles.numpy().astype(np.uint32), camera.height * camera.width
        self.scene = Scene2D(
            faces=faces, faces_uv=faces, ij=np.zeros((vertices, 2)), depths=np.zeros(vertices),
            textured=np.zeros(len(faces), bool), uv=np.zeros((vertices, 2)), shade=np.zeros(vertices),
            colors=np.zeros((vertices, 1)), shaded=np.zeros(len(faces), bool),
            edgeflags=np.zeros((len(faces), 3), bool), height=camera.height, width=camera.width, nb_colors=1,
            texture=np.zeros((0, 0, 1)), background_color=np.zeros(1), perspective_correct=True,
        )  # fmt: skip
        self.colours = np.zeros((camera.height, camera.width, 1))
        self.depth = np.zeros(task.shape)

    def build(self, depth: Tensor, view: View) -> None:
        points = self.points(depth, view)
        self.corners = project(points, self.task.camera).mT.double().numpy()
        self.depths = points[:, 2].double().numpy()

    def query(self) -> tuple[Tensor, Tensor]:
        for corners, depths, into in zip(self.corners, self.depths, self.depth, strict=True):
            self.scene.ij, self.scene.depths = corners, depths
            renderSceneCpp(self.scene, 0.0, self.colours, into, check_valid=False)
        return self.seen(torch.from_numpy(self.depth).float())
