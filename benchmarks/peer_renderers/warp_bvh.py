"""Ray casting with the triangle meshes of NVIDIA Warp."""

from __future__ import annotations

import torch
import warp as wp
from torch import Tensor

from peer_renderers.common import Peer, Task
from scr3d.factors import View
from scr3d.rendering._kernels import start_warp


@wp.kernel(enable_backward=False)
def cast(
    meshes: wp.array(dtype=wp.uint64),  # type: ignore[valid-type]
    rays: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    limit: float,
    depth: wp.array2d(dtype=float),  # type: ignore[valid-type]
):
    """Distance of the first triangle on every ray from the origin, in units of the ray's z."""
    number, pixel = wp.tid()
    ray = rays[pixel]
    length = wp.length(ray)
    hit = wp.mesh_query_ray(meshes[number], wp.vec3(0.0, 0.0, 0.0), ray / length, limit * length)
    if hit.result:
        depth[number, pixel] = hit.t / length
    else:
        depth[number, pixel] = limit


class Renderer(Peer):
    title = "Warp mesh queries"
    package = "warp-lang"
    setting = "one wp.Mesh per map, whose tree is refitted to new corners rather than built anew; all rays in a launch"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        start_warp()
        rays, triangles = self.pixels()
        self.rays = wp.from_torch(rays, dtype=wp.vec3)
        self.triangles = wp.from_torch(triangles.reshape(-1).int().contiguous(), dtype=wp.int32)
        self.depth = torch.empty(task.count, len(rays))
        self.meshes: list[wp.Mesh] = []

    def build(self, depth: Tensor, view: View) -> None:
        corners = self.points(depth, view).mT.contiguous()
        if not self.meshes:
            self.corners = corners
            self.meshes = [
                wp.Mesh(points=wp.from_torch(field, dtype=wp.vec3), indices=self.triangles) for field in self.corners
            ]
            self.numbers = wp.array([mesh.id for mesh in self.meshes], dtype=wp.uint64, device="cpu")
            return
        self.corners.copy_(corners)
        for mesh in self.meshes:
            mesh.refit()

    def query(self) -> tuple[Tensor, Tensor]:
        outputs = [wp.from_torch(self.depth)]
        inputs = [self.numbers, self.rays, self.task.limit]
        wp.launch(cast, dim=self.depth.shape, inputs=inputs, outputs=outputs, device="cpu")
        return self.seen(self.depth)
