"""Camera, pose and surface normals: pure functions on tensors.

>>> import torch
>>> from scr3d.geometry import Camera, back_project, normals_from_depth, project
>>> camera = Camera(height=64, width=64, fov_deg=10.0)
>>> plane = torch.ones(1, 64, 64)
>>> points = back_project(plane, camera)  # [1, 3, 64, 64]: x right, y down, z forward
>>> [round(value, 4) for value in points[0, :, 0, 63].tolist()]
[0.0875, -0.0875, 1.0]
>>> [round(value) for value in project(points, camera)[0, :, 0, 63].tolist()]  # pixel (x, y)
[63, 0]
>>> normals_from_depth(plane, camera)[0, :, 32, 32].tolist()
[0.0, 0.0, 1.0]
"""

from typing import TYPE_CHECKING

from scr3d.lazy import lazy_names

if TYPE_CHECKING:
    from scr3d.geometry.camera import Camera, back_project, project
    from scr3d.geometry.depth_range import DepthRange
    from scr3d.geometry.normals import normals_from_depth
    from scr3d.geometry.pose import canonical_from_view, rotation_matrix, view_from_canonical

__all__ = [
    "Camera",
    "DepthRange",
    "back_project",
    "canonical_from_view",
    "normals_from_depth",
    "project",
    "rotation_matrix",
    "view_from_canonical",
]

__getattr__ = lazy_names(__name__, ("depth_range", "camera", "normals", "pose"), __all__)
