"""What is shown, as files to take away."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from scr3d.export.media import write_animation
from scr3d.export.mesh import export_glb
from scr3d.export.options import ReconstructOptions
from scr3d.rendering.views import ViewOptions, relighting, textureless, turntable
from scr3d.studio.appearance import PICTURE_SIDE, export_mesh, look, picture
from scr3d.studio.editing import Shown
from scr3d.studio.markup import png_bytes
from scr3d.studio.workbench import Workbench

PNG_SIDE = 1024
"""Width of a saved picture in pixels."""


def glb(bench: Workbench) -> bytes:
    """The mesh with what is shown as its texture."""
    mesh = export_mesh(bench.factors(), bench.network, bench.shown, bench.projected(PICTURE_SIDE))
    return _written("mesh.glb", lambda path: export_glb(mesh, path))


@torch.no_grad()
def png(bench: Workbench) -> bytes:
    """The picture in the edited view and light, transparent where nothing is seen."""
    factors = bench.factors()
    seen = look(factors, bench.network, PNG_SIDE)
    return png_bytes(picture(seen, factors.light, bench.shown, bench.projected(PNG_SIDE)))


def mp4(bench: Workbench, *, relit: bool) -> bytes:
    """An animation: a turntable (plaster if that is shown), or the object under a light that circles."""
    factors, model, shown = bench.factors(), bench.network, bench.shown
    options = ReconstructOptions()
    views = ViewOptions(options.render_size, options.frames, options.max_yaw_deg)
    if relit:
        frames = relighting(factors, model.camera, model.depth_range, views)
    elif shown is Shown.SHADING:
        frames = textureless(factors, model.camera, model.depth_range, views)
    else:
        frames = turntable(factors, model.camera, model.depth_range, views)
    return _written("animation.mp4", lambda path: write_animation(path, frames))


def _written(name: str, write: Callable[[Path], None]) -> bytes:
    """What a writer of files writes; the file lies in a folder of its own, under a name of ours."""
    with tempfile.TemporaryDirectory(prefix="scr3d-") as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()
