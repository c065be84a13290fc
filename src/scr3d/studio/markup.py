"""Small pieces of HTML for the panels; everything that comes from elsewhere is escaped, colours fit light and dark."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from scr3d.export.media import COMPRESSION

LINE = "rgba(128,128,128,.35)"
SMALL = "font-size:.8em;line-height:1.35"


def escape(text: object) -> str:
    """Text that is safe inside of HTML and of quoted attributes."""
    return html.escape(str(text))


def png_bytes(pixels: UInt8[np.ndarray, "height width channels"]) -> bytes:
    """Pixels as the content of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=COMPRESSION)
    return stream.getvalue()


def image(pixels: UInt8[np.ndarray, "height width channels"], about: str, style: str = "width:100%") -> str:
    """An image inside of the page, with words for those who do not see it."""
    source = base64.b64encode(png_bytes(pixels)).decode("ascii")
    return (
        f'<img src="data:image/png;base64,{source}" alt="{escape(about)}" title="{escape(about)}" '
        f'style="display:block;border-radius:3px;{style}">'
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are HTML, the first of every row is its heading."""
    cell = f"padding:.25em .35em;border-bottom:1px solid {LINE};vertical-align:middle;text-align:left"
    top = "".join(f'<th scope="col" style="{cell}">{text}</th>' for text in head)
    lines = []
    for first, *rest in rows:
        others = "".join(f'<td style="{cell}">{text}</td>' for text in rest)
        lines.append(f'<tr><th scope="row" style="{cell};font-weight:600">{first}</th>{others}</tr>')
    heading = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    return (
        f'<div style="overflow-x:auto"><table style="border-collapse:collapse;width:100%;{SMALL}">'
        f"{heading}<tbody>{''.join(lines)}</tbody></table></div>"
    )


def box(content: str) -> str:
    """Content with the margins of the panel's other parts."""
    return f'<div style="margin:0 .75em .6em">{content}</div>'


def note(text: str) -> str:
    """A line of small print; the text is escaped."""
    return box(f'<div style="{SMALL};opacity:.75">{escape(text)}</div>')


def figure(content: str, caption: str) -> str:
    """A picture (HTML) with words below it."""
    return (
        f'<figure style="margin:0;min-width:0;flex:1">{content}'
        f'<figcaption style="{SMALL};opacity:.75;text-align:center">{escape(caption)}</figcaption></figure>'
    )


def row(parts: Sequence[str]) -> str:
    """Pieces of HTML side by side."""
    return f'<div style="display:flex;gap:.5em">{"".join(parts)}</div>'
