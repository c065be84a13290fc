"""The picture of an intervention: cause and effects, before and after, side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import wrap
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.export.media import colorize, normal_colors
from scr3d.factors import FACTORS, Factor, Light
from scr3d.files import atomic_path
from scr3d.geometry.camera import Camera, DepthRange
from scr3d.interventions.apply import InterventionResult, Role, State
from scr3d.interventions.report import Request, in_words
from scr3d.models.autoencoder import BORDER_COLUMNS, Reconstruction
from scr3d.rendering import render, shade

# Okabe and Ito's colours, which people with any kind of colour vision tell apart.
COLOURS = {
    Role.REPLACED: "#D55E00",
    Role.SET: "#0072B2",
    Role.FOLLOWS: "#E69F00",
    Role.UNCHANGED: "#8A8F98",
    Role.UNEXPECTED: "#CC79A7",
}
LEGEND = {
    Role.REPLACED: "cause: embedding replaced",
    Role.SET: "value set",
    Role.FOLLOWS: "effect: follows along the graph",
    Role.UNCHANGED: "same to the last bit",
}
WORDS = COLOURS | {Role.FOLLOWS: "#A36B00", Role.UNCHANGED: "#6B717B"}
"""The same for words, dark enough on white."""
INK, PALE = "#22262E", "#C9CDD4"
CELL_IN, GAP_IN, LEFT_IN = 1.5, 0.14, 0.5
TOP_IN, BETWEEN_IN, BOTTOM_IN = 0.92, 0.16, 0.95
DOTS_PER_INCH = 120
LINE_CHARACTERS = 125
CARD_PX, CARD_HALF_PX, GRID_STEP_PX = 257, 92, 23
BALL_BACKGROUND = 0.2
NODES = {Factor.VIEW: (0.2, 0.8), Factor.DEPTH: (0.8, 0.8), Factor.LIGHT: (0.2, 0.2), Factor.ALBEDO: (0.8, 0.2)}
"""Places of the factors in the picture of the graph."""
Picture = Float[Tensor, "3 height width"]


def write_strip(path: Path, image: Float[Tensor, "3 size size"], request: Request, result: InterventionResult) -> None:
    """Draw the first image of a result as a labelled PNG, whole or not at all.

    Args:
        path: the file.
        image: the input.
        request: what was asked for.
        result: what came of it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = _columns(request, result)
    width = LEFT_IN + (len(columns) + 1) * (CELL_IN + GAP_IN) + GAP_IN
    height = TOP_IN + 2 * CELL_IN + BETWEEN_IN + BOTTOM_IN
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)

    def cell(column: int, row: int) -> Any:
        left = LEFT_IN + column * (CELL_IN + GAP_IN)
        bottom = BOTTOM_IN + (1 - row) * (CELL_IN + BETWEEN_IN)
        axes = figure.add_axes((left / width, bottom / height, CELL_IN / width, CELL_IN / height))
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    _show(cell(0, 0), image, PALE, 1.0).set_title("input", fontsize=10, color=INK)
    _draw_graph(cell(0, 1), result)
    for number, (title, factor, pictures) in enumerate(columns, start=1):
        role = None if factor is None else result.roles()[factor]
        # What is made of factors has a thin frame; the factors themselves show their roles.
        for row, picture in enumerate(pictures):
            coloured = role is not None and row == 1
            axes = _show(cell(number, row), picture, COLOURS[role] if coloured else PALE, 3.5 if coloured else 1.0)  # type: ignore[index]
            if row == 0:
                bold = "bold" if factor is not None else "normal"
                axes.set_title(title, fontsize=10, color=INK if role is None else WORDS[role], fontweight=bold)
        note = _note(result, factor, pictures)
        axes.set_xlabel(note, fontsize=7.5, color=INK if role is None else WORDS[role], labelpad=6)
    _write_words(figure, request, result, (width, height))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH)


