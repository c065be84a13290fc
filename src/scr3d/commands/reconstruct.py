"""`scr3d reconstruct`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from scr3d.commands.parsing import parse
from scr3d.export.options import ReconstructOptions
from scr3d.reconstruct import reconstruct_files


@dataclass(frozen=True)
class ReconstructArgs:
    """Options of `scr3d reconstruct`."""

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Photos, or folders of photos, each showing one object that fills the frame."""
    out: Path
    """Folder of the results."""
    model: Path | None = None
    """Run or model folder, or hf://owner/name; without it, the model that comes with scr3d."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    threads: int = 0
    """CPU threads; 0 takes all."""
    options: ReconstructOptions = field(default_factory=ReconstructOptions)
    """What is written."""


def run(args: list[str]) -> None:
    """Parse the options and reconstruct."""
    given = parse(
        ReconstructArgs,
        args,
        "reconstruct",
        "Turn photos into depth, normals, albedo, light, meshes and a gallery page.",
    )
    reconstruct_files(given.images, given.out, given.model, given.device, given.options, given.threads)
