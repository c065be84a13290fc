"""The files of one reconstructed image, by kind of output (`scr3d.export.options.Output`).

photo.png               a copy of the photo with the outline of the square (where it was cut out of one)
input.png               the square crop the model saw
reconstruction.png      the four factors rendered again
view_depth.png          16-bit depth in the input view (near and far are in the file, see `write_depth_png`)
canonical_depth.png     16-bit depth of the canonical surface
view_depth_mm.png, canonical_depth_mm.png   the same in whole millimetres, where the width of the frame is given
depth.png               depth in the input view, in colours
normals.png             canonical normals (outward, y up)
albedo.png, shading.png, canonical_image.png
confidence.png          expected error per pixel, in colours; perceptual_confidence.png likewise, for features
textureless.png         the bare shape in the input view
turntable.*, relighting.*, textureless_turntable.*
mesh.glb, mesh.obj (with mesh.mtl and mesh.png), mesh.ply
overview.png            all of it on one sheet
arrays.npz              every map in floating point
factors.json            view and light, ranges, and what the files hold; written last
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scr3d.data.images import write_png8
from scr3d.export.gallery import GalleryEntry, Picture, mesh_preview
from scr3d.export.media import (
    colorize,
    image_grid,
    normal_colors,
    write_animation,
    write_depth_mm_png,
    write_depth_png,
    write_png,
)
from scr3d.export.mesh import BORDER_COLUMNS, Mesh, export_mesh, mesh_from_depth
from scr3d.export.options import NormalMap, Output, ReconstructOptions, Texture
from scr3d.export.solid import closed
from scr3d.factors import Factors, Light, View
from scr3d.files import atomic_path, read_json, write_json
from scr3d.geometry.camera import Camera, DepthRange
from scr3d.rendering.projection import project_photo
from scr3d.rendering.views import ViewOptions, enlarge, relighting, textureless, turntable

if TYPE_CHECKING:
    from scr3d.models.autoencoder import PhotoGeometricAutoencoder, Reconstruction
    from scr3d.photos.look import Found

FORMAT, VERSION = "scr3d-reconstruction", 1
RECORD = "factors.json"
"""Written last, and with every kind of output."""
MESHES = {Output.MESH: "mesh.glb", Output.OBJ: "mesh.obj", Output.PLY: "mesh.ply"}
IN_MILLIMETRES = ("view_depth_mm.png", "canonical_depth_mm.png")
DOWNLOADS = (
    (Output.MESH, "mesh.glb", "GLB"),
    (Output.OBJ, "mesh.obj", "OBJ"),
    (Output.OBJ, "mesh.mtl", "MTL"),
    (Output.OBJ, "mesh.png", "texture"),
    (Output.PLY, "mesh.ply", "PLY"),
    (Output.DEPTH, "view_depth.png", "depth (16 bit)"),
    (Output.DEPTH, "canonical_depth.png", "canonical depth (16 bit)"),
    (Output.DEPTH, "view_depth_mm.png", "depth (mm)"),
    (Output.DEPTH, "canonical_depth_mm.png", "canonical depth (mm)"),
    (Output.ARRAYS, "arrays.npz", "all maps (NumPy)"),
    (None, "factors.json", "view and light (JSON)"),
    (Output.PICTURES, "overview.png", "overview"),
)


@dataclass(frozen=True)
class Sample:
    """One reconstructed image.

    Attributes:
        name: name of the image file.
        crop: the square crop of the photo, for display.
        result: its reconstruction (batch 1), on the CPU.
        camera: intrinsics of its maps.
        depth_range: of the model.
        model: which model made it, for the record.
        photo: the whole photo with the outline of the crop; None where there is none.
        origin: where in the photo the crop lies, for the record.
    """

    name: str
    crop: Float[Tensor, "3 crop crop"]
    result: Reconstruction
    camera: Camera
    depth_range: DepthRange
    model: str
    photo: UInt8[np.ndarray, "height width 3"] | None = None
    origin: dict[str, Any] | None = None

    @classmethod
    def of(
        cls, found: Found, result: Reconstruction, network: PhotoGeometricAutoencoder, name: str, model: str
    ) -> Sample:
        """What `network`, of the name `model`, has made of a square of the photo `name`."""
        number, several = found.record["number"], found.record["of"] > 1
        name += f", face {number}" if several else ""
        crop = torch.from_numpy(found.shown).movedim(-1, 0).contiguous()
        photo = found.photo if found.record["kind"] == "face" else None
        return cls(name, crop, result, network.camera, network.depth_range, model, photo, found.record)

    def mesh(self, texture: Texture = Texture.IMAGE, trim_border: bool = True, watertight: bool = False) -> Mesh:
        """The canonical surface with a texture, with or without the walls that lead to the border depth, or closed."""
        factors = self.result.factors
        if texture is Texture.PHOTO:
            surface = enlarge(factors, self.camera, self.depth_range, ViewOptions(self.crop.shape[-1], 1, 0.0))
            colors = project_photo(self.crop, factors, surface).color
        else:
            colors = (self.result.canonical_image if texture is Texture.IMAGE else factors.canonical_albedo)[0]
        trim = BORDER_COLUMNS if trim_border else 0
        mesh = mesh_from_depth(factors.canonical_depth[0], colors, self.camera, trim_columns=trim)
        return closed(mesh) if watertight else mesh

    def millimetres(self, frame_width_mm: float) -> float:
        """Millimetres of a unit of depth, if the frame is so wide where the object is."""
        return frame_width_mm * self.camera.focal_px / (self.camera.width - 1)

    @property
    def view_depth_range(self) -> DepthRange:
        """Depths that a turned surface can have in a view: the renderer masks what is beyond."""
        margin = self.depth_range.margin
        return DepthRange(self.depth_range.near - margin, self.depth_range.far + margin)


def write_outputs(folder: Path, sample: Sample, options: ReconstructOptions) -> GalleryEntry:
    """Write the wanted files of one image into an existing folder; returns what the gallery shows of it."""
    result, writes = sample.result, options.writes
    if writes(Output.PICTURES):
        stills = _stills(sample, options)
        for name, image in stills.items():
            write_png(folder / f"{name}.png", image)
        sheet = image_grid(list(stills.values()), columns=5, size=options.render_size // 2)
        write_png(folder / "overview.png", sheet)
        if sample.photo is not None:
            write_png8(folder / "photo.png", sample.photo)
    if writes(Output.DEPTH):
        canonical, seen, mask = result.factors.canonical_depth[0], result.view_depth[0], result.mask[0]
        write_depth_png(folder / "view_depth.png", seen, sample.view_depth_range, mask)
        write_depth_png(folder / "canonical_depth.png", canonical, sample.depth_range)
        if options.frame_width_mm is not None:
            millimetres = sample.millimetres(options.frame_width_mm)
            write_depth_mm_png(folder / "view_depth_mm.png", seen, millimetres, mask)
            write_depth_mm_png(folder / "canonical_depth_mm.png", canonical, millimetres)
    if writes(Output.ANIMATIONS):
        _write_animations(folder, sample, options)
    preview = _write_meshes(folder, sample, options)
    if writes(Output.ARRAYS):
        # Not compressed: that takes ten times as long and saves a seventh.
        with atomic_path(folder / "arrays.npz") as temporary:
            np.savez(temporary, allow_pickle=False, **_arrays(result))
    write_json(folder / RECORD, _record(sample, options))
    left_out = () if options.frame_width_mm is not None else IN_MILLIMETRES
    downloads = [
        (file, label)
        for output, file, label in DOWNLOADS
        if (output is None or writes(output)) and file not in left_out
    ]
    return GalleryEntry(sample.name, folder.name, _pictures(sample, options), downloads, _facts(result), preview)


def is_output_folder(folder: Path) -> bool:
    """Whether the folder was written by `write_outputs`, so that a new run may replace it."""
    try:
        record = read_json(folder / RECORD)
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("format") == FORMAT


def frame_options(options: ReconstructOptions) -> ViewOptions:
    """How views and animations are rendered."""
    trim = BORDER_COLUMNS if options.trim_border else 0
    return ViewOptions(options.render_size, options.frames, options.max_yaw_deg, trim_columns=trim)


def _stills(sample: Sample, options: ReconstructOptions) -> dict[str, Tensor]:
    result, view_options = sample.result, frame_options(options)
    covered = result.mask[0]
    background = torch.full_like(result.image[0], view_options.background)
    near, far = _inner_range(result.factors.canonical_depth[0])
    shape = textureless(result.factors, sample.camera, sample.depth_range, view_options, view=result.factors.view)
    return {
        "input": sample.crop,
        "reconstruction": torch.where(covered, result.image[0], background),
        "depth": torch.where(covered, colorize(-result.view_depth[0], -far, -near), background),
        "normals": normal_colors(result.canonical_normal[0], options.normal_map),
        "albedo": result.factors.canonical_albedo[0],
        "shading": (result.canonical_shading[0] / _white(result)).expand(3, -1, -1),
        "canonical_image": result.canonical_image[0],
        "textureless": shape[0],
        "confidence": _spread(result.confidence[0]),
        "perceptual_confidence": _spread(result.perceptual_confidence[0]),
    }


def _white(result: Reconstruction) -> float:
    """The shading shown as white: 1, or the brightest there is."""
    return max(1.0, float(result.canonical_shading.max()))


def _inner_range(depth: Tensor) -> tuple[float, float]:
    inner = depth[:, BORDER_COLUMNS:-BORDER_COLUMNS]
    return float(inner.min()), float(inner.max())


def _spread(values: Tensor) -> Tensor:
    return colorize(values, float(values.min()), float(values.max()))


def _write_animations(folder: Path, sample: Sample, options: ReconstructOptions) -> None:
    view_options = frame_options(options)
    factors, camera, depth_range = sample.result.factors, sample.camera, sample.depth_range
    for name, frames in (
        ("turntable", turntable(factors, camera, depth_range, view_options)),
        ("relighting", relighting(factors, camera, depth_range, view_options)),
        ("textureless_turntable", textureless(factors, camera, depth_range, view_options)),
    ):
        write_animation(folder / f"{name}{options.animation.suffix}", frames)


def _write_meshes(folder: Path, sample: Sample, options: ReconstructOptions) -> str | None:
    """Write the wanted meshes; returns what the page's viewer shows, if there is a page."""
    if not any(map(options.writes, MESHES)):
        return None
    mesh = sample.mesh(options.texture, options.trim_border, options.watertight)
    for output, name in MESHES.items():
        if options.writes(output):
            export_mesh(mesh, folder / name, options.frame_width_mm)
    if not options.writes(Output.PAGE):
        return None
    depth, trim = sample.result.factors.canonical_depth[0], BORDER_COLUMNS if options.trim_border else 0
    return mesh_preview(depth, mesh.texture_png, sample.camera, sample.depth_range, trim)


