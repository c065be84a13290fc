"""Make the figures of docs/method.md, docs/own-photos.md and docs/architecture.md with the shipped model.

python tools/make_method_figures.py
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

import scr3d
from scr3d.export.media import colorize, normal_colors
from scr3d.factors import Factors, View
from scr3d.interventions import ScaleDepth, SetView
from scr3d.models.autoencoder import explain
from scr3d.training.step import flip_canonical

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
HEAD, OTHER = ROOT / "examples" / "head-01.png", ROOT / "examples" / "head-11.png"
BLUE, ORANGE, GREY, INK = "#dbe7fb", "#fde7c8", "#eeeeee", "#222222"


def main() -> None:
    plt.rcParams |= {"svg.hashsalt": "scr3d"}
    model = scr3d.load()
    face = model.reconstruct(HEAD)
    sheet(IMAGES / "method-steps.png", steps(model, face), columns=4)
    sheet(IMAGES / "method-edits.png", edits(model, face), columns=3)
    sheet(IMAGES / "traps.png", traps(model, face), columns=5)
    data_path(IMAGES / "data-path.svg")


def steps(model: scr3d.Model, face: scr3d.PhotoReconstruction) -> dict[str, Tensor]:
    """One photo on its way through the model."""
    maps = face.maps
    flipped = rendered(model, flip_canonical(face.factors))
    return {
        "photo": model.prepare(HEAD)[0],
        "depth": colorize(-face.canonical_depth, *span(-face.canonical_depth)),
        "normals": normal_colors(face.normal),
        "light on them\n(shading)": (face.shading / face.shading.max().clamp(min=1)).expand(3, -1, -1),
        "albedo": face.albedo,
        "albedo x shading\n(canonical image)": maps.canonical_image[0],
        "turned by the view\n(compared with the photo)": face.image,
        "from mirrored maps\n(compared as well)": flipped,
    }


def edits(model: scr3d.Model, face: scr3d.PhotoReconstruction) -> dict[str, Tensor]:
    """What can be done with the four factors."""
    what_if = model.intervene(HEAD, do=f"albedo=from:{OTHER}")
    return {
        "its front": face.turn(),
        "turned": face.turn(35),
        "light from the left": face.relight(x=1.0, y=0.0, ambient=0.2, diffuse=0.9),
        "light from the right": face.relight(x=-1.0, y=0.0, ambient=0.2, diffuse=0.9),
        "bare shape": face.textureless(),
        "another albedo as a cause": what_if.after.image,
    }


def traps(model: scr3d.Model, face: scr3d.PhotoReconstruction) -> dict[str, Tensor]:
    """What goes wrong in training, set by hand on a good reconstruction: picture and bare shape."""
    depth = face.canonical_depth[None]
    mean = depth.mean()
    spoiled = {
        "as it should be": face.factors,
        "view has run away": SetView(yaw=60.0, pitch=-20.0).value(face.factors, model.network),
        "flat": ScaleDepth(0.05).value(face.factors, model.network),
        "inside out": replace(face.factors, canonical_depth=(2 * mean - depth).clamp(0.9, 1.1)),
        "too deep": ScaleDepth(1.8).value(face.factors, model.network),
    }
    pictures = {}
    for name, factors in spoiled.items():
        changed = replace(face, sample=replace(face.sample, result=replace(face.maps, factors=factors)))
        view = View(factors.view.rotation_rad, factors.view.translation)
        shape = replace(changed.sample.result.factors, view=view)
        sample = replace(changed.sample, result=replace(changed.maps, factors=shape))
        pictures[name] = torch.cat([enlarged(rendered(model, factors)), replace(face, sample=sample).textureless()], 1)
    return pictures


def rendered(model: scr3d.Model, factors: Factors) -> Tensor:
    """The picture that factors make."""
    blank = torch.ones(1, model.size, model.size)
    return explain(factors, model.network.camera, model.config, blank, blank[:, ::4, ::4]).image[0].clamp(0, 1)


def enlarged(image: Tensor, size: int = 256) -> Tensor:
    return torch.nn.functional.interpolate(image[None], (size, size), mode="bilinear", align_corners=True)[0]


def span(values: Tensor) -> tuple[float, float]:
    inner = values[:, 2:-2]
    return float(inner.min()), float(inner.max())


def sheet(path: Path, pictures: dict[str, Tensor], columns: int) -> None:
    """Pictures in rows, with their names below."""
    rows = -(-len(pictures) // columns)
    shape = next(iter(pictures.values())).shape
    height = 1.7 * shape[1] / shape[2] + 0.45
    figure, axes = plt.subplots(rows, columns, figsize=(1.7 * columns, height * rows), squeeze=False)
    for axis, (name, picture) in zip(axes.flat, pictures.items(), strict=True):
        axis.imshow(picture.clamp(0, 1).movedim(0, -1).numpy(), interpolation="bilinear")
        axis.set_title(name, fontsize=8, y=-0.05 * shape[2] / shape[1], va="top", color=INK)
        axis.axis("off")
    figure.subplots_adjust(0, 0.45 / height / rows, 1, 1, 0.04, 0.45 / (height - 0.45))
    figure.savefig(path, dpi=150, facecolor="white", bbox_inches="tight", pad_inches=0.03, metadata={"Software": None})
    plt.close(figure)


def data_path(path: Path) -> None:
    """The way of the data through training, and which module does what."""
    figure, axis = plt.subplots(figsize=(11, 5.0))
    axis.set_xlim(0, 110)
    axis.set_ylim(0, 50)
    axis.axis("off")
    axis.set_aspect("equal")
    box(axis, 1, 27, 12, "photos", "data", GREY)
    for number, name in enumerate(("view", "depth", "light", "albedo")):
        y = 42 - 10 * number
        box(axis, 19, y, 13, f"encoder f1:\n{name}", "models.encoders", BLUE)
        box(axis, 58, y, 13, f"decoder f2:\n{name}", "models.decoders", BLUE)
        arrow(axis, (13, 30), (19, y + 3))
        arrow(axis, (32, y + 3), (38, 30))
        arrow(axis, (52, 30), (58, y + 3))
    box(axis, 38, 27, 14, "mixing along\nthe causal order", "causal", ORANGE)
    box(axis, 77, 22, 14, "lit surface:\ncanonical image", "rendering.shading", BLUE)
    box(axis, 77, 38, 14, "turned by the view:\nrendered image", "rendering.heightfield", BLUE)
    box(axis, 96, 38, 13, "losses with\nconfidence", "losses, training.step", GREY)
    for y in (35, 25, 15):
        arrow(axis, (71, y), (77, 25))
    arrow(axis, (71, 45), (77, 42.5))
    arrow(axis, (84, 28), (84, 36.2))
    arrow(axis, (91, 41), (96, 41))
    box(axis, 77, 2, 14, "metrics, meshes,\npages, studio", "metrics, export, studio", GREY)
    arrow(axis, (84, 22), (84, 8), dashed=True)
    axis.text(85, 14, "import the model,\nnever the other way", fontsize=8, color=INK)
    box(axis, 1, 4, 24, "confidence network:\nexpected error per pixel", "models.confidence", BLUE)
    arrow(axis, (7, 27), (7, 10))
    axis.text(27, 6.2, "to the losses", fontsize=8, color=INK)
    figure.savefig(path, facecolor="white", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def box(axis: plt.Axes, x: float, y: float, width: float, text: str, module: str, color: str) -> None:
    axis.add_patch(FancyBboxPatch((x, y), width, 6, "round,pad=0,rounding_size=0.8", facecolor=color, edgecolor=INK))
    axis.text(x + width / 2, y + 3, text, ha="center", va="center", fontsize=7.5, color=INK)
    under = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # the name stays legible where an arrow passes
    axis.text(
        x + width / 2,
        y - 0.6,
        module,
        ha="center",
        va="top",
        fontsize=6,
        family="monospace",
        color="#555555",
        bbox=under,
    )


def arrow(axis: plt.Axes, start: tuple[float, float], end: tuple[float, float], dashed: bool = False) -> None:
    style = "dashed" if dashed else "solid"
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=INK, linestyle=style, lw=0.9))


if __name__ == "__main__":
    main()