def _columns(request: Request, result: InterventionResult) -> list[tuple[str, Factor | None, tuple[Picture, Picture]]]:
    """Title, factor (None for what is made of several) and the pictures before and after."""
    states = (result.before, result.after)
    config = request.config
    inner = torch.cat(
        [s.reconstruction.factors.canonical_depth[0, :, BORDER_COLUMNS:-BORDER_COLUMNS].flatten() for s in states]
    )
    near, far = float(inner.min()), float(inner.max())
    white = max(1.0, *(float(s.reconstruction.canonical_shading[0].max()) for s in states))
    bright = max(1.0, *(float(_brightest(s.reconstruction.factors.light)) for s in states))

    def pair(draw: Callable[[Reconstruction], Tensor]) -> tuple[Picture, Picture]:
        before, after = (draw(state.reconstruction).detach().cpu() for state in states)
        return before, after

    return [
        ("reconstruction", None, pair(_on_white)),
        ("canonical view", None, pair(lambda r: r.canonical_image[0])),
        ("view", Factor.VIEW, pair(lambda r: view_card(r, config.depth_range, config.fov_deg))),
        ("depth", Factor.DEPTH, pair(lambda r: colorize(-r.factors.canonical_depth[0], -far, -near))),
        ("normals", None, pair(lambda r: normal_colors(r.canonical_normal[0]))),
        ("light", Factor.LIGHT, pair(lambda r: lit_ball(r.factors.light[:1], bright))),
        ("shading", None, pair(lambda r: (r.canonical_shading[0] / white).expand(3, -1, -1))),
        ("albedo", Factor.ALBEDO, pair(lambda r: r.factors.canonical_albedo[0])),
    ]


def _on_white(reconstruction: Reconstruction) -> Picture:
    image = reconstruction.image[0]
    return torch.where(reconstruction.mask[0], image, torch.ones_like(image))


def _brightest(light: Light) -> Tensor:
    return light.ambient[0] + light.diffuse[0]


