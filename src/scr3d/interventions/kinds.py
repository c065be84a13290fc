"""What can be done to a factor: on its cause (its embedding), or on its value (what is decoded from it)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.errors import ConfigError, ShapeError
from scr3d.factors import FACTORS, Factor, Factors, Light, View
from scr3d.models.autoencoder import PhotoGeometricAutoencoder

FIELDS = {
    Factor.VIEW: "view",
    Factor.DEPTH: "canonical_depth",
    Factor.LIGHT: "light",
    Factor.ALBEDO: "canonical_albedo",
}
"""Where `Factors` keeps each factor."""
LARGEST_TURN_DEG = {"pitch": 80.0, "yaw": 80.0, "roll": 180.0}
"""Beyond, a height field shows its edge."""
LARGEST_SHIFT = 0.2
"""More than the frame is wide at the object's distance."""
LARGEST_SLOPE = 10.0
LARGEST_SCALE = 5.0
"""Keeps the most exaggerated depth in front of the camera."""


class Intervention(ABC):
    """What is done to one factor."""

    factor: Factor


class OnCause(Intervention):
    """Replaces the factor's own embedding."""

    @abstractmethod
    def embedding(
        self, own: Float[Tensor, "batch embedding"], model: PhotoGeometricAutoencoder
    ) -> Float[Tensor, "batch embedding"]:
        """The embedding put in the place of `own`."""


class OnValue(Intervention):
    """Sets the decoded factor."""

    @abstractmethod
    def value(self, factors: Factors, model: PhotoGeometricAutoencoder) -> Factors:
        """The factors with this one set and all others as they are."""


@dataclass(frozen=True)
class MixEmbedding(OnCause):
    """(1 - share) times the own embedding + share times another image's; share 1 takes the other's.

    Attributes:
        factor: whose embedding.
        image: the other image in [0, 1], one for all or one for each.
        share: of the other image.
    """

    factor: Factor
    image: Float[Tensor, "other 3 size size"]
    share: float = 1.0

    def __post_init__(self) -> None:
        _check_number("the share of the other image", self.share, 0.0, 1.0)

    def embedding(
        self, own: Float[Tensor, "batch embedding"], model: PhotoGeometricAutoencoder
    ) -> Float[Tensor, "batch embedding"]:
        """The interpolation; exact at both ends."""
        other = model.encode(_one_each(self.image, len(own)))[:, FACTORS.index(self.factor)]
        return torch.lerp(own, other, self.share)


@dataclass(frozen=True)
class NoisyEmbedding(OnCause):
    """The own embedding + sigma times its standard deviation over the coordinates times normal noise.

    Attributes:
        factor: whose embedding.
        sigma: strength of the noise.
        seed: of the noise; the same seed gives every factor another noise.
    """

    factor: Factor
    sigma: float
    seed: int = 0

    def __post_init__(self) -> None:
        _check_number("sigma", self.sigma, 0.0, math.inf)

    def embedding(
        self, own: Float[Tensor, "batch embedding"], model: PhotoGeometricAutoencoder
    ) -> Float[Tensor, "batch embedding"]:
        """The disturbed embedding."""
        # Drawn on the CPU for all factors at once: the same on every device, independent between factors.
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(len(FACTORS), *own.shape, generator=generator)[FACTORS.index(self.factor)]
        return own + self.sigma * own.std(dim=1, keepdim=True) * noise.to(own)


@dataclass(frozen=True)
class ValueFrom(OnValue):
    """The factor as it is decoded from another image.

    Attributes:
        factor: which.
        image: the other image in [0, 1], one for all or one for each.
    """

    factor: Factor
    image: Float[Tensor, "other 3 size size"]

    def value(self, factors: Factors, model: PhotoGeometricAutoencoder) -> Factors:
        """Take the other image's factor."""
        image = _one_each(self.image, len(factors.canonical_depth))
        other = model.decode(model.encode(image)).factors
        return replace(factors, **{FIELDS[self.factor]: getattr(other, FIELDS[self.factor])})


