"""The readiness report as one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import numpy as np
from PIL import Image

from scr3d.data.store import Store
from scr3d.files import write_bytes
from scr3d.photos.readiness import EXAMPLES, Finding, Readiness
from scr3d.photos.writing import sheet, thumbnail

BARS = 24
BAR_PX, HISTOGRAM_HEIGHT_PX = 14, 80
OVERVIEW_IMAGES = 72
STYLE = """
:root { color-scheme: light dark; --fine: #2e7d32; --advice: #1565c0; --warning: #b26a00; --stop: #c62828; }
@media (prefers-color-scheme: dark) {
  :root { --fine: #81c784; --advice: #64b5f6; --warning: #ffb74d; --stop: #ef9a9a; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } .verdict { font-size: 1.2rem; font-weight: 600; }
section { border-top: 1px solid #8884; padding: 0.8rem 0; }
h2 { font-size: 1rem; margin: 0; } p { margin: 0.2rem 0; }
.level { display: inline-block; min-width: 5.5rem; font-weight: 700; }
.fine { color: var(--fine); } .advice { color: var(--advice); }
.warning { color: var(--warning); } .stop { color: var(--stop); }
img { max-width: 100%; image-rendering: pixelated; margin-top: 0.5rem; } svg { margin-top: 0.5rem; max-width: 100%; }
rect { fill: currentColor; opacity: 0.6; } text { fill: currentColor; font: 11px system-ui, sans-serif; }
"""


def write_page(path: Path, readiness: Readiness, store: Store) -> None:
    """Write the report, whole or not at all."""
    splits = ", ".join(f"{count:,} {name}" for name, count in readiness.counts.items())
    shown = np.unique(np.linspace(0, len(store) - 1, min(len(store), OVERVIEW_IMAGES)).astype(int)).tolist()
    body = "\n".join(_section(finding, store) for finding in readiness.findings)
    name = html.escape(str(readiness.folder))
    text = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Readiness of {name}</title><style>{STYLE}</style></head><body>
<h1>Is {name} ready to be learned from?</h1>
<p class="verdict">{html.escape(readiness.verdict)}</p>
<p>{splits}; {readiness.size} x {readiness.size} pixels</p>
{body}
<section><h2>Some of the images</h2>{_picture(shown, store, "images from all over the training split")}</section>
</body></html>
"""
    write_bytes(path, text.encode())


def _section(finding: Finding, store: Store) -> str:
    level = finding.level.value
    parts = [f'<section><h2><span class="level {level}">{level}</span>{html.escape(finding.title)}</h2>']
    parts.append(f"<p>{html.escape(finding.text)}</p>")
    if finding.values is not None:
        parts.append(_histogram(*finding.values))
    if finding.examples:
        parts.append(_picture(finding.examples, store, f"examples: {finding.title}"))
    return "".join([*parts, "</section>"])


def _picture(indices: list[int], store: Store, about: str) -> str:
    tiles = [thumbnail(store.arrays["image"][index]) for index in indices]
    stream = io.BytesIO()
    Image.fromarray(sheet(tiles, EXAMPLES)).save(stream, "PNG")
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img alt="{html.escape(about, quote=True)}" src="data:image/png;base64,{data}">'


def _histogram(values: np.ndarray, unit: str) -> str:
    counts, edges = np.histogram(values, BARS)
    width, top = BARS * BAR_PX, max(1, int(counts.max()))
    bars = "".join(
        f'<rect x="{number * BAR_PX}" y="{HISTOGRAM_HEIGHT_PX - height:.1f}" '
        f'width="{BAR_PX - 2}" height="{height:.1f}"/>'
        for number, height in enumerate(HISTOGRAM_HEIGHT_PX * counts / top)
    )
    low, high = (f"{edge:.3g}" for edge in (edges[0], edges[-1]))
    label = html.escape(f"from {low} to {high} {unit}")
    return (
        f'<svg width="{width}" height="{HISTOGRAM_HEIGHT_PX + 16}" role="img" aria-label="{label}">{bars}'
        f'<text x="0" y="{HISTOGRAM_HEIGHT_PX + 13}">{low}</text>'
        f'<text x="{width / 2}" y="{HISTOGRAM_HEIGHT_PX + 13}" text-anchor="middle">{html.escape(unit)}</text>'
        f'<text x="{width}" y="{HISTOGRAM_HEIGHT_PX + 13}" text-anchor="end">{high}</text></svg>'
    )