def _arrays(result: Reconstruction) -> dict[str, Any]:
    light, view = result.factors.light, result.factors.view
    tensors = {
        "canonical_depth": result.factors.canonical_depth,
        "canonical_albedo": result.factors.canonical_albedo,
        "canonical_normal": result.canonical_normal,
        "canonical_shading": result.canonical_shading,
        "canonical_image": result.canonical_image,
        "image": result.image,
        "view_depth": result.view_depth,
        "mask": result.mask,
        "confidence": result.confidence,
        "perceptual_confidence": result.perceptual_confidence,
        "view_rotation_rad": view.rotation_rad,
        "view_translation": view.translation,
        "light_ambient": light.ambient,
        "light_diffuse": light.diffuse,
        "light_direction": light.direction,
    }
    return {name: tensor[0].numpy() for name, tensor in tensors.items()}


def _record(sample: Sample, options: ReconstructOptions) -> dict[str, Any]:
    result = sample.result
    view, light = result.factors.view, result.factors.light
    pitch, yaw, roll = (math.degrees(angle) for angle in view.rotation_rad[0].tolist())
    ranges = {
        "canonical_depth.png": sample.depth_range,
        "view_depth.png": sample.view_depth_range,
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        "image": sample.name,
        "model": sample.model,
        "size": sample.camera.width,
        "fov_deg": sample.camera.fov_deg,
        "view": {
            "pitch_deg": pitch,
            "yaw_deg": yaw,
            "roll_deg": roll,
            "translation": view.translation[0].tolist(),
        },
        "light": {
            "ambient": float(light.ambient[0]),
            "diffuse": float(light.diffuse[0]),
            "direction": light.direction[0].tolist(),
        },
        "coverage": float(result.mask.float().mean()),
        "crop": sample.origin,
        "refine_steps": options.refine,
        "depth_images": {
            name: {
                "near": span.near,
                "far": span.far,
                "depth": "far - code / 65535 * (far - near); 0: no surface",
            }
            for name, span in ranges.items()
            if options.writes(Output.DEPTH)
        },
        "confidence_range": [float(result.confidence.min()), float(result.confidence.max())],
        "mesh_texture": options.texture.value,
        "mesh_watertight": options.watertight,
        "frame_width_mm": options.frame_width_mm,
        "millimetres_per_unit_of_depth": (
            None if options.frame_width_mm is None else sample.millimetres(options.frame_width_mm)
        ),
        "normal_map": options.normal_map.value,
    }


