"""Who is shown: sex, age, ethnicity, shape, skin, eyes, brows and hair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from scr3d.data.heads.assets import HeadAssets, head_assets
from scr3d.data.heads.draws import Draws, Stream

ETHNICITIES = ("african", "asian", "caucasian")
YOUNG_YEARS, OLD_YEARS = 25.0, 90.0
"""Ages that the targets `young` and `old` stand for."""

SHAPE_SIGMA = 0.3
SHAPE_SCALES = {
    "eyebrows/eyebrows-angle": 0.5,
    "mouth/mouth-angles": 0.6,
    "ears/": 0.8,
    "mouth/mouth-scale-vert": 0.5,
    "chin/chin-jaw-drop": 0.5,
    "chin/chin-prognathism": 0.6,
    "eyes/eye-scale": 0.6,
    "eyes/eye-trans": 0.6,
    "eyes/eye-push": 0.5,
    "eyes/eye-height": 0.5,
    "head/": 0.6,
    "forehead/": 0.7,
}
"""Parameters that at full spread would look odd or angry, with the share of the spread that they keep."""
ASYMMETRY_SIGMA = 0.15
EXPRESSION_SIGMA = {
    "mouth-corner-puller": 0.4,
    "eyebrows-up": 0.25,
    "eyebrows-inner-up": 0.2,
    "eyebrows-down": 0.05,
    "eye-slit": 0.15,
    "eye-closure": 0.1,
    "mouth-elevation": 0.1,
    "mouth-depression": 0.05,
    "mouth-compression": 0.1,
    "mouth-pursing": 0.1,
    "mouth-retraction": 0.1,
}

IRIS_COLORS = np.array(
    [[0.16, 0.08, 0.04], [0.26, 0.14, 0.07], [0.38, 0.24, 0.12], [0.34, 0.36, 0.20],
     [0.30, 0.42, 0.52], [0.42, 0.47, 0.50]]
)  # fmt: skip
"""Dark brown, brown, light brown, green, blue, grey."""
IRIS_SHARES = {
    "african": [0.75, 0.22, 0.03, 0.0, 0.0, 0.0],
    "asian": [0.6, 0.33, 0.07, 0.0, 0.0, 0.0],
    "caucasian": [0.1, 0.25, 0.2, 0.13, 0.22, 0.1],
}
HAIR_COLORS = np.array(
    [[0.05, 0.04, 0.04], [0.11, 0.07, 0.05], [0.22, 0.14, 0.09], [0.42, 0.29, 0.17],
     [0.62, 0.48, 0.30], [0.36, 0.16, 0.08]]
)  # fmt: skip
"""Black, dark brown, brown, dark blond, blond, red."""
HAIR_SHARES = {
    "african": [0.85, 0.15, 0.0, 0.0, 0.0, 0.0],
    "asian": [0.75, 0.22, 0.03, 0.0, 0.0, 0.0],
    "caucasian": [0.1, 0.27, 0.28, 0.18, 0.11, 0.06],
}
GREY_HAIR = np.array([0.55, 0.54, 0.53])

DRAWS = 640
"""Random numbers reserved for one identity."""


@dataclass(frozen=True)
class Identities:
    """A batch of identities.

    Attributes:
        number: which identities.
        sex: 0 female to 1 male.
        age_years: 18 to 80.
        ethnicity: mix of african, asian and caucasian, adding up to 1.
        coefficients: strength of every morph target.
        skin: number of the skin texture.
        tint: factor on the skin's colour.
        hair: opacity and threshold of the hair, then its colour.
        brow: number and opacity of the eyebrows, then their colour.
        iris: radius of iris and pupil in eyeball radii, then the iris' colour.
    """

    number: Int[np.ndarray, " batch"]
    sex: Float[np.ndarray, " batch"]
    age_years: Float[np.ndarray, " batch"]
    ethnicity: Float[np.ndarray, "batch 3"]
    coefficients: Float[np.ndarray, "batch targets"]
    skin: Int[np.ndarray, " batch"]
    tint: Float[np.ndarray, "batch 3"]
    hair: Float[np.ndarray, "batch 5"]
    brow: Float[np.ndarray, "batch 5"]
    iris: Float[np.ndarray, "batch 5"]


def draw_identities(seed: int, split: str, numbers: Int[np.ndarray, " batch"]) -> Identities:
    """The identities with the given numbers, each determined by (seed, split, number) alone."""
    assets = head_assets()
    draws = Draws(seed, split, Stream.IDENTITY, numbers, DRAWS)
    sex = np.where(draws.unit(1) < 0.5, 0.0, 1.0)[:, 0]
    sex = np.abs(sex - np.abs(draws.normal(0.12, 0.35))[:, 0])
    age = draws.uniform(18.0, 80.0)[:, 0]
    ethnicity, main = _ethnicity(draws)
    coefficients = np.zeros((len(numbers), len(assets.target_names)))
    _macro(assets, coefficients, sex, age, ethnicity, draws.normal(0.35, 0.8)[:, 0])
    _signed(coefficients, draws)
    _expression(assets, coefficients, draws)
    skin = _skin(assets, draws, sex, age, main)
    tint = np.exp(draws.normal(0.10, 0.2) + draws.normal(0.02, 0.05, 3)) * assets.skin_gains[skin]
    hair_color = _hair_color(draws, age, main)
    hair = _hair(draws, sex, age, hair_color)
    brow = _brow(assets, draws, sex, hair_color)
    iris = _pick(draws, IRIS_COLORS, IRIS_SHARES, main) * np.exp(draws.normal(0.15, 0.3, 3))
    radii = np.concatenate([draws.uniform(0.47, 0.53), draws.uniform(0.15, 0.23)], axis=1)
    return Identities(
        np.asarray(numbers), sex, age, ethnicity, coefficients, skin, tint, hair, brow,
        np.concatenate([radii, iris], axis=1),
    )  # fmt: skip


def _ethnicity(draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """A mix with one main part, and which part that is."""
    main = np.minimum((draws.unit(1) * 3).astype(int), 2)[:, 0]
    share = draws.uniform(0.65, 1.0)
    rest = draws.unit(1) * (1 - share)
    rows = np.arange(len(main))
    mix = np.empty((len(main), 3))
    mix[rows, main] = share[:, 0]
    mix[rows, (main + 1) % 3] = rest[:, 0]
    mix[rows, (main + 2) % 3] = (1 - share - rest)[:, 0]
    return mix, main


def _macro(
    assets: HeadAssets,
    coefficients: np.ndarray,
    sex: np.ndarray,
    age: np.ndarray,
    ethnicity: np.ndarray,
    weight: np.ndarray,
) -> None:
    """Weights of the heads by ethnicity, sex and age; and of the fat and lean ones."""
    old = np.clip((age - YOUNG_YEARS) / (OLD_YEARS - YOUNG_YEARS), 0, 1)
    shares = {"female": 1 - sex, "male": sex, "young": 1 - old, "old": old}
    shares |= {name: ethnicity[:, i] for i, name in enumerate(ETHNICITIES)}
    shares |= {"minweight": np.maximum(-weight, 0), "maxweight": np.maximum(weight, 0)}
    for column, name in enumerate(assets.target_names):
        if name.startswith("macro/"):
            first, gender, years = name.removeprefix("macro/").split("-")
            coefficients[:, column] = shares[first] * shares[gender] * shares[years]


@lru_cache(maxsize=1)
def _parameters() -> list[tuple[str, int | None, int | None]]:
    """Signed parameters: stem, column of the negative target, column of the positive target."""
    found: dict[str, list[int | None]] = {}
    for column, name in enumerate(head_assets().target_names):
        if name.startswith(("shape/", "asymmetry/")):
            found.setdefault(name[:-1], [None, None])[name.endswith("+")] = column
    return [(stem, negative, positive) for stem, (negative, positive) in found.items()]


def _signed(coefficients: np.ndarray, draws: Draws) -> None:
    """Shape and asymmetry: a positive value drives one target of the pair, a negative one the other."""
    for stem, negative, positive in _parameters():
        name = stem.removeprefix("shape/")
        scale = next((s for prefix, s in SHAPE_SCALES.items() if name.startswith(prefix)), 1.0)
        sigma = ASYMMETRY_SIGMA if stem.startswith("asymmetry/") else SHAPE_SIGMA * scale
        value = draws.normal(sigma, 2.2 * sigma)[:, 0]
        if negative is not None:
            coefficients[:, negative] = np.maximum(-value, 0)
        if positive is not None:
            coefficients[:, positive] = np.maximum(value, 0)


def _expression(assets: HeadAssets, coefficients: np.ndarray, draws: Draws) -> None:
    for column, name in enumerate(assets.target_names):
        if name.startswith("expression/"):
            sigma = EXPRESSION_SIGMA[name.removeprefix("expression/")]
            coefficients[:, column] = np.abs(draws.normal(sigma, 2.5 * sigma))[:, 0]


def _skin(assets: HeadAssets, draws: Draws, sex: np.ndarray, age: np.ndarray, main: np.ndarray) -> np.ndarray:
    """A skin of the same sex, ethnicity and age group (the group limits are soft)."""
    felt_age = age + draws.normal(5.0, 10.0)[:, 0]
    choice = draws.unit(1)[:, 0]
    skin = np.empty(len(sex), np.int64)
    for row in range(len(sex)):
        group = "young" if felt_age[row] < 38 else "middleage" if felt_age[row] < 60 else "old"
        wanted = f"{group}_{ETHNICITIES[main[row]]}_{'male' if sex[row] > 0.5 else 'female'}"
        matching = [i for i, name in enumerate(assets.skin_names) if name == wanted]
        skin[row] = matching[int(choice[row] * len(matching))]
    return skin


def _pick(draws: Draws, colors: np.ndarray, shares: dict[str, list[float]], main: np.ndarray) -> np.ndarray:
    """A colour for every sample by the shares of its main ethnicity."""
    limits = np.cumsum([shares[name] for name in ETHNICITIES], axis=1)[main]
    return colors[np.minimum((draws.unit(1) > limits).sum(1), len(colors) - 1)]


def _hair_color(draws: Draws, age: np.ndarray, main: np.ndarray) -> np.ndarray:
    color = _pick(draws, HAIR_COLORS, HAIR_SHARES, main) * np.exp(draws.normal(0.15, 0.3))
    grey = np.clip((age[:, None] - 45) / 30 + draws.normal(0.25, 0.5), 0, 1)
    return color + grey * (GREY_HAIR * draws.uniform(0.7, 1.2) - color)


def _hair(draws: Draws, sex: np.ndarray, age: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Short hair; some men, more of them when old, have little or none."""
    bald = draws.unit(1) < (0.08 + 0.3 * np.clip(age[:, None] - 30, 0, 50) / 50) * (sex[:, None] > 0.5)
    opacity = np.where(bald, draws.uniform(0.0, 0.35), draws.uniform(0.75, 1.0))
    threshold = draws.uniform(0.2, 0.55) + 0.1 * (sex[:, None] > 0.5)
    return np.concatenate([opacity, threshold, color], axis=1)


def _brow(assets: HeadAssets, draws: Draws, sex: np.ndarray, hair_color: np.ndarray) -> np.ndarray:
    number = np.minimum(draws.unit(1) * len(assets.brow_masks), len(assets.brow_masks) - 1).astype(int)
    opacity = draws.uniform(0.75, 1.0) * np.where(sex[:, None] > 0.5, 1.0, 0.85)
    color = np.clip(hair_color, 0.02, 0.45) * draws.uniform(0.5, 0.9)
    return np.concatenate([number, opacity, color], axis=1)