@dataclass(frozen=True)
class SetLight(OnValue):
    """Light of given strengths and direction (x, y, 1), normalised; what is None stays.

    Attributes:
        ambient: strength in [0, 1].
        diffuse: strength in [0, 1].
        x: slope of the direction of travel to the right: above 0, light comes from the left.
        y: slope downwards: above 0, light comes from above.
    """

    ambient: float | None = None
    diffuse: float | None = None
    x: float | None = None
    y: float | None = None
    factor = Factor.LIGHT

    def __post_init__(self) -> None:
        _check_any("light", self.ambient, self.diffuse, self.x, self.y)
        _check_number("ambient", self.ambient, 0.0, 1.0)
        _check_number("diffuse", self.diffuse, 0.0, 1.0)
        _check_number("the light's x", self.x, -LARGEST_SLOPE, LARGEST_SLOPE)
        _check_number("the light's y", self.y, -LARGEST_SLOPE, LARGEST_SLOPE)

    def value(self, factors: Factors, model: PhotoGeometricAutoencoder) -> Factors:
        """Set the light."""
        light = factors.light
        ambient = _filled(light.ambient, self.ambient)
        diffuse = _filled(light.diffuse, self.diffuse)
        if self.x is None and self.y is None:
            return replace(factors, light=Light(ambient, diffuse, light.direction))
        slopes = light.direction[:, :2] / light.direction[:, 2:]
        slopes = torch.stack([_filled(slopes[:, 0], self.x), _filled(slopes[:, 1], self.y)], dim=1)
        return replace(factors, light=Light.from_slopes(ambient, diffuse, slopes))


@dataclass(frozen=True)
class SetView(OnValue):
    """View of given angles and shifts; what is None stays.

    Attributes:
        pitch: about x, in degrees.
        yaw: about y, in degrees.
        roll: about z, in degrees.
        x: shift to the right, in camera distances.
        y: shift down, likewise.
        z: shift away from the camera, likewise.
    """

    pitch: float | None = None
    yaw: float | None = None
    roll: float | None = None
    x: float | None = None
    y: float | None = None
    z: float | None = None
    factor = Factor.VIEW

    def __post_init__(self) -> None:
        _check_any("view", self.pitch, self.yaw, self.roll, self.x, self.y, self.z)
        for name, largest in LARGEST_TURN_DEG.items():
            _check_number(f"the {name} in degrees", getattr(self, name), -largest, largest)
        for name in ("x", "y", "z"):
            _check_number(f"the view's {name}", getattr(self, name), -LARGEST_SHIFT, LARGEST_SHIFT)

    def value(self, factors: Factors, model: PhotoGeometricAutoencoder) -> Factors:
        """Set the view."""
        angles = [None if a is None else math.radians(a) for a in (self.pitch, self.yaw, self.roll)]
        rotation, shift = factors.view.rotation_rad, factors.view.translation
        turned = torch.stack([_filled(rotation[:, i], angle) for i, angle in enumerate(angles)], dim=1)
        moved = torch.stack([_filled(shift[:, i], new) for i, new in enumerate((self.x, self.y, self.z))], dim=1)
        return replace(factors, view=View(turned, moved))


@dataclass(frozen=True)
class ScaleDepth(OnValue):
    """Relief exaggerated about the mean of the depth map.

    Attributes:
        scale: 0 is flat, 1 changes nothing, 2 is twice the relief.
    """

    scale: float
    factor = Factor.DEPTH

    def __post_init__(self) -> None:
        _check_number("the scale of depth", self.scale, 0.0, LARGEST_SCALE)

    def value(self, factors: Factors, model: PhotoGeometricAutoencoder) -> Factors:
        """Set the depth."""
        depth = factors.canonical_depth
        return replace(factors, canonical_depth=depth + (self.scale - 1) * (depth - depth.mean((1, 2), keepdim=True)))


def _filled(own: Float[Tensor, " batch"], new: float | None) -> Float[Tensor, " batch"]:
    return own if new is None else torch.full_like(own, new)


def _one_each(image: Float[Tensor, "other 3 size size"], batch: int) -> Float[Tensor, "batch 3 size size"]:
    """As many images as the batch has, so that networks see the same shapes for both (and give the same bits)."""
    if len(image) not in (1, batch):
        raise ShapeError(f"expected one other image for all or one for each of {batch}; got {len(image)}")
    return image.expand(batch, -1, -1, -1).contiguous()


def _check_any(factor: str, *values: float | None) -> None:
    if all(value is None for value in values):
        raise ConfigError(f"nothing of the {factor} is set; give at least one of its values")


def _check_number(name: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not (math.isfinite(value) and least <= value <= most):
        bounds = f"of at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise ConfigError(f"{name} must be a number {bounds}; got {value}")