def _facts(result: Reconstruction) -> tuple[str, ...]:
    pitch, yaw, roll = (math.degrees(angle) for angle in result.factors.view.rotation_rad[0].tolist())
    light = result.factors.light
    return (
        f"view: yaw {yaw:.0f}°, pitch {pitch:.0f}°, roll {roll:.0f}°",
        f"light: ambient {float(light.ambient[0]):.2f}, diffuse {float(light.diffuse[0]):.2f}",
        f"diffuse light from {light_origin(*light.direction[0].tolist())}",
    )


def light_origin(right: float, down: float, forward: float) -> str:
    """Where a light comes from, in words; the arguments are the direction in which it travels."""
    off_deg = math.degrees(math.atan2(math.hypot(right, down), forward))
    if off_deg < 2:
        return "the camera"
    vertical = "" if abs(down) < abs(right) / 4 else "above" if down > 0 else "below"
    horizontal = "" if abs(right) < abs(down) / 4 else "the left" if right > 0 else "the right"
    return f"{' and '.join(filter(None, (vertical, horizontal)))}, {off_deg:.0f}° off the line of sight"


def _pictures(sample: Sample, options: ReconstructOptions) -> list[Picture]:
    animations: list[Picture] = []
    if options.writes(Output.ANIMATIONS):
        suffix = options.animation.suffix
        animations = [
            Picture(f"turntable{suffix}", "Turntable", "under its own light", large=True),
            Picture(f"relighting{suffix}", "Relighting", "a light circles around the camera", large=True),
            Picture(f"textureless_turntable{suffix}", "Textureless turntable", "the bare shape", large=True),
        ]
    if not options.writes(Output.PICTURES):
        return animations
    sigma = sample.result.confidence
    green = "up" if options.normal_map is NormalMap.OPENGL else "down"
    photo = [] if sample.photo is None else [Picture("photo.png", "Photo", "where the square is", large=True)]
    return [
        Picture("input.png", "Input", "square crop", large=True),
        Picture("reconstruction.png", "Reconstruction", "the four factors rendered again", large=True),
        *photo,
        *animations,
        Picture("depth.png", "Depth", "input view; bright is near"),
        Picture("normals.png", "Normals", f"red faces right, green {green}, blue the viewer"),
        Picture("albedo.png", "Albedo", "colour without light"),
        Picture("shading.png", "Shading", f"white is {_white(sample.result):.2f}"),
        Picture("canonical_image.png", "Canonical image", "albedo times shading, seen from the front"),
        Picture("textureless.png", "Textureless view", "the bare shape in the input view"),
        Picture(
            "confidence.png",
            "Confidence",
            f"expected error {float(sigma.min()):.2f} (dark) to {float(sigma.max()):.2f} (bright)",
        ),
        Picture("perceptual_confidence.png", "Feature confidence", "expected error of perceptual features"),
    ]


def single(result: Reconstruction, index: int) -> Reconstruction:
    """One image of a batch as a batch of one, on the CPU in float32."""
    from dataclasses import fields, replace

    def pick(tensor: Tensor) -> Tensor:
        one = tensor[index : index + 1].detach().cpu()
        return one if one.dtype == torch.bool else one.float()

    factors = result.factors
    maps = {field.name: pick(getattr(result, field.name)) for field in fields(result) if field.name != "factors"}
    view, light = factors.view, factors.light
    return replace(
        result,
        factors=Factors(
            View(pick(view.rotation_rad), pick(view.translation)),
            pick(factors.canonical_depth),
            Light(pick(light.ambient), pick(light.diffuse), pick(light.direction)),
            pick(factors.canonical_albedo),
        ),
        **maps,
    )
