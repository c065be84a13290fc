"""One HTML page that shows reconstructions; it needs nothing but the files beside it and works from disk."""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scr3d.data.store import encode_depth
from scr3d.files import write_bytes
from scr3d.geometry.camera import Camera, DepthRange

PREVIEW_SIZE = 128
"""Rows of the mesh in the page at most: its vertices are numbered with 16 bits."""


@dataclass(frozen=True)
class Picture:
    """A still or an animation (.mp4) in the entry's folder."""

    file: str
    caption: str
    note: str = ""
    large: bool = False


@dataclass(frozen=True)
class GalleryEntry:
    """What the page shows of one image.

    Attributes:
        name: name of the image file; any characters, it is escaped.
        folder: folder of the files, relative to the page.
        pictures: in the order in which they are shown.
        downloads: file name and label of every link.
        facts: short statements, such as the estimated view.
        mesh: made by `mesh_preview`; None shows no interactive mesh.
    """

    name: str
    folder: str
    pictures: Sequence[Picture]
    downloads: Sequence[tuple[str, str]] = ()
    facts: Sequence[str] = ()
    mesh: str | None = None


def mesh_preview(
    canonical_depth: Float[Tensor, "height width"],
    texture_png: bytes,
    camera: Camera,
    depth_range: DepthRange,
    trim_columns: int,
) -> str:
    """The mesh as JSON for the page's viewer: 16-bit depth (as in depth images) and texture, both in base64.

    The texture is inlined because browsers do not let WebGL read image files of a page opened from disk.
    """
    depth = canonical_depth.detach().cpu().float()
    shrink = max(1.0, max(camera.height, camera.width) / PREVIEW_SIZE)
    if shrink > 1:
        size = (round(camera.height / shrink), round(camera.width / shrink))
        depth = F.interpolate(depth[None, None], size, mode="bilinear", align_corners=True)[0, 0]
    codes = encode_depth(depth.numpy(), depth.numpy() > 0, depth_range)
    return json.dumps(
        {
            "rows": depth.shape[0],
            "columns": depth.shape[1],
            "near": depth_range.near,
            "far": depth_range.far,
            "trim": math.ceil(trim_columns / shrink),
            "tangent": math.tan(math.radians(camera.fov_deg) / 2),
            "depth": base64.b64encode(codes.astype("<u2").tobytes()).decode("ascii"),
            "texture": "data:image/png;base64," + base64.b64encode(texture_png).decode("ascii"),
        }
    )


def write_gallery(
    path: Path,
    entries: Sequence[GalleryEntry],
    *,
    title: str = "3D from single images",
    lead: str = "",
    skipped: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the page.

    Args:
        path: the page; the entries' folders lie next to it.
        entries: what to show.
        title: heading, plain text.
        lead: a sentence below the heading, plain text.
        skipped: names of images that could not be used, and why.
    """
    resources = files("scr3d.export")
    style = resources.joinpath("gallery.css").read_text(encoding="utf-8")
    script = resources.joinpath("gallery.js").read_text(encoding="utf-8")
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(title)}</title>",
        '<link rel="icon" href="data:,">',
        f"<style>\n{style}</style></head>",
        f"<body><h1>{_text(title)}</h1>",
        f'<p class="lead">{_text(lead)}</p>',
        _navigation(entries),
        *(_article(number, entry) for number, entry in enumerate(entries)),
        _skipped(skipped),
        f"<script>\n{script}</script></body></html>\n",
    ]
    write_bytes(path, "\n".join(parts).encode("utf-8"))


def _navigation(entries: Sequence[GalleryEntry]) -> str:
    if len(entries) < 2:
        return ""
    links = [
        f'<a href="#image-{number}" title="{_text(entry.name)}">'
        f'<img src="{_address(entry, entry.pictures[0].file)}" alt="{_text(entry.name)}" loading="lazy"></a>'
        for number, entry in enumerate(entries)
        if entry.pictures
    ]
    return f'<nav aria-label="Images">{"".join(links)}</nav>'


def _article(number: int, entry: GalleryEntry) -> str:
    large = [_figure(entry, picture) for picture in entry.pictures if picture.large]
    if entry.mesh is not None:
        large.insert(min(2, len(large)), _viewer(entry.mesh))
    small = [_figure(entry, picture) for picture in entry.pictures if not picture.large]
    facts = " ".join(f"<span>{_text(fact)}</span>" for fact in entry.facts)
    links = "".join(
        f'<a href="{_address(entry, file)}" download>{_text(label)}</a> ' for file, label in entry.downloads
    )
    return "\n".join(
        [
            f'<article id="image-{number}"><h2>{_text(entry.name)}</h2>',
            f'<p class="facts">{facts}</p>',
            f'<div class="tiles large">{"".join(large)}</div>',
            f'<div class="tiles">{"".join(small)}</div>',
            f'<p class="downloads">{links}</p></article>',
        ]
    )


def _figure(entry: GalleryEntry, picture: Picture) -> str:
    return f"<figure>{_medium(entry, picture)}{_caption(picture.caption, picture.note)}</figure>"


def _medium(entry: GalleryEntry, picture: Picture) -> str:
    address = _address(entry, picture.file)
    label = f"{_text(picture.caption)} of {_text(entry.name)}"
    if PurePosixPath(picture.file).suffix == ".mp4":
        ways = "loop muted playsinline controls"
        return f'<video src="{address}" aria-label="{label}" {ways} preload="metadata"></video>'
    return f'<img src="{address}" alt="{label}" loading="lazy">'


def _viewer(mesh: str) -> str:
    """The interactive mesh, hidden until the script has found WebGL; without it there is the turntable."""
    # A closing tag inside the JSON would end the script element.
    safe = mesh.replace("</", "<\\/")
    return (
        f'<figure class="viewer" hidden><script type="application/json">{safe}</script>'
        "<figcaption>3D model<small>drag or use the arrow keys to turn it</small>"
        '<label><input type="checkbox"> shape only</label></figcaption></figure>'
    )


def _caption(caption: str, note: str) -> str:
    small = f"<small>{_text(note)}</small>" if note else ""
    return f"<figcaption>{_text(caption)}{small}</figcaption>"


def _skipped(skipped: Sequence[tuple[str, str]]) -> str:
    if not skipped:
        return ""
    items = "".join(f"<li><strong>{_text(name)}</strong>: {_text(reason)}</li>" for name, reason in skipped)
    return f'<section class="skipped"><h2>Skipped ({len(skipped)})</h2><ul>{items}</ul></section>'


def _address(entry: GalleryEntry, file: str) -> str:
    # The leading dot keeps a folder named like "data:x" from being read as a scheme.
    return _text("./" + quote(f"{entry.folder}/{file}"))


def _text(value: str) -> str:
    return html.escape(value, quote=True)
