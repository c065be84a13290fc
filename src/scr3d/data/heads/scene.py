"""How a head is shown: view, light, gaze and what is behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from scr3d.data.heads.draws import Draws, Stream

YAW_SIGMA_RAD, YAW_LIMIT_RAD = math.radians(20.0), math.radians(60.0)
PITCH_SIGMA_RAD, PITCH_LIMIT_RAD = math.radians(7.0), math.radians(15.0)
ROLL_SIGMA_RAD, ROLL_LIMIT_RAD = math.radians(4.0), math.radians(12.0)
SHIFT_SIGMA, SHIFT_LIMIT = 0.003, 0.006
SIZE_SIGMA, SIZE_LIMIT = 0.02, 0.04
"""Spread of the head's size about HEAD_HEIGHT: how exactly a face detector would crop."""

LIGHT_LIMIT_RAD = math.radians(60.0)
"""Largest angle between the light and the head's axis."""

SHAPES = 5
"""Soft discs and boxes in a background."""
NOISE_CELLS = (2.0, 4.0, 8.0, 16.0)
"""Scales of the background's noise, in cells per frame."""
BACKGROUND_HEAD = 24
"""Columns before the shapes: base (3), slope (2, 3), noise amplitudes (4), tone of the noise (3), stripes (9)."""
BACKGROUND_COLUMNS = BACKGROUND_HEAD + SHAPES * 10

DRAWS = 256
"""Random numbers reserved for one scene."""


@dataclass(frozen=True)
class Scenes:
    """A batch of scenes.

    Attributes:
        rotation_rad: pitch, yaw, roll; R = Rz Ry Rx about (0, 0, 1).
        translation: shift in units of the camera distance; z is 0.
        rotation: the matrix R.
        head_scale: factor on the head's size.
        light: ambient, diffuse, lx, ly in the head's frame; the light travels along (lx, ly, 1).
        gaze: shift of the irises in eyeball radii, x to the person's left and y up.
        background_seed: seed of the background's noise.
        background: parameters of the background, see `BACKGROUND_COLUMNS`.
    """

    rotation_rad: Float[np.ndarray, "batch 3"]
    translation: Float[np.ndarray, "batch 3"]
    rotation: Float[np.ndarray, "batch 3 3"]
    head_scale: Float[np.ndarray, " batch"]
    light: Float[np.ndarray, "batch 4"]
    gaze: Float[np.ndarray, "batch 2"]
    background_seed: Int[np.ndarray, " batch"]
    background: Float[np.ndarray, "batch columns"]


def draw_scenes(seed: int, split: str, indices: Int[np.ndarray, " batch"]) -> Scenes:
    """The scenes of the given samples, each determined by (seed, split, index) alone."""
    draws = Draws(seed, split, Stream.SCENE, indices, DRAWS)
    rotation_rad = np.concatenate(
        [
            draws.normal(PITCH_SIGMA_RAD, PITCH_LIMIT_RAD),
            draws.normal(YAW_SIGMA_RAD, YAW_LIMIT_RAD),
            draws.normal(ROLL_SIGMA_RAD, ROLL_LIMIT_RAD),
        ],
        axis=1,
    )
    shift = draws.normal(SHIFT_SIGMA, SHIFT_LIMIT, 2)
    rotation = rotation_matrices(rotation_rad)
    head_scale = np.exp(draws.normal(SIZE_SIGMA, SIZE_LIMIT))[:, 0]
    return Scenes(
        rotation_rad=rotation_rad,
        translation=np.concatenate([shift, np.zeros_like(shift[:, :1])], axis=1),
        rotation=rotation,
        head_scale=head_scale,
        light=_light(draws, rotation),
        gaze=draws.normal(0.08, 0.2, 2) * [1.0, 0.5],
        background_seed=(draws.unit(1)[:, 0] * 2**31).astype(np.int64),
        background=_background(draws),
    )


