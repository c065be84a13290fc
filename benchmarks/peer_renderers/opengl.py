"""Rasterising with OpenGL, which Mesa's llvmpipe does in software, through moderngl."""

from __future__ import annotations

import os

import moderngl
import numpy as np
from torch import Tensor

from peer_renderers.common import Peer, Task
from peer_renderers.llvmpipe import clip_rows, depth_from_buffer, threads_of_llvmpipe
from scr3d.factors import View

PRIMITIVE_RESTART_FIXED_INDEX = 0x8D69
VERTEX = """
#version 330
in vec3 point;
uniform vec4 lens;
void main() { gl_Position = vec4(lens.xy * point.xy, lens.z * point.z + lens.w, point.z); }
"""
FRAGMENT = """
#version 330
void main() {}
"""


def strips(task: Task) -> np.ndarray:
    """Corner numbers of all maps as one strip of triangles for each row of cells, with the largest number between.

    From a b / c d come the triangles a c b and c b d: those of `grid_triangles`, and every corner is needed only twice.
    """
    _, height, width = task.shape
    corner = np.arange(task.count * height * width, dtype=np.uint32).reshape(task.shape)
    rows = np.stack([corner[:, :-1], corner[:, 1:]], axis=-1).reshape(task.count, height - 1, 2 * width)
    ends = np.full_like(rows[:, :, :1], 0xFFFFFFFF)
    return np.concatenate([rows, ends], axis=2)


class Renderer(Peer):
    title = "OpenGL, llvmpipe (moderngl)"
    package = "moderngl"
    setting = (
        "one upload of all corners, strips of triangles, a draw call for each map into one picture of depths alone"
    )

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        os.environ["LP_NUM_THREADS"] = threads_of_llvmpipe(task.threads)
        camera = task.camera
        self.context = moderngl.create_standalone_context(backend="egl")
        # Maps below one another: the picture is then the result.
        self.picture = self.context.depth_texture((camera.width, task.count * camera.height))
        self.frame = self.context.framebuffer(depth_attachment=self.picture)
        program = self.context.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT)
        # The frame ends half a pixel beyond the outermost pixel centres.
        program["lens"].value = (
            camera.focal_px / (camera.width / 2),
            camera.focal_px / (camera.height / 2),
            *clip_rows(),
        )
        self.corners = self.context.buffer(reserve=task.count * camera.height * camera.width * 12, dynamic=True)
        indices = self.context.buffer(strips(task).tobytes())
        self.field = self.context.vertex_array(program, [(self.corners, "3f", "point")], index_buffer=indices)
        self.indices_per_map = indices.size // 4 // task.count
        self.frame.use()
        self.context.enable_only(moderngl.DEPTH_TEST)
        self.context.enable_direct(PRIMITIVE_RESTART_FIXED_INDEX)

    def build(self, depth: Tensor, view: View) -> None:
        with self.context:  # the process may hold contexts of other libraries
            self.corners.write(self.points(depth, view).mT.contiguous().numpy())
            self.context.finish()

    def query(self) -> tuple[Tensor, Tensor]:
        height, width = self.task.camera.height, self.task.camera.width
        with self.context:
            self.frame.use()
            self.frame.viewport = 0, 0, width, self.task.count * height
            self.frame.clear(depth=1.0)
            for number in range(self.task.count):
                self.frame.viewport = 0, number * height, width, height
                first = number * self.indices_per_map
                self.field.render(moderngl.TRIANGLE_STRIP, vertices=self.indices_per_map, first=first)
            return self.seen(depth_from_buffer(np.frombuffer(self.picture.read(), np.float32)))

    def close(self) -> None:
        self.context.release()
