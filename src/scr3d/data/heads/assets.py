"""The assets of the synthetic heads: base mesh, morph targets, skins, hair line and eyebrows."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from scr3d.errors import DataError

HEAD_HEIGHT = 0.148
"""Distance from chin to crown, in units of the camera distance: about 85 % of the frame's height."""
EYE_DEPTH = 0.966
"""Canonical depth of the eyeballs' centres; it puts the surface evenly around the depth of rotation, 1."""

DARK_TONE, LIGHT_TONE = np.array([1.0, 0.64, 0.48]), np.array([1.0, 0.76, 0.62])
"""Usual ratio of red, green and blue of dark and light skin."""
TONE_PULL = 0.75
"""How far a skin's tone is pulled there, 0 to 1."""


@dataclass(frozen=True)
class HeadAssets:
    """What `tools/build_head_assets.py` made, with the adjacency that the kernels need.

    Lengths are decimetres in the source's frame: x to the person's left, y up, z to the front.

    Attributes:
        vertices_dm: base mesh.
        triangles: vertex numbers.
        triangle_uvs: position in the skin box in [0, 1] (v downward); for eyes, in eyeball radii (y up).
        triangle_material: 0 skin, 1 eye, 2 inside of the mouth.
        target_names: one per morph target, `KIND/NAME`, pairs end in `-` and `+`.
        morph_offsets: for every vertex, where its entries start in the next two.
        morph_targets: number of the target that moves the vertex.
        morph_deltas_dm: displacement at full strength.
        incident_offsets: for every vertex, where its triangles start in the next.
        incident_triangles: triangles around the vertex.
        skins: textures, one per skin.
        skin_names: AGE_ETHNICITY_SEX of every skin.
        skin_gains: factor that brings each skin's tone to that of photographs.
        hair_mask: where hair grows, in the frame of the skins.
        brow_masks: opacity of the eyebrows in the brow box.
        brow_box: left, top, right, bottom of the brow box in the skin box's units.
        chin, crown, eyes: numbers of landmark vertices.
    """

    vertices_dm: Float[np.ndarray, "vertices 3"]
    triangles: Int[np.ndarray, "triangles 3"]
    triangle_uvs: Float[np.ndarray, "triangles 3 2"]
    triangle_material: Int[np.ndarray, " triangles"]
    target_names: tuple[str, ...]
    morph_offsets: Int[np.ndarray, " vertices+1"]
    morph_targets: Int[np.ndarray, " entries"]
    morph_deltas_dm: Float[np.ndarray, "entries 3"]
    incident_offsets: Int[np.ndarray, " vertices+1"]
    incident_triangles: Int[np.ndarray, " incidences"]
    skins: UInt8[np.ndarray, "skins height width 3"]
    skin_names: tuple[str, ...]
    skin_gains: Float[np.ndarray, "skins 3"]
    hair_mask: UInt8[np.ndarray, "height width"]
    brow_masks: UInt8[np.ndarray, "brows brow_height brow_width"]
    brow_box: Float[np.ndarray, " 4"]
    chin: int
    crown: int
    eyes: Int[np.ndarray, " eye_vertices"]


@lru_cache(maxsize=1)
def head_assets() -> HeadAssets:
    """Load the shipped assets.

    Raises:
        DataError: a file is missing or damaged.
    """
    folder = resources.files("scr3d") / "assets" / "heads"
    try:
        with np.load(io.BytesIO((folder / "heads.npz").read_bytes()), allow_pickle=False) as archive:
            raw = {name: archive[name] for name in archive.files}
        with Image.open(io.BytesIO((folder / "skins.png").read_bytes())) as image:
            strip = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"the assets of the synthetic heads cannot be read ({error}); install scr3d again") from error
    vertices, triangles = raw["vertices_dm"], raw["triangles"]
    box = raw["skin_box"].astype(np.float64)
    material = raw["triangle_material"].astype(np.int32)
    uvs = raw["triangle_uvs"].astype(np.float64)
    uvs[material != 1] = _in_box(uvs[material != 1], box)
    brow = raw["brow_box"].astype(np.float64)
    corners = _in_box(np.array([[brow[0], brow[3]], [brow[2], brow[1]]]), box)
    morph = _by_vertex(raw, len(vertices))
    order = np.argsort(triangles.ravel(), kind="stable")
    height, width = raw["hair_mask"].shape
    skins = strip.reshape(-1, height, width, 3)
    middle = np.abs(vertices[:, 0]) < 0.02
    front = middle & (vertices[:, 2] > 1.2) & (vertices[:, 1] < 6.6)
    return HeadAssets(
        vertices_dm=vertices,
        triangles=triangles,
        triangle_uvs=uvs.astype(np.float32),
        triangle_material=material,
        target_names=tuple(str(name) for name in raw["target_names"]),
        morph_offsets=morph[0],
        morph_targets=morph[1],
        morph_deltas_dm=morph[2],
        incident_offsets=_offsets(triangles.ravel(), len(vertices)),
        incident_triangles=(order // 3).astype(np.int32),
        skins=skins,
        skin_names=tuple(str(name) for name in raw["skin_names"]),
        skin_gains=_skin_gains(skins),
        hair_mask=raw["hair_mask"],
        brow_masks=raw["brow_masks"],
        brow_box=corners.ravel().astype(np.float32),
        chin=int(np.flatnonzero(front)[vertices[front, 1].argmin()]),
        crown=int(np.flatnonzero(middle)[vertices[middle, 1].argmax()]),
        eyes=np.unique(triangles[material == 1]).astype(np.int32),
    )


def _skin_gains(skins: np.ndarray) -> np.ndarray:
    """Some skins are painted too red, the dark ones too dark: pull the face's mean tone towards a usual one."""
    height, width = skins.shape[1:3]
    face = skins[:, height * 2 // 5 : height * 3 // 5, width * 2 // 5 : width * 4 // 5].mean((1, 2)) / 255
    dark = face[:, :1] < 0.6
    usual = np.where(dark, DARK_TONE, LIGHT_TONE) * face[:, :1] * np.where(dark, 1.2, 1.0)
    return (usual / face) ** TONE_PULL


def _in_box(uv: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Texture coordinates (v up) to positions in the skin box (v down)."""
    left, top, right, bottom = box
    return np.stack([(uv[..., 0] - left) / (right - left), (1 - uv[..., 1] - top) / (bottom - top)], axis=-1)


def _offsets(numbers: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=count))]).astype(np.int32)


def _by_vertex(raw: dict[str, np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort the targets' rows by vertex: offsets, target numbers, displacements."""
    rows, offsets = raw["target_rows"].astype(np.int64), raw["target_offsets"]
    targets = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.argsort(rows[:, 0], kind="stable")
    deltas = (rows[order, 1:] * raw["delta_unit_dm"].item()).astype(np.float32)
    return _offsets(rows[:, 0], count), targets[order].astype(np.int32), deltas
