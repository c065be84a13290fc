"""What is changed by hand: values of light, view and relief, and how the object is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from enum import StrEnum

from scr3d.factors import Factors
from scr3d.interventions.kinds import OnValue, ScaleDepth, SetLight, SetView
from scr3d.models.autoencoder import PhotoGeometricAutoencoder


class Shown(StrEnum):
    """What is painted on the surface."""

    TEXTURE = "texture"
    PHOTO = "photo"
    ALBEDO = "albedo"
    SHADING = "textureless"
    NORMALS = "normals"
    DEPTH = "depth"


@dataclass(frozen=True)
class Values:
    """Numbers that sliders show.

    Attributes:
        ambient: strength in [0, 1].
        diffuse: strength in [0, 1].
        light_x: slope of the light's direction to the right: above 0, light comes from the left.
        light_y: slope downwards: above 0, light comes from above.
        yaw_deg: angle of the view about y.
        pitch_deg: about x.
        roll_deg: about z.
        relief: factor on the depth's distance from its mean.
    """

    ambient: float
    diffuse: float
    light_x: float
    light_y: float
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    relief: float = 1.0

    @staticmethod
    def of(factors: Factors) -> Values:
        """The values of the first image's factors."""
        x, y, z = factors.light.direction[0].tolist()
        pitch, yaw, roll = (math.degrees(angle) for angle in factors.view.rotation_rad[0].tolist())
        return Values(float(factors.light.ambient[0]), float(factors.light.diffuse[0]), x / z, y / z, yaw, pitch, roll)


@dataclass(frozen=True)
class Edits:
    """Values set by hand; what is None stays as the model has found it, to the last bit."""

    ambient: float | None = None
    diffuse: float | None = None
    light_x: float | None = None
    light_y: float | None = None
    yaw_deg: float | None = None
    pitch_deg: float | None = None
    roll_deg: float | None = None
    relief: float | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) is not None for field in fields(self))

    @property
    def view(self) -> tuple[float | None, float | None, float | None]:
        """Pitch, yaw and roll in degrees."""
        return self.pitch_deg, self.yaw_deg, self.roll_deg

    def interventions(self) -> list[OnValue]:
        """The same as interventions on values, at most one for each factor.

        Raises:
            ConfigError: a number is out of its range.
        """
        found: list[OnValue] = []
        if any(value is not None for value in (self.ambient, self.diffuse, self.light_x, self.light_y)):
            found.append(SetLight(self.ambient, self.diffuse, self.light_x, self.light_y))
        if any(angle is not None for angle in self.view):
            found.append(SetView(*self.view))
        if self.relief is not None:
            found.append(ScaleDepth(self.relief))
        return found

    def apply(self, factors: Factors, model: PhotoGeometricAutoencoder) -> Factors:
        """The factors with the values that are set."""
        for item in self.interventions():
            factors = item.value(factors, model)
        return factors

    def over(self, values: Values) -> Values:
        """What sliders show: the values that are set, and `values` for the others."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(values, **{name: value for name, value in given.items() if value is not None})
