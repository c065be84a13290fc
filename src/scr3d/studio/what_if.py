"""Interventions asked for in the page: what is done, what follows, before and after."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from scr3d.errors import ConfigError
from scr3d.export.media import colorize, to_uint8
from scr3d.factors import FACTORS, Factor
from scr3d.interventions import (
    Intervention,
    InterventionResult,
    MixEmbedding,
    NoisyEmbedding,
    Role,
    ValueFrom,
    intervene,
)
from scr3d.interventions.report import in_words
from scr3d.interventions.strip import COLOURS, lit_ball, view_card
from scr3d.models.autoencoder import BORDER_COLUMNS, PhotoGeometricAutoencoder, Reconstruction
from scr3d.studio.editing import Edits
from scr3d.studio.markup import box, escape, figure, image, row, table


class Way(StrEnum):
    """What is done to a factor; the values are what the page calls it."""

    CAUSE = "on the cause: embedding from the other photo"
    NOISE = "on the cause: noise on its embedding"
    VALUE = "on the value: from the other photo"
    HAND = "on the value: as set by hand under Edit"


SHORT = {Way.CAUSE: "do", Way.NOISE: "do", Way.VALUE: "set", Way.HAND: "set"}
MEANING = {
    Role.REPLACED: "replaced",
    Role.SET: "set",
    Role.FOLLOWS: "follows",
    Role.UNCHANGED: "stays",
    Role.UNEXPECTED: "changed against the graph",
}


@dataclass(frozen=True)
class Question:
    """An intervention as it is chosen in the page.

    Attributes:
        factor: which.
        way: what is done to it.
        share: of the other photo's embedding, in [0, 1].
        sigma: strength of the noise, in standard deviations of the embedding.
        seed: of the noise.
        edits: values set by hand.
    """

    factor: Factor
    way: Way
    share: float = 1.0
    sigma: float = 1.0
    seed: int = 0
    edits: Edits = field(default_factory=Edits)


def build(question: Question, other: Float[Tensor, "1 3 size size"] | None) -> Intervention:
    """The intervention that is meant.

    Args:
        question: what is chosen.
        other: the other photo.

    Raises:
        ConfigError: the other photo or the value by hand is missing.
    """
    factor = question.factor
    if question.way is Way.NOISE:
        return NoisyEmbedding(factor, question.sigma, question.seed)
    if question.way is Way.HAND:
        found = [item for item in question.edits.interventions() if item.factor is factor]
        if not found:
            moved = "albedo has no slider" if factor is Factor.ALBEDO else "move one of its sliders under Edit first"
            raise ConfigError(f"no value of the {factor.name.lower()} is set by hand: {moved}")
        return found[0]
    if other is None:
        raise ConfigError(f"taking the {factor.name.lower()} from another photo needs one: add a second photo")
    if question.way is Way.CAUSE:
        return MixEmbedding(factor, other, question.share)
    return ValueFrom(factor, other)


@torch.no_grad()
def ask(
    model: PhotoGeometricAutoencoder,
    photo: Float[Tensor, "1 3 size size"],
    other: Float[Tensor, "1 3 size size"] | None,
    question: Question,
) -> InterventionResult:
    """Intervene on one photo.

    Raises:
        ConfigError: as `build`, or a number is out of its range.
    """
    return intervene(model, photo, [build(question, other)])


def answer(model: PhotoGeometricAutoencoder, result: InterventionResult) -> str:
    """The result as HTML: the pictures, and every factor before and after with what became of it."""
    states = [state.reconstruction for state in (result.before, result.after)]
    whole = [
        figure(image(_rgba(state), f"the picture {when}"), when)
        for state, when in zip(states, ("before", "after"), strict=True)
    ]
    roles = result.roles()
    rows = []
    for factor in FACTORS:
        role, pictures = roles[factor], _pictures(model, factor, states)
        name = factor.name.lower()
        shown = [image(one, f"{name} {when}") for one, when in zip(pictures, ("before", "after"), strict=True)]
        tag = f'<b style="background:{COLOURS[role]};color:#fff;padding:0 .35em;border-radius:3px">{MEANING[role]}</b>'
        words = "<br>".join(escape(part) for part in in_words(result, factor).split(", "))
        rows.append([f"{name}<br>{tag}", *shown, words])
    return box(row(whole)) + box(table(("", "before", "after", "moved"), rows))


def summary(question: Question, other: str | None, result: InterventionResult) -> str:
    """One sentence: what was done, which factors follow, which stay."""
    name = question.factor.name.lower()
    source = {
        Way.CAUSE: f"cause from {other}" + (f" ({question.share:.0%})" if question.share < 1 else ""),
        Way.NOISE: f"cause with noise of {question.sigma:g}",
        Way.VALUE: f"value from {other}",
        Way.HAND: "value by hand",
    }[question.way]
    by_role: dict[Role, list[str]] = {}
    for factor, role in result.roles().items():
        by_role.setdefault(role, []).append(factor.name.lower())
    follow, stay = by_role.get(Role.FOLLOWS, []), by_role.get(Role.UNCHANGED, [])
    text = f"{SHORT[question.way]}({name}: {source}). "
    text += f"{_listed(follow)} follow{'s' if len(follow) == 1 else ''}; " if follow else "Nothing follows; "
    kept = f"{_listed(stay)} stay{'s' if len(stay) == 1 else ''}" if stay else "nothing stays"
    text += f"{kept} the same to the last bit."
    unexpected = by_role.get(Role.UNEXPECTED, [])
    return text + (f" {_listed(unexpected)} changed against the graph." if unexpected else "")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _rgba(state: Reconstruction) -> UInt8[ndarray, "height width 4"]:
    """The rendered image, transparent where nothing is visible."""
    pixels = to_uint8(state.image[0])
    opaque = (255 * state.mask[0].to(torch.uint8)).cpu().numpy()
    return torch.cat([torch.from_numpy(pixels), torch.from_numpy(opaque)[..., None]], dim=2).numpy()


def _pictures(
    model: PhotoGeometricAutoencoder, factor: Factor, states: list[Reconstruction]
) -> list[UInt8[ndarray, "height width 3"]]:
    """A factor by itself, before and after, in the same colours."""
    match factor:
        case Factor.VIEW:
            return [to_uint8(view_card(state, model.depth_range, model.camera.fov_deg)) for state in states]
        case Factor.LIGHT:
            lights = [state.factors.light for state in states]
            white = max(1.0, *(float(light.ambient[0] + light.diffuse[0]) for light in lights))
            return [to_uint8(lit_ball(light[:1], white)) for light in lights]
        case Factor.DEPTH:
            depths = [state.factors.canonical_depth[0] for state in states]
            inner = torch.cat([depth[:, BORDER_COLUMNS:-BORDER_COLUMNS].flatten() for depth in depths])
            return [to_uint8(colorize(-depth, -float(inner.max()), -float(inner.min()))) for depth in depths]
        case Factor.ALBEDO:
            return [to_uint8(state.factors.canonical_albedo[0]) for state in states]
