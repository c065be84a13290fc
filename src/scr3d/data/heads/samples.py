"""Samples of the synthetic heads, in memory and as a store on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from torch import Tensor

from scr3d.data.heads.assets import head_assets
from scr3d.data.heads.config import GENERATOR, HeadsConfig
from scr3d.data.heads.identity import Identities, draw_identities
from scr3d.data.heads.photo_like import photo_like
from scr3d.data.heads.render import render
from scr3d.data.heads.scene import Scenes, draw_scenes
from scr3d.data.store import ArraySpec, StoreInfo, StoreWriter, encode_depth
from scr3d.factors import Light, View
from scr3d.geometry.camera import Camera, DepthRange

VERSION = 1
"""Raised whenever the same seed would give other samples."""


@dataclass(frozen=True)
class HeadSample:
    """A batch of samples with everything that is true about them.

    Attributes:
        image: RGB in [0, 1].
        target: with `look` photo, the photo without what a model is to see through; else None.
        depth: z in the input view at pixel centres, 0 outside the head.
        foreground: pixels whose centre sees the head.
        albedo: RGB in the input view, unlit, 0 outside.
        normal: unit normals in the input view, pointing away from the camera, 0 outside.
        light: as rendered, in the head's frame.
        view: motion from the canonical frame to the camera's.
        identities: who is shown; one row per distinct identity.
        identity_rows: row of `identities` for every sample.
    """

    image: Float[Tensor, "batch 3 size size"]
    target: Float[Tensor, "batch 3 size size"] | None
    depth: Float[Tensor, "batch size size"]
    foreground: Bool[Tensor, "batch size size"]
    albedo: Float[Tensor, "batch 3 size size"]
    normal: Float[Tensor, "batch 3 size size"]
    light: Light
    light_slopes: Float[Tensor, "batch 2"]
    view: View
    identities: Identities
    identity_rows: np.ndarray


def sample(config: HeadsConfig, indices: np.ndarray, device: torch.device | str = "cpu") -> HeadSample:
    """Make the samples with the given indices; each depends on (seed, split, index) alone."""
    indices = np.asarray(indices, np.int64)
    numbers, rows = np.unique(indices // config.views, return_inverse=True)
    identities = draw_identities(config.seed, config.split, numbers)
    scenes = draw_scenes(config.seed, config.split, indices)
    rendering = render(
        identities,
        rows,
        scenes,
        Camera(config.size, config.size, config.fov_deg),
        subsamples=config.subsamples,
        textured=config.background == "textured",
        device=torch.device(device),
    )
    light = torch.from_numpy(scenes.light.astype(np.float32)).to(device)
    image, target = rendering.image, None
    if config.look == "photo":
        pictures = photo_like(
            _bytes(image),
            rendering.foreground.cpu().numpy(),
            scenes.rotation_rad[:, 1],
            config.seed,
            config.split,
            indices,
        )
        image, target = (torch.from_numpy(seen).to(device).movedim(-1, 1).float() / 255 for seen in pictures)
    return HeadSample(
        image=image,
        target=target,
        depth=rendering.depth,
        foreground=rendering.foreground,
        albedo=rendering.albedo,
        normal=rendering.normal,
        light=Light.from_slopes(light[:, 0], light[:, 1], light[:, 2:]),
        light_slopes=light[:, 2:],
        view=_view(scenes, device),
        identities=identities,
        identity_rows=rows,
    )


def _view(scenes: Scenes, device: torch.device | str) -> View:
    return View(
        torch.from_numpy(scenes.rotation_rad.astype(np.float32)).to(device),
        torch.from_numpy(scenes.translation.astype(np.float32)).to(device),
    )


def store_info(config: HeadsConfig) -> StoreInfo:
    """Description of the store of a configuration."""
    s = config.size
    arrays = {
        "image": ArraySpec("uint8", (s, s, 3)),
        "depth": ArraySpec("uint16", (s, s)),
        "albedo": ArraySpec("uint8", (s, s, 3)),
        "normal": ArraySpec("int8", (s, s, 3)),
        "light": ArraySpec("float32", (4,)),
        "view": ArraySpec("float32", (6,)),
        "identity": ArraySpec("int32", ()),
        "sex": ArraySpec("float32", ()),
        "age": ArraySpec("float32", ()),
        "ethnicity": ArraySpec("float32", (3,)),
        "skin": ArraySpec("int16", ()),
    }
    source = {"generator": GENERATOR, "version": VERSION, **asdict(config), "images_per_identity": config.views}
    if config.look == "plain":
        del source["look"]  # as in sets that were made before there was another
    else:
        arrays["target"] = ArraySpec("uint8", (s, s, 3))
    return StoreInfo(config.size, config.count, arrays, source=source)


def to_arrays(made: HeadSample) -> dict[str, np.ndarray]:
    """Samples as they are stored; see docs/synthetic-heads.md for the codes."""
    who, rows = made.identities, made.identity_rows
    light = torch.cat([made.light.ambient[:, None], made.light.diffuse[:, None], made.light_slopes], dim=1)
    view = torch.cat([made.view.rotation_rad, made.view.translation], dim=1)
    depth, foreground = made.depth.cpu().numpy(), made.foreground.cpu().numpy()
    return {
        **({} if made.target is None else {"target": _bytes(made.target)}),
        "image": _bytes(made.image),
        "depth": encode_depth(depth, foreground, DepthRange()),
        "albedo": _bytes(made.albedo),
        "normal": (127 * made.normal).round().to(torch.int8).permute(0, 2, 3, 1).cpu().numpy(),
        "light": light.cpu().numpy(),
        "view": view.cpu().numpy(),
        "identity": who.number[rows].astype(np.int32),
        "sex": who.sex[rows].astype(np.float32),
        "age": who.age_years[rows].astype(np.float32),
        "ethnicity": who.ethnicity[rows].astype(np.float32),
        "skin": who.skin[rows].astype(np.int16),
    }


def _bytes(image: Float[Tensor, "batch 3 size size"]) -> np.ndarray:
    return (255 * image).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


class _SpeedColumn(ProgressColumn):
    """Images per second, once it is known."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f} images/s" if speed else "")


def generate(
    config: HeadsConfig,
    out: Path | str,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `out/<split>`; an interrupted run goes on where it stopped.

    Args:
        config: what to make.
        out: folder of the set; the split gets a folder of its own in it.
        device: where to compute.
        progress: called with (done, count) after every block instead of showing a progress bar.

    Returns:
        The folder of the split.

    Raises:
        DataError: the folder holds another data set.
    """
    head_assets()
    folder = Path(out) / config.split
    writer = StoreWriter(folder, store_info(config))
    if progress is not None:
        _write(config, writer, device, progress)
        return folder
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _SpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task(f"heads {config.split}", total=config.count, completed=writer.done)
        _write(config, writer, device, lambda done, count: bar.update(task, completed=done))
    return folder


def _write(
    config: HeadsConfig, writer: StoreWriter, device: torch.device | str, progress: Callable[[int, int], None]
) -> None:
    while writer.done < config.count:
        indices = np.arange(writer.done, min(writer.done + config.block, config.count))
        writer.append(to_arrays(sample(config, indices, device)))
        progress(writer.done, config.count)
