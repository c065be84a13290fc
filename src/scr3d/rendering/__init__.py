"""Differentiable rendering of height fields, twice differentiable, on CPU and CUDA, usable without the networks.

A depth map with colours, turned by 20 degrees:

    >>> import math, torch
    >>> from scr3d.factors import Light, View
    >>> from scr3d.geometry import Camera, DepthRange
    >>> from scr3d.rendering import light_surface, render
    >>> camera = Camera(height=32, width=32, fov_deg=10.0)
    >>> x = torch.linspace(-1, 1, 32)
    >>> depth = (1 - 0.05 * (-(x**2 + x[:, None] ** 2)).exp())[None].requires_grad_()
    >>> light = Light.from_slopes(torch.tensor([0.4]), torch.tensor([0.6]), torch.tensor([[0.5, 0.0]]))
    >>> normal, shading, image = light_surface(depth, torch.ones(1, 3, 32, 32), light, camera)
    >>> view = View(torch.tensor([[0.0, math.radians(20), 0.0]]), torch.zeros(1, 3))
    >>> seen = render(depth, view, image, camera, DepthRange())
    >>> tuple(seen.image.shape), bool(seen.mask[0, 16, 16])
    ((1, 3, 32, 32), True)
    >>> seen.image.mean().backward()
    >>> bool(depth.grad.isfinite().all())
    True

`picture`, `turntable`, `relighting` and `textureless` render what `scr3d reconstruct` shows. Conventions (camera, view,
light, normals): docs/conventions.md.
"""

from typing import TYPE_CHECKING

from scr3d.lazy import lazy_names

if TYPE_CHECKING:
    from scr3d.rendering.heightfield import Rendering, ViewSampling, look_up, render, sample_view
    from scr3d.rendering.shading import light_surface, shade
    from scr3d.rendering.views import ViewOptions, picture, relighting, textureless, turntable

__all__ = [
    "Rendering",
    "ViewOptions",
    "ViewSampling",
    "light_surface",
    "look_up",
    "picture",
    "relighting",
    "render",
    "sample_view",
    "shade",
    "textureless",
    "turntable",
]

__getattr__ = lazy_names(__name__, ("heightfield", "shading", "views"), __all__)
