"""From identities and scenes to pixels."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import warp as wp
from jaxtyping import Bool, Float
from torch import Tensor

from scr3d.data.heads import _geometry_kernels as geometry_kernels
from scr3d.data.heads import _shading_kernels as shading_kernels
from scr3d.data.heads.assets import EYE_DEPTH, HEAD_HEIGHT, head_assets
from scr3d.data.heads.identity import Identities
from scr3d.data.heads.scene import Scenes
from scr3d.geometry.camera import Camera
from scr3d.rendering._kernels import rasterize


@dataclass(frozen=True)
class Rendering:
    """Images and their truth.

    Attributes:
        image: RGB in [0, 1], antialiased.
        depth: z at pixel centres, 0 where there is no foreground.
        foreground: pixels whose centre sees the head.
        albedo: RGB in [0, 1], the mean over the pixel; 0 outside.
        normal: unit vectors pointing away from the camera; 0 outside.
    """

    image: Float[Tensor, "batch 3 size size"]
    depth: Float[Tensor, "batch size size"]
    foreground: Bool[Tensor, "batch size size"]
    albedo: Float[Tensor, "batch 3 size size"]
    normal: Float[Tensor, "batch 3 size size"]


@dataclass(frozen=True)
class _Resident:
    """The assets on one device."""

    textures: Any
    base: wp.array
    morph: tuple[wp.array, wp.array, wp.array]
    incident: tuple[wp.array, wp.array]
    eyes: wp.array
    triangles: Tensor


@lru_cache(maxsize=4)
def _resident(device: str) -> _Resident:
    assets = head_assets()
    textures = shading_kernels.Textures()
    textures.triangles = wp.array(assets.triangles, dtype=wp.int32, device=device)
    textures.uvs = wp.array(assets.triangle_uvs, dtype=wp.vec2, device=device)
    textures.material = wp.array(assets.triangle_material, dtype=wp.int32, device=device)
    textures.skins = wp.array(assets.skins, dtype=wp.uint8, device=device)
    textures.hair = wp.array(assets.hair_mask, dtype=wp.uint8, device=device)
    textures.brows = wp.array(assets.brow_masks, dtype=wp.uint8, device=device)
    textures.brow_box = wp.vec4(*[float(value) for value in assets.brow_box])
    return _Resident(
        textures=textures,
        base=wp.array(assets.vertices_dm, dtype=wp.vec3, device=device),
        morph=(
            wp.array(assets.morph_offsets, dtype=wp.int32, device=device),
            wp.array(assets.morph_targets, dtype=wp.int32, device=device),
            wp.array(assets.morph_deltas_dm, dtype=wp.vec3, device=device),
        ),
        incident=(
            wp.array(assets.incident_offsets, dtype=wp.int32, device=device),
            wp.array(assets.incident_triangles, dtype=wp.int32, device=device),
        ),
        eyes=wp.array(assets.eyes, dtype=wp.int32, device=device),
        triangles=torch.from_numpy(assets.triangles).to(device.replace("cpu:0", "cpu")),
    )


def canonical_heads(identities: Identities, device: torch.device) -> tuple[wp.array, wp.array]:
    """Vertices and normals of every identity in the canonical frame, as Warp arrays [identities, vertices]."""
    name = _warp_name(device)
    resident, assets = _resident(name), head_assets()
    shape = (len(identities.number), len(assets.vertices_dm))
    coefficients: wp.array = wp.array(identities.coefficients.astype(np.float32), dtype=float, device=name)
    morphed, canonical, normals = (wp.empty(shape, dtype=wp.vec3, device=name) for _ in range(3))
    wp.launch(geometry_kernels.morph, shape, [resident.base, *resident.morph, coefficients], [morphed], device=name)
    wp.launch(
        geometry_kernels.center,
        shape,
        [morphed, assets.chin, assets.crown, resident.eyes, HEAD_HEIGHT, EYE_DEPTH],
        [canonical],
        device=name,
    )
    wp.launch(
        geometry_kernels.vertex_normals,
        shape,
        [canonical, resident.textures.triangles, *resident.incident],
        [normals],
        device=name,
    )
    return canonical, normals


def render(
    identities: Identities,
    identity_rows: np.ndarray,
    scenes: Scenes,
    camera: Camera,
    *,
    subsamples: int,
    textured: bool,
    device: torch.device,
) -> Rendering:
    """Render every scene with the identity of its row.

    Args:
        identities: the heads that occur.
        identity_rows: for every scene, the row of its head.
        scenes: views, lights and backgrounds.
        camera: a square camera.
        subsamples: the image is the mean of subsamples x subsamples points a pixel.
        textured: random backgrounds; black ones otherwise.
        device: where to compute.
    """
    wp.init()
    with _torch_stream(device):
        return _render(identities, identity_rows, scenes, camera, subsamples, textured, device)


def _render(
    identities: Identities,
    identity_rows: np.ndarray,
    scenes: Scenes,
    camera: Camera,
    subsamples: int,
    textured: bool,
    device: torch.device,
) -> Rendering:
    name, size = _warp_name(device), camera.width
    resident = _resident(name)
    canonical, normals = canonical_heads(identities, device)
    stage = _stage(scenes, identity_rows, textured, name)
    points, fine_points = _project(canonical, stage, scenes, camera, subsamples, device)
    visible = rasterize(points, resident.triangles, size, size)
    fine_visible = rasterize(fine_points, resident.triangles, size * subsamples, size * subsamples)
    image, albedo, normal = (torch.zeros(len(identity_rows), size, size, 3, device=device) for _ in range(3))
    depth = torch.zeros(len(identity_rows), size, size, device=device)
    wp.launch(
        shading_kernels.shade,
        depth.shape,
        [
            resident.textures,
            _looks(identities, name),
            stage,
            wp.from_torch(points, dtype=wp.vec3),
            normals,
            wp.from_torch(visible, dtype=wp.int64),
            wp.from_torch(fine_visible, dtype=wp.int64),
            subsamples,
        ],
        [*(wp.from_torch(tensor, dtype=wp.vec3) for tensor in (image, albedo, normal)), wp.from_torch(depth)],
        device=name,
    )
    image, albedo, normal = (tensor.permute(0, 3, 1, 2) for tensor in (image.clamp(0, 1), albedo, normal))
    return Rendering(image, depth, visible >= 0, albedo, normal)


def _project(
    canonical: wp.array,
    stage: Any,
    scenes: Scenes,
    camera: Camera,
    subsamples: int,
    device: torch.device,
) -> tuple[Float[Tensor, "batch vertices 3"], Float[Tensor, "batch vertices 3"]]:
    """Vertices in pixels with their depth, at the image's resolution and at that of the supersampling."""
    name = _warp_name(device)
    shape = (len(scenes.translation), canonical.shape[1])
    points, fine_points = (torch.empty(*shape, 3, device=device) for _ in range(2))
    wp.launch(
        geometry_kernels.view,
        shape,
        [
            canonical,
            stage.identity,
            stage.rotation,
            wp.array(scenes.translation.astype(np.float32), dtype=wp.vec3, device=name),
            wp.array(scenes.head_scale.astype(np.float32), dtype=float, device=name),
            camera.focal_px,
            camera.center_px[0],
            subsamples,
        ],
        [wp.from_torch(points, dtype=wp.vec3), wp.from_torch(fine_points, dtype=wp.vec3)],
        device=name,
    )
    return points, fine_points


