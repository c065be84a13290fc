"""Camera, pose and surface normals: pure functions on tensors."""

from scr3d.geometry.camera import Camera, DepthRange, back_project, project
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