def view_card(reconstruction: Reconstruction, depth_range: DepthRange, fov_deg: float) -> Float[Tensor, "3 card card"]:
    """The view alone: a ruled card in the place of the object, its middle lines red (upright) and blue (level)."""
    like = reconstruction.image
    place = (torch.arange(CARD_PX, device=like.device) - CARD_PX // 2).abs()
    line, middle, inside = place % GRID_STEP_PX < 2, place < 4, place <= CARD_HALF_PX
    card = like.new_full((3, CARD_PX, CARD_PX), 0.94)
    card[:, line] = card[:, :, line] = 0.62
    card[:, :, middle] = like.new_tensor([0.84, 0.30, 0.25])[:, None, None]
    card[:, middle] = like.new_tensor([0.25, 0.45, 0.80])[:, None, None]
    card = torch.where(inside[:, None] & inside, card, torch.ones_like(card))
    plane = like.new_ones(1, CARD_PX, CARD_PX)
    view = reconstruction.factors.view[:1]
    seen = render(plane, view, card[None], Camera(CARD_PX, CARD_PX, fov_deg), depth_range)
    return torch.where(seen.mask, seen.image[0], torch.ones_like(seen.image[0]))


def lit_ball(light: Light, white: float) -> Float[Tensor, "3 card card"]:
    """The light alone: a ball in it, with `white` the shading that is shown as white."""
    axis = torch.linspace(-1.15, 1.15, CARD_PX, device=light.direction.device)
    x, y = axis.expand(CARD_PX, -1), axis[:, None].expand(-1, CARD_PX)
    outside = (x.square() + y.square()).sqrt() - 1
    z = (1 - x.square() - y.square()).clamp(min=0).sqrt()
    # Normals point into the ball, away from the camera.
    shading = shade(torch.stack([-x, -y, z])[None], light)[0] / white
    cover = (0.5 - outside * CARD_PX / 2.3).clamp(0, 1)
    return (cover * shading + (1 - cover) * BALL_BACKGROUND).expand(3, -1, -1)


def _show(axes: Any, picture: Picture, frame: str, line_width: float) -> Any:
    axes.imshow(picture.detach().cpu().clamp(0, 1).movedim(0, -1).numpy(), interpolation="bilinear")
    for spine in axes.spines.values():
        spine.set(color=frame, linewidth=line_width)
    return axes


def _note(result: InterventionResult, factor: Factor | None, pictures: tuple[Picture, Picture]) -> str:
    if factor is None:
        difference = float((pictures[1].clamp(0, 1) - pictures[0].clamp(0, 1)).abs().mean())
        return f"differs by {difference:.3f}" if not torch.equal(*pictures) else "same"
    return "\n".join(in_words(result, factor).split(", "))


def _draw_graph(axes: Any, result: InterventionResult) -> None:
    """The graph of the image; the edges along which the effects went are dark."""
    axes.set(xlim=(0, 1), ylim=(0, 1))
    for spine in axes.spines.values():
        spine.set_visible(False)
    roles, weights = result.roles(), _weights(result.before)
    largest = float(weights.max())
    for child, child_factor in enumerate(FACTORS):
        for parent, parent_factor in enumerate(FACTORS):
            weight = float(weights[child, parent])
            if weight == 0:
                continue
            carried = bool(result.must_follow[0, child]) and (
                parent_factor in result.replaced or _passes_on(result, parent)
            )
            axes.annotate(
                "",
                NODES[child_factor],
                NODES[parent_factor],
                arrowprops={
                    "arrowstyle": "-|>,head_width=0.22,head_length=0.42",
                    "color": INK if carried else PALE,
                    "linewidth": (1.9 if carried else 1.2) * (0.35 + 0.65 * weight / largest),
                    "shrinkA": 12,
                    "shrinkB": 12,
                },
                zorder=2 if carried else 1,
            )
    for factor, place in NODES.items():
        axes.plot(*place, "o", markersize=21, color=COLOURS[roles[factor]], markeredgecolor="white", zorder=3)
        axes.text(*place, factor.value, color="white", fontweight="bold", ha="center", va="center", zorder=4)


def _weights(state: State) -> Float[Tensor, "factor factor"]:
    return state.weights[0].detach().abs().cpu()


def _passes_on(result: InterventionResult, parent: int) -> bool:
    """Whether an effect on a factor reaches that factor's children: under recursive mixing alone."""
    return bool(result.passes_on and result.must_follow[0, parent])


def _write_words(figure: Any, request: Request, result: InterventionResult, inches: tuple[float, float]) -> None:
    width, height = inches
    x = LEFT_IN / width
    words = "   ".join(request.labels).encode("utf-8", "replace").decode()
    lines = wrap(words, LINE_CHARACTERS, break_on_hyphens=False)
    shown = lines[0] + (" …" if len(lines) > 1 else "")
    # File names may hold dollar signs, which are no formulas.
    figure.text(x, 1 - 0.14 / height, shown, fontsize=13, fontweight="bold", color=INK, va="top", parse_math=False)
    config = request.config
    order = f" {config.order}" if config.order else ""
    reach = "all descendants follow" if result.passes_on else "children follow"
    model = f"{request.image}  ·  {config.structure}{order}, {config.mixing} mixing: {reach}"
    figure.text(x, 1 - 0.42 / height, model, fontsize=9, color="#5A606B", va="top", parse_math=False)
    for row, word in enumerate(("before", "after")):
        y = BOTTOM_IN + (1 - row) * (CELL_IN + BETWEEN_IN) + CELL_IN / 2
        figure.text(0.26 / width, y / height, word, rotation=90, fontsize=10, color=INK, ha="center", va="center")
    place = LEFT_IN
    for role, words in LEGEND.items():
        figure.text(place / width, 0.2 / height, "●", fontsize=12, color=COLOURS[role], va="center")
        figure.text((place + 0.17) / width, 0.2 / height, words, fontsize=9, color=INK, va="center")
        place += 0.5 + 0.071 * len(words)
