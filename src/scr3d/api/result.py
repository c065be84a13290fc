"""What comes of a photo: its maps, new pictures of it, and its files."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scr3d.errors import ConfigError, ShapeError
from scr3d.export.mesh import Mesh, export_mesh
from scr3d.export.options import ReconstructOptions, Texture, check_frame_width
from scr3d.export.outputs import Sample, frame_options, is_output_folder, write_outputs
from scr3d.factors import Factors, Light, View
from scr3d.files import atomic_folder
from scr3d.geometry.camera import Camera, DepthRange
from scr3d.interventions.apply import InterventionResult
from scr3d.interventions.files import check_out, write_intervention
from scr3d.interventions.kinds import OnValue, SetLight, SetView
from scr3d.interventions.report import Request, table
from scr3d.models.autoencoder import PhotoGeometricAutoencoder, Reconstruction
from scr3d.rendering import render
from scr3d.rendering.views import picture, relighting, textureless, turntable


@dataclass(frozen=True, repr=False)
class PhotoReconstruction:
    """One object of one photo, explained.

    Everything lies on the CPU. Canonical maps show the object from the front; depth, mask and image are those of the
    photo, pixel by pixel with `crop` at the model's size.

    Attributes:
        sample: the reconstruction with all that its files tell of it.
        network: the model that made it.

    Examples:
        >>> import scr3d
        >>> result = scr3d.load().reconstruct("examples/head-01.png")
        >>> result
        PhotoReconstruction(name='head-01.png', yaw_deg=10, pitch_deg=-8, roll_deg=1)
        >>> tuple(result.depth.shape), tuple(result.relight(x=0.8).shape)
        ((64, 64), (3, 256, 256))
    """

    sample: Sample
    network: PhotoGeometricAutoencoder

    def __repr__(self) -> str:
        pitch, yaw, roll = (f"{math.degrees(angle):.0f}" for angle in self.view.rotation_rad[0].tolist())
        return f"PhotoReconstruction(name={self.name!r}, yaw_deg={yaw}, pitch_deg={pitch}, roll_deg={roll})"

    @property
    def name(self) -> str:
        """Name of the photo."""
        return self.sample.name

    @property
    def maps(self) -> Reconstruction:
        """All maps as a batch of one."""
        return self.sample.result

    @property
    def factors(self) -> Factors:
        """The four factors as a batch of one."""
        return self.sample.result.factors

    @property
    def crop(self) -> Float[Tensor, "3 side side"]:
        """The square that was cut out of the photo, in the photo's own resolution, RGB in [0, 1]."""
        return self.sample.crop

    @property
    def view(self) -> View:
        """Where the object is turned to: angles in radians, shifts in camera distances (batch of one)."""
        return self.factors.view

    @property
    def light(self) -> Light:
        """The light, in the canonical frame (batch of one)."""
        return self.factors.light

    @property
    def depth(self) -> Float[Tensor, "size size"]:
        """Depth in the photo's view, in camera distances; meaningful where `mask` is true."""
        return self.maps.view_depth[0]

    @property
    def mask(self) -> Bool[Tensor, "size size"]:
        """Pixels of the photo that the surface covers."""
        return self.maps.mask[0]

    @property
    def image(self) -> Float[Tensor, "3 size size"]:
        """The four factors rendered again, clamped to [0, 1]; 0 outside of `mask`."""
        return self.maps.image[0].clamp(0, 1)

    @property
    def confidence(self) -> Float[Tensor, "size size"]:
        """Expected error of every pixel (images counted in [-1, 1])."""
        return self.maps.confidence[0]

    @property
    def canonical_depth(self) -> Float[Tensor, "size size"]:
        """Depth of the canonical surface, in camera distances."""
        return self.factors.canonical_depth[0]

    @property
    def albedo(self) -> Float[Tensor, "3 size size"]:
        """Canonical colour without light, RGB in [0, 1]."""
        return self.factors.canonical_albedo[0]

    @property
    def normal(self) -> Float[Tensor, "3 size size"]:
        """Canonical unit normals (x right, y down, z forward), pointing away from the camera."""
        return self.maps.canonical_normal[0]

    @property
    def shading(self) -> Float[Tensor, "size size"]:
        """Canonical shading: ambient + diffuse * max(0, n.l); may exceed 1."""
        return self.maps.canonical_shading[0]

    @property
    def mesh(self) -> Mesh:
        """The surface as triangles, y up, painted with the canonical image."""
        return self.sample.mesh()

    @torch.no_grad()
    def in_photo(self, canonical: Float[Tensor, "channels size size"]) -> Float[Tensor, "channels size size"]:
        """A canonical map as the photo shows it: `r.in_photo(r.albedo)` lies over `r.depth` pixel by pixel.

        Args:
            canonical: any channels, such as albedo or shading. Vectors keep their canonical directions.

        Raises:
            ShapeError: it does not have the size of the other maps.
        """
        size = self.depth.shape
        if canonical.ndim != 3 or canonical.shape[1:] != size:
            raise ShapeError(f"expected a canonical map [channels, {size[0]}, {size[1]}], got {list(canonical.shape)}")
        camera, span = self.sample.camera, self.sample.depth_range
        return render(self.factors.canonical_depth, self.view, canonical[None], camera, span).image[0]

    def relight(
        self,
        *,
        x: float | None = None,
        y: float | None = None,
        ambient: float | None = None,
        diffuse: float | None = None,
        size: int = ReconstructOptions.render_size,
    ) -> Float[Tensor, "3 size size"]:
        """The object in the photo's view under another light; what is None stays as in the photo.

        Args:
            x: slope of the light's way to the right: above 0, it comes from the left.
            y: slope downwards: above 0, it comes from above.
            ambient: strength in [0, 1].
            diffuse: strength in [0, 1].
            size: of the picture in pixels.

        Raises:
            ConfigError: nothing is given, or a value is out of its range.
        """
        return self._picture(SetLight(ambient=ambient, diffuse=diffuse, x=x, y=y), size)

    def turn(
        self,
        yaw_deg: float = 0.0,
        pitch_deg: float = 0.0,
        roll_deg: float = 0.0,
        *,
        size: int = ReconstructOptions.render_size,
    ) -> Float[Tensor, "3 size size"]:
        """The object seen from another side, counted from its front: `turn()` is the frontal view.

        Args:
            yaw_deg: about the upright axis, in [-80, 80] degrees.
            pitch_deg: about the axis from left to right, likewise.
            roll_deg: about the line of sight, in [-180, 180] degrees.
            size: of the picture in pixels.

        Raises:
            ConfigError: a value is out of its range.
        """
        return self._picture(SetView(pitch=pitch_deg, yaw=yaw_deg, roll=roll_deg, x=0.0, y=0.0, z=0.0), size)

    def turntable(self, options: ReconstructOptions | None = None) -> Float[Tensor, "frames 3 height width"]:
        """Frames of the object that swings to the left and right; `options` say how many and how large."""
        return turntable(*self._scene, frame_options(options or ReconstructOptions()))

    def relighting(self, options: ReconstructOptions | None = None) -> Float[Tensor, "frames 3 height width"]:
        """Frames of a light that circles around the camera."""
        return relighting(*self._scene, frame_options(options or ReconstructOptions()))

    def textureless(self, size: int = ReconstructOptions.render_size) -> Float[Tensor, "3 size size"]:
        """The bare shape in the photo's view."""
        options = frame_options(ReconstructOptions(render_size=size))
        return textureless(*self._scene, options, view=self.view)[0]

    def export(
        self,
        path: str | Path,
        texture: Texture | str = Texture.IMAGE,
        trim_border: bool = True,
        watertight: bool = False,
        frame_width_mm: float | None = None,
    ) -> Path:
        """Write the mesh; returns where it is.

        Args:
            path: ends with .glb, .obj or .ply, which names the format.
            texture: image (lit as in the photo), albedo (unlit) or photo (the photo itself where it shows the
                surface).
            trim_border: leave out the walls that lead from the object to the border depth.
            watertight: close the mesh with walls and a flat plate behind, for printing.
            frame_width_mm: width of the square in millimetres; then GLB files are in metres, OBJ and PLY in
                millimetres. Without it, the unit is this width.

        Raises:
            ConfigError: the ending or the texture is unknown, the width is out of range, or nothing can be written
                there.
        """
        if str(texture) not in list(Texture):
            raise ConfigError(f"the texture is one of {', '.join(Texture)}; got {texture!r}")
        check_frame_width(frame_width_mm)
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            export_mesh(self.sample.mesh(Texture(texture), trim_border, watertight), path, frame_width_mm)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
        return path

    def save(self, folder: str | Path, options: ReconstructOptions | None = None) -> Path:
        """Write the files that `scr3d reconstruct` writes for a photo; returns the folder.

        Args:
            folder: appears when it is whole. One of an earlier result is replaced.
            options: what is written.

        Raises:
            ConfigError: the folder holds something else, or nothing can be written there.
        """
        # Resolved, since a folder is written beside its place and renamed.
        folder = Path(folder).resolve()
        empty = folder.is_dir() and not any(folder.iterdir())
        if folder.exists() and not (empty or is_output_folder(folder)):
            raise ConfigError(f"{folder} is not the result of an earlier reconstruction; choose a new folder")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with torch.no_grad(), atomic_folder(folder) as temporary:
                write_outputs(temporary, self.sample, options or ReconstructOptions())
        except OSError as error:
            raise ConfigError(f"cannot write to {folder}: {error.strerror or error}; choose another") from error
        return folder

    @property
    def _scene(self) -> tuple[Factors, Camera, DepthRange]:
        return self.factors, self.sample.camera, self.sample.depth_range

    def _picture(self, change: OnValue, size: int) -> Float[Tensor, "3 size size"]:
        factors, camera, depth_range = self._scene
        options = frame_options(ReconstructOptions(render_size=size))
        return picture(change.value(factors, self.network), camera, depth_range, options)[0]


@dataclass(frozen=True)
class PhotoIntervention:
    """A photo's reconstruction before and after interventions.

    Attributes:
        result: graph, embeddings, what follows and how far everything moved.
        request: what was asked for.
        before: as the model explains the photo.
        after: with the interventions.
        image: the square that was intervened on.
    """

    result: InterventionResult = field(repr=False)
    request: Request = field(repr=False)
    before: PhotoReconstruction
    after: PhotoReconstruction
    image: Float[Tensor, "3 size size"] = field(repr=False)

    def table(self) -> str:
        """What became of every factor, as text."""
        return table(self.result)

    def save(self, folder: str | Path) -> Path:
        """Write strip.png and interventions.json, as `scr3d intervene` does; returns the folder.

        Raises:
            ConfigError: the folder holds something else, or nothing can be written there.
        """
        folder = Path(folder).resolve()
        check_out(folder)
        write_intervention(folder, self.image, self.request, self.result)
        return folder


def with_result(reconstruction: PhotoReconstruction, result: Reconstruction) -> PhotoReconstruction:
    """The same photo with other maps."""
    return replace(reconstruction, sample=replace(reconstruction.sample, result=result))
