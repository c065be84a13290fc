"""`scr3d export-onnx`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from scr3d.commands.parsing import parse

ABOUT = """Write a model as ONNX files, for programs without torch, and compare them with torch.

explain.onnx takes images to depth, albedo, view, light, normals, shading, canonical image and confidence; onnx.json
says what the numbers mean. The picture in the photo's view is not part of it: that is the renderer's work."""


@dataclass(frozen=True)
class ExportOnnxArgs:
    """Options of `scr3d export-onnx`."""

    out: Path
    """Folder of the files; an earlier export is replaced."""
    model: tyro.conf.Positional[Path | None] = None
    """Run or model folder, or hf://owner/name; without it, the model that comes with scr3d."""
    parts: bool = False
    """Write encode.onnx, mix.onnx and decode.onnx as well, to change embeddings in between."""


def run(args: list[str]) -> None:
    """Parse the options and export."""
    given = parse(ExportOnnxArgs, args, "export-onnx", ABOUT)
    from rich.console import Console

    from scr3d.export.onnx_files import export_onnx
    from scr3d.models.io import load_model

    network = load_model(given.model)
    console = Console(highlight=False, markup=False, emoji=False)
    with console.status("", spinner="line") as status:
        report = export_onnx(network, given.out, given.parts, status.update)
    console.print(f"largest differences from torch, opset {report.opset}:")
    for name, difference in report.differences.items():
        console.print(f"  {name:18} {difference:.1e}")
    for path in report.files:
        console.print(f"{given.out / path.name}: {path.stat().st_size / 1e6:.1f} MB", soft_wrap=True)
