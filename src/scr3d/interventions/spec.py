"""Interventions as they are written on a command line: `light=from:other.png`, `view=yaw:20,pitch:-5`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scr3d.errors import ConfigError
from scr3d.names import FACTORS, Factor

if TYPE_CHECKING:
    from torch import Tensor

    from scr3d.interventions.kinds import Intervention

DO_FORMS = "from:IMAGE, mix:IMAGE:SHARE or noise:SIGMA"
SET_FORMS = {
    Factor.VIEW: "from:IMAGE, or some of yaw:DEG,pitch:DEG,roll:DEG,x:SHIFT,y:SHIFT,z:SHIFT",
    Factor.DEPTH: "from:IMAGE or scale:FACTOR",
    Factor.LIGHT: "from:IMAGE, or some of ambient:A,diffuse:D,x:SLOPE,y:SLOPE",
    Factor.ALBEDO: "from:IMAGE",
}
SET_FIELDS = {
    Factor.VIEW: ("yaw", "pitch", "roll", "x", "y", "z"),
    Factor.DEPTH: ("scale",),
    Factor.LIGHT: ("ambient", "diffuse", "x", "y"),
    Factor.ALBEDO: (),
}


@dataclass(frozen=True)
class Spec:
    """An intervention as it was written.

    Attributes:
        text: all of it, `light=mix:folder/other.png:0.5`.
        on_cause: whether it is a --do.
        factor: which factor.
        form: from, mix, noise or values.
        image: the other image of from and mix.
        numbers: share, sigma, or the values by name.
    """

    text: str
    on_cause: bool
    factor: Factor
    form: str
    image: Path | None
    numbers: dict[str, float]

    @property
    def label(self) -> str:
        """In short: of the other image's path the name alone."""
        text = self.text if self.image is None else self.text.replace(str(self.image), self.image.name, 1)
        return f"{'do' if self.on_cause else 'set'}({text})"


def parse_spec(text: str, on_cause: bool) -> Spec:
    """Read FACTOR=HOW as the options describe it.

    Raises:
        ConfigError: the factor is unknown, or the rest is not of a form that this option knows.
    """
    option = "--do" if on_cause else "--set"
    name, equals, how = text.partition("=")
    if not equals:
        raise ConfigError(f"{option} expects FACTOR=HOW, as in light=from:other.png; got {text!r}")
    factor = _factor(name, option)
    form, _, rest = how.partition(":")
    forms = DO_FORMS if on_cause else SET_FORMS[factor]
    problem = ConfigError(f"{option} {factor.name.lower()} expects {forms}; got {how!r}")
    if form == "from":
        if not rest:
            raise problem
        return Spec(text, on_cause, factor, form, Path(rest), {})
    if form in ("mix", "noise"):
        if not on_cause:
            raise ConfigError(f"{form} acts on the cause: write --do {text}; --set {name} expects {forms}")
        path, _, number = rest.rpartition(":")
        if (form == "mix") != bool(path):
            raise problem
        key = "share" if form == "mix" else "sigma"
        return Spec(text, on_cause, factor, form, Path(path) if path else None, {key: _number(number, key, text)})
    keys = [part.partition(":")[0].strip() for part in how.split(",")]
    if not set(keys) <= set(SET_FIELDS[factor]):
        raise problem
    if on_cause:
        raise ConfigError(f"{keys[0]} is a value: write --set {text}; --do {name} expects {forms}")
    if len(set(keys)) < len(keys):
        raise ConfigError(f"--set {name} gives a value twice: {how!r}")
    values = [part.partition(":")[2] for part in how.split(",")]
    numbers = {key: _number(value, key, text) for key, value in zip(keys, values, strict=True)}
    return Spec(text, on_cause, factor, "values", None, numbers)


def build(spec: Spec, read: Callable[[Path], Tensor], seed: int) -> Intervention:
    """The intervention that is meant.

    Args:
        spec: as it was written.
        read: gives the other image as a batch of one in the model's size.
        seed: of the noise.

    Raises:
        DataError: the other image cannot be read.
        ConfigError: a number is out of its range.
    """
    from scr3d.interventions.kinds import MixEmbedding, NoisyEmbedding, ScaleDepth, SetLight, SetView, ValueFrom

    if spec.image is not None:
        other = read(spec.image)
        return MixEmbedding(spec.factor, other, **spec.numbers) if spec.on_cause else ValueFrom(spec.factor, other)
    if spec.on_cause:
        return NoisyEmbedding(spec.factor, seed=seed, **spec.numbers)
    if spec.factor is Factor.DEPTH:
        return ScaleDepth(**spec.numbers)
    return SetLight(**spec.numbers) if spec.factor is Factor.LIGHT else SetView(**spec.numbers)


def written(item: Intervention) -> str:
    """An intervention in the form that `parse_spec` reads; the other image is called `image`."""
    from scr3d.interventions.kinds import MixEmbedding, NoisyEmbedding, ValueFrom

    if isinstance(item, MixEmbedding):
        how = "from:image" if item.share == 1 else f"mix:image:{item.share:g}"
    elif isinstance(item, NoisyEmbedding):
        how = f"noise:{item.sigma:g}"
    elif isinstance(item, ValueFrom):
        how = "from:image"
    else:
        values = {name: getattr(item, name, None) for name in SET_FIELDS[item.factor]}
        how = ",".join(f"{name}:{value:g}" for name, value in values.items() if value is not None)
    return f"{item.factor.name.lower()}={how or type(item).__name__}"


def _factor(name: str, option: str) -> Factor:
    word = name.strip().casefold()
    for factor in FACTORS:
        if word in (factor.name.casefold(), factor.value.casefold()):
            return factor
    raise ConfigError(f"{option} expects one of view, depth, light, albedo before the =; got {name!r}")


def _number(text: str, what: str, spec: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{what} must be a number, got {text!r} in {spec!r}") from None


def check_specs(specs: Sequence[Spec]) -> None:
    """Make sure that there is something to do, and only once for every factor.

    Raises:
        ConfigError: it is not so.
    """
    if not specs:
        raise ConfigError("nothing to do: give --do (on the cause) or --set (on the value), as in --set view=yaw:20")
    seen: dict[Factor, Spec] = {}
    for spec in specs:
        if spec.factor in seen:
            first, second = seen[spec.factor].label, spec.label
            raise ConfigError(f"{spec.factor.name.lower()} can be replaced or set once; got {first} and {second}")
        seen[spec.factor] = spec