def _torch_stream(device: torch.device) -> AbstractContextManager[object]:
    """On a GPU, let Warp copy and launch on PyTorch's stream, so that kernels and tensors keep their order."""
    return nullcontext() if device.type == "cpu" else wp.ScopedStream(wp.stream_from_torch(device))


def _warp_name(device: torch.device) -> str:
    return "cpu" if device.type == "cpu" else f"cuda:{device.index or 0}"


def _looks(identities: Identities, device: str) -> Any:
    looks = shading_kernels.Looks()
    looks.skin = wp.array(identities.skin.astype(np.int32), dtype=wp.int32, device=device)
    looks.tint = wp.array(identities.tint.astype(np.float32), dtype=wp.vec3, device=device)
    looks.hair = wp.array(identities.hair.astype(np.float32), dtype=float, device=device)
    looks.brow = wp.array(identities.brow.astype(np.float32), dtype=float, device=device)
    looks.iris = wp.array(identities.iris.astype(np.float32), dtype=float, device=device)
    return looks


def _stage(scenes: Scenes, identity_rows: np.ndarray, textured: bool, device: str) -> Any:
    stage = shading_kernels.Stage()
    stage.identity = wp.array(identity_rows.astype(np.int32), dtype=wp.int32, device=device)
    stage.rotation = wp.array(scenes.rotation.astype(np.float32), dtype=wp.mat33, device=device)
    stage.light = wp.array(scenes.light.astype(np.float32), dtype=wp.vec4, device=device)
    stage.gaze = wp.array(scenes.gaze.astype(np.float32), dtype=wp.vec2, device=device)
    stage.seed = wp.array(scenes.background_seed.astype(np.int32), dtype=wp.int32, device=device)
    stage.background = wp.array(scenes.background.astype(np.float32), dtype=float, device=device)
    stage.textured = int(textured)
    return stage
