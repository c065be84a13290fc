"""A ray march of the height field in PyTorch alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from peer_renderers.common import Peer
from scr3d.factors import View
from scr3d.geometry.camera import project
from scr3d.geometry.pose import canonical_from_view, rotation_matrix

SAMPLES_PER_PIXEL = 1.0
"""Samples on a ray for each pixel of the map's width."""
REFINEMENTS = 4


class Renderer(Peer):
    """Sampled at even depths, every ray looks for the first place where it passes through the surface.

    Between the two samples around that place the secant method finds it more exactly. The surface is bilinear between
    the pixels of the map, as a look-up of the map has it, and not made of triangles.
    """

    title = "PyTorch ray march"
    package = "torch"
    setting = "as many samples per ray as the map is wide, all maps at once, then four secant steps"

    def build(self, depth: Tensor, view: View) -> None:
        camera = self.task.camera
        self.map = depth[:, None]
        self.origin = canonical_from_view(depth.new_zeros(len(depth), 3, 1), view)
        self.direction = rotation_matrix(view.rotation_rad).mT @ camera.rays(depth).flatten(1)
        corners = self.points(depth, view)[:, 2]
        self.near, self.far = float(corners.min()), min(float(corners.max()), self.task.limit)

    def above(self, distance: Tensor) -> Tensor:
        """How far before the surface the points at these distances lie; nan beside the map."""
        camera = self.task.camera
        points = self.origin + distance[:, None] * self.direction
        x, y = project(points, camera).unbind(1)
        beside = (x < 0) | (x > camera.width - 1) | (y < 0) | (y > camera.height - 1)
        grid = torch.stack([2 * x / (camera.width - 1) - 1, 2 * y / (camera.height - 1) - 1], dim=-1)
        surface = F.grid_sample(self.map, grid[:, None], align_corners=True, padding_mode="border")[:, 0, 0]
        return (surface - points[:, 2]).masked_fill(beside, torch.nan)

    def query(self) -> tuple[Tensor, Tensor]:
        steps = torch.linspace(self.near, self.far, round(SAMPLES_PER_PIXEL * self.task.camera.width) + 1)
        rays = self.direction[:, 0]
        first = torch.full_like(rays, torch.inf)
        second, above_first, above_second = first.clone(), first.clone(), first.clone()
        before = self.above(torch.full_like(rays, float(steps[0])))
        for start, end in zip(steps[:-1].tolist(), steps[1:].tolist(), strict=True):
            after = self.above(torch.full_like(rays, end))
            crossed = (before * after <= 0) & first.isinf()
            first = first.masked_fill(crossed, start)
            second = second.masked_fill(crossed, end)
            above_first = torch.where(crossed, before, above_first)
            above_second = torch.where(crossed, after, above_second)
            before = after
        hit = first.isfinite()
        for _ in range(REFINEMENTS):
            middle = first + (second - first) * above_first / (above_first - above_second)
            middle = torch.where(hit & middle.isfinite(), middle, first)
            above = self.above(middle).nan_to_num()
            same = (above * above_first) > 0
            first, second = torch.where(same, middle, first), torch.where(same, second, middle)
            above_first, above_second = torch.where(same, above, above_first), torch.where(same, above_second, above)
        return self.seen(torch.where(hit, middle, torch.inf))
