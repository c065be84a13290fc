"""Skins, hair line and eyebrows of the heads, in the texture space of the MakeHuman base mesh."""

from __future__ import annotations

import json
import re
import tarfile

import numpy as np
from PIL import Image, ImageFilter

from head_mesh import SKIN, BaseMesh, Mesh

PROXIES = "package/public/data/proxies/eyebrows/"
SKINS = "package/public/data/skins/"
TEXTURE_SIZE = 512
"""Rows and columns of the skins."""
BROW_SCALE = 4
"""The eyebrows are kept at this multiple of the skins' resolution."""


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
