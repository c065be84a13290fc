"""Ray casting with Mitsuba's compiled CPU variant, which calls Embree for eight or sixteen rays at a time."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
from torch import Tensor

from peer_renderers.common import OneScene, Task
from scr3d.factors import View

mi.set_variant("llvm_ad_rgb")


class Renderer(OneScene):
    title = "Mitsuba (llvm)"
    package = "mitsuba"
    setting = "all maps as one mesh whose corners are replaced, one call for all rays, marked as coherent"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        dr.set_thread_count(task.threads)
        mesh = mi.Mesh("maps", vertex_count=task.count * task.camera.height * task.camera.width,
                       face_count=len(self.triangles))  # fmt: skip
        arrays = mi.traverse(mesh)
        arrays["faces"] = mi.UInt32(self.triangles.flatten().numpy().astype("uint32"))
        arrays["vertex_positions"] = mi.Float(self.origins.flatten().numpy())
        arrays.update()
        self.scene = mi.load_dict({"type": "scene", "maps": mesh})
        self.arrays = mi.traverse(self.scene)
        origin = mi.Point3f(*(mi.Float(axis.contiguous().numpy()) for axis in self.origins.T))
        direction = mi.Vector3f(*(mi.Float(axis.contiguous().numpy()) for axis in self.directions.T))
        self.rays = mi.Ray3f(origin, direction)
        dr.eval(self.rays)

    def build(self, depth: Tensor, view: View) -> None:
        self.arrays["maps.vertex_positions"] = mi.Float(self.vertices(depth, view).flatten().numpy())
        self.arrays.update()
        dr.sync_thread()

    def query(self) -> tuple[Tensor, Tensor]:
        found = self.scene.ray_intersect_preliminary(self.rays, coherent=True).t
        return self.seen(found.numpy())
