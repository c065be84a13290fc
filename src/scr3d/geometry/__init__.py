"""Camera, pose and surface normals: pure functions on tensors."""

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
