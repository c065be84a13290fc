"""The 3D view: one object or several in a row, a lamp that can be dragged, and the camera."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import viser
from jaxtyping import Float

from scr3d.factors import Light, View
from scr3d.studio.appearance import pose

FOV_DEG = 12.0
"""A little more than the models' cameras see."""
STEP = 1.08
"""Distance of neighbouring objects, which are one frame wide."""
ROOM = 1.12
"""Frame widths that must be in sight for an object."""
LABEL_HEIGHT = 0.57
LAMP_DEPTH = 0.62
"""How far before the object's centre the lamp moves."""
FARTHEST_SLOPE = 1.5
SWAP_SECONDS = 0.4
"""An old mesh stays until the browser has read the new one."""
NARROW_PX = 576
"""Browsers this wide have the controls in a sheet over the lower part of the view."""
SHEET_SHARE = 0.6
WIRE_PX = 1.0
LAMP_COLOR, WIRE_COLOR = (255, 196, 60), (60, 110, 180)


@dataclass(frozen=True)
class Object:
    """Something to show.

    Attributes:
        glb: content of a GLB file.
        view: pose in the view of its photo.
        scale: units of the mesh in a unit of the camera distance.
        label: words above it; empty for none.
    """

    glb: bytes
    view: View
    scale: float
    label: str = ""


def set_initial_view(server: viser.ViserServer) -> None:
    """Where browsers look from before they are known."""
    server.scene.set_up_direction("+y")
    camera = server.initial_camera
    camera.fov = math.radians(FOV_DEG)
    camera.up = (0.0, 1.0, 0.0)
    camera.position = (0.0, 0.0, ROOM / 2 / math.tan(math.radians(FOV_DEG) / 2))
    camera.look_at = (0.0, 0.0, 0.0)


class Scene:
    """The 3D view of one browser."""

    def __init__(self, client: viser.ClientHandle, moved: Callable[[float, float], None]):
        """Set up camera and lamp.

        Args:
            client: the browser.
            moved: told the slopes of the light when the lamp is dragged.
        """
        self._client, self._moved = client, moved
        self._frames: list[viser.FrameHandle] = []
        self._meshes: list[viser.GlbHandle] = []
        self._labels: list[viser.LabelHandle] = []
        self._label_texts: list[str] = []
        self._wire: viser.LineSegmentsHandle | None = None
        self._number = 0
        self._places = 1
        self._closed = False
        scene = client.scene
        scene.configure_default_lights(enabled=True, cast_shadow=False)
        self._place(0)
        limit = FARTHEST_SLOPE * LAMP_DEPTH
        self._lamp = scene.add_transform_controls(
            "/object0/lamp",
            scale=0.2,
            line_width=3.0,
            active_axes=(True, True, False),
            disable_rotations=True,
            translation_limits=((-limit, limit), (-limit, limit), (LAMP_DEPTH, LAMP_DEPTH)),
            depth_test=False,
            visible=False,
        )
        scene.add_icosphere("/object0/lamp/ball", radius=0.035, color=LAMP_COLOR, cast_shadow=False)
        self._lamp.on_update(lambda event: self._dragged())
        self.look_from_front()

    def show(self, objects: list[Object]) -> None:
        """Show objects in a row; the first one is the one that is edited."""
        for index, one in enumerate(objects):
            self._place(index)
            self._swap(index, one.glb)
            self.turn(one.view, one.scale, index)
        for index in range(len(objects), len(self._frames)):
            self._frames[index].visible = False
        texts = [one.label for one in objects]
        if texts != self._label_texts:
            for label in self._labels:
                label.remove()
            self._labels = [self._label(index, text) for index, text in enumerate(texts) if text]
            self._label_texts = texts
        if len(objects) != self._places:
            self._places = len(objects)
            self.look_from_front()

    def turn(self, view: View, scale: float, index: int = 0) -> None:
        """Turn an object; its mesh stays as it is."""
        rotation, position = pose(view)
        frame = self._frames[index]
        frame.wxyz = rotation
        frame.position = position * scale + np.array([index * STEP, 0.0, 0.0])

    def light(self, light: Light, visible: bool) -> None:
        """Put the lamp where the light comes from; it turns with the object, as the light of a photo does."""
        x, y, z = light.direction[0].tolist()
        self._lamp.position = np.array([-LAMP_DEPTH * x / z, LAMP_DEPTH * y / z, LAMP_DEPTH])
        self._lamp.visible = visible

    def wire(self, lines: Float[np.ndarray, "lines 2 3"] | None) -> None:
        """Draw the grid on the first object, or take it away."""
        if self._wire is not None:
            self._wire.remove()
            self._wire = None
        if lines is not None:
            self._wire = self._client.scene.add_line_segments(
                "/object0/wire", lines, WIRE_COLOR, thickness=WIRE_PX, thickness_units="screen"
            )

    def look_from_front(self) -> None:
        """Bring the camera back to where the photo was taken from."""
        camera = self._client.camera
        middle = (self._places - 1) * STEP / 2
        tangent = math.tan(math.radians(FOV_DEG) / 2)
        width = (self._places - 1) * STEP + ROOM
        aspect = camera.aspect if camera.aspect > 0 else 1.0
        free = 1 - SHEET_SHARE if camera.image_width <= NARROW_PX else 1.0
        height = max(ROOM / free, width / aspect)
        # Where a sheet covers the lower part, the object is in the middle of the upper one.
        below = (1 - free) / 2 * height
        with self._client.atomic():
            camera.position = (middle, -below, height / 2 / tangent)
            camera.look_at = (middle, -below, 0.0)

    def close(self) -> None:
        """Nothing is sent any more."""
        self._closed = True

    def _label(self, index: int, text: str) -> viser.LabelHandle:
        place = (index * STEP, LABEL_HEIGHT, 0.0)
        return self._client.scene.add_label(f"/label{index}", text, position=place, anchor="center-center")

    def _place(self, index: int) -> None:
        if index == len(self._frames):
            self._frames.append(self._client.scene.add_frame(f"/object{index}", show_axes=False))
        self._frames[index].visible = True

    def _swap(self, index: int, glb: bytes) -> None:
        # The browser shows nothing while it reads a mesh, so that the old one is taken away some time later.
        self._number += 1
        mesh = self._client.scene.add_glb(
            f"/object{index}/mesh{self._number}", glb, cast_shadow=False, receive_shadow=False
        )
        if index < len(self._meshes):
            old, self._meshes[index] = self._meshes[index], mesh
            timer = threading.Timer(SWAP_SECONDS, self._remove, (old,))
            timer.daemon = True
            timer.start()
        else:
            self._meshes.append(mesh)

    def _remove(self, mesh: viser.GlbHandle) -> None:
        if not self._closed:
            mesh.remove()

    def _dragged(self) -> None:
        x, y, z = self._lamp.position
        self._moved(float(-x / z), float(y / z))
