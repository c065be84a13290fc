"""What the peers share: the task, and the form in which a peer does it.

A peer draws the triangles that scr3d draws (`grid_triangles`), seen from the same view: for every pixel centre the
depth of the nearest triangle on its ray, `far + margin` where there is none or it is farther.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from scr3d.factors import View
from scr3d.geometry import Camera, DepthRange, back_project
from scr3d.geometry.pose import view_from_canonical
from scr3d.rendering.heightfield import grid_triangles

SPACING = 0.4
"""Distance of maps laid side by side in one scene: no ray of one can meet another, since a frame is 0.21 wide."""


@dataclass(frozen=True)
class Task:
    """What every step of training has in common.

    Attributes:
        count: height fields.
        camera: its size is that of the fields and of the views.
        depth_range: how far a visible surface may be.
        threads: how many may be used.
    """

    count: int
    camera: Camera
    depth_range: DepthRange
    threads: int

    @property
    def limit(self) -> float:
        """Depth from which on a surface does not count, and the depth of a pixel that shows nothing."""
        return self.depth_range.far + self.depth_range.margin

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the result."""
        return self.count, self.camera.height, self.camera.width


class Peer(ABC):
    """A renderer of height fields.

    The constructor does what can be done once for all steps. `build` takes new height fields and views, as they are
    in every step, up to the point from which on nothing but the picture is computed. `query` gives depth and mask.
    """

    title: ClassVar[str]
    """Name in tables."""
    package: ClassVar[str]
    """Distribution whose version is reported."""
    setting: ClassVar[str]
    """How it is used, in a sentence."""

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def build(self, depth: Tensor, view: View) -> None:
        """Take height fields `count height width` and their views."""

    @abstractmethod
    def query(self) -> tuple[Tensor, Tensor]:
        """Depth and mask, both `count height width`."""

    def close(self) -> None:  # noqa: B027  # Most have nothing to give back.
        """Give back what the process holds."""

    def points(self, depth: Tensor, view: View) -> Tensor:
        """Corners in the frame of the view, `count 3 vertices`."""
        return view_from_canonical(back_project(depth, self.task.camera), view).flatten(2)

    def pixels(self) -> tuple[Tensor, Tensor]:
        """Directions (x, y, 1) of the pixels' rays and the numbers of the triangles' corners."""
        camera = self.task.camera
        rays = camera.rays(torch.zeros(())).flatten(1).T.contiguous()
        return rays, grid_triangles(camera.height, camera.width, torch.device("cpu"))

    def seen(self, depth: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
        """Depth and mask from depths that are infinite, or beyond the limit, where nothing is seen."""
        found = torch.as_tensor(depth).view(self.task.shape)
        mask = (found < self.task.limit) & (found > 0)
        return torch.where(mask, found, self.task.limit), mask


class OneScene(Peer):
    """A ray caster whose scene holds all height fields side by side."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        columns = int(np.ceil(np.sqrt(task.count)))
        number = torch.arange(task.count)
        place = torch.stack([number % columns, number // columns, 0 * number], dim=1).float()
        self.offsets = SPACING * (place - place.mean(0)) * torch.tensor([1.0, 1.0, 0.0])
        rays, triangles = self.pixels()
        vertices = task.camera.height * task.camera.width
        self.triangles = (triangles[None].long() + vertices * number[:, None, None]).flatten(0, 1)
        self.origins = self.offsets[:, None].expand(-1, len(rays), -1).flatten(0, 1).contiguous()
        self.directions = rays.repeat(task.count, 1)

    def vertices(self, depth: Tensor, view: View) -> Tensor:
        """Corners of all height fields, `vertices 3`."""
        return (self.points(depth, view) + self.offsets[:, :, None]).mT.flatten(0, 1).contiguous()
