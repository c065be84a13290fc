"""The renderer that the others are compared with."""

from __future__ import annotations

from torch import Tensor

from peer_renderers.common import Peer
from scr3d.factors import View
from scr3d.rendering import sample_view


class Renderer(Peer):
    title = "scr3d"
    package = "scr3d"
    setting = "sample_view, which also finds where every pixel looks on the canonical map; there is no scene to build"

    def build(self, depth: Tensor, view: View) -> None:
        self.depth, self.view = depth, view

    def query(self) -> tuple[Tensor, Tensor]:
        seen = sample_view(self.depth, self.view, self.task.camera, self.task.depth_range)
        return seen.depth, seen.mask