def rotation_matrices(rotation_rad: Float[np.ndarray, "batch 3"]) -> Float[np.ndarray, "batch 3 3"]:
    """R = Rz Ry Rx in double precision (the tensor version is `scr3d.geometry.rotation_matrix`)."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(rotation_rad).T, np.cos(rotation_rad).T
    rows = [
        cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx,
        sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx,
        -sy, cy * sx, cy * cx,
    ]  # fmt: skip
    return np.stack(rows, axis=1).reshape(-1, 3, 3)


def _light(draws: Draws, rotation: np.ndarray) -> np.ndarray:
    """A light fixed to the room, mostly from above, told in the frame of the head.

    A turned head is lit from the side then, as in photographs; a light that would come from beside or behind
    the face is moved to `LIGHT_LIMIT_RAD`, since neither the model nor a photographer puts it there.
    """
    ambient = draws.uniform(0.3, 0.65)
    diffuse = draws.uniform(0.4, 0.75)
    excess = np.maximum((ambient + diffuse) / 1.15, 1.0)
    slope_x = draws.normal(0.45, 0.9)
    slope_y = 0.2 + draws.normal(0.35, 0.7)
    room = np.concatenate([slope_x, slope_y, np.ones_like(slope_x)], axis=1)
    # R transposed, written out: a matrix product may round differently in another batch.
    head = [sum(rotation[:, row, column] * room[:, row] for row in range(3)) for column in range(3)]
    across = np.hypot(head[0], head[1])
    angle = np.minimum(np.arctan2(across, head[2]), LIGHT_LIMIT_RAD)
    slope = np.tan(angle) / np.maximum(across, 1e-9)
    return np.stack([(ambient / excess)[:, 0], (diffuse / excess)[:, 0], head[0] * slope, head[1] * slope], axis=1)


def _background(draws: Draws) -> np.ndarray:
    """Parameters of a random smooth gradient, noise, stripes and soft shapes."""
    base = draws.uniform(0.1, 0.9) + draws.normal(0.1, 0.25, 3)
    slopes = np.tile(draws.normal(0.15, 0.35, 2), 3) + draws.normal(0.06, 0.15, 6)
    amplitude = draws.unit(len(NOISE_CELLS)) ** 2 * np.array([0.4, 0.35, 0.28, 0.2])
    tone = 1 + draws.normal(0.2, 0.5, 3)
    angle, phase = draws.uniform(0, math.pi), draws.uniform(0, 2 * math.pi)
    frequency = np.exp(draws.uniform(math.log(4.0), math.log(24.0)))
    striped = draws.unit(1) < 0.3
    stripes = np.concatenate(
        [
            np.cos(angle) * frequency,
            np.sin(angle) * frequency,
            phase,
            draws.uniform(0.0, 4.0),
            np.where(striped, draws.normal(0.12, 0.3) + draws.normal(0.05, 0.12, 3), 0.0),
        ],
        axis=1,
    )
    head = np.concatenate([base, slopes, amplitude, tone, stripes], axis=1)
    columns = [head, np.zeros((len(head), BACKGROUND_HEAD - head.shape[1]))]
    for _ in range(SHAPES):
        columns.append(_shape(draws))
    return np.concatenate(columns, axis=1)


def _shape(draws: Draws) -> np.ndarray:
    """One soft disc or box: centre (2), half axes (2), direction (2), opacity, colour (3); a box is negative."""
    center = draws.uniform(-1.1, 1.1, 2)
    axes = np.exp(draws.uniform(math.log(0.08), math.log(0.8), 2))
    angle = draws.uniform(0, math.pi)
    box = np.where(draws.unit(1) < 0.5, -1.0, 1.0)
    opacity = np.where(draws.unit(1) < 0.5, draws.uniform(0.2, 1.0), 0.0)
    color = np.clip(draws.uniform(0.05, 0.95) + draws.normal(0.1, 0.25, 3), 0, 1)
    return np.concatenate([center, axes * [1.0, 1.0], np.cos(angle), np.sin(angle), box * opacity, color], axis=1)
