"""`scr3d intervene`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from scr3d.commands.parsing import parse
from scr3d.errors import ConfigError
from scr3d.names import FACTORS, Factor

if TYPE_CHECKING:
    import torch

    from scr3d.interventions import Intervention, InterventionResult
    from scr3d.interventions.report import Request
    from scr3d.models import PhotoGeometricAutoencoder

ABOUT = """Replace a cause or set a value in a reconstruction, and see what follows.

--do acts on the cause: a factor's embedding is replaced, and the factors that the graph makes depend on it follow.
--set acts on the value: a factor itself is set, and only the picture changes.
Both can be repeated, once for a factor."""
STRIP, RECORD = "strip.png", "interventions.json"
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
class InterveneArgs:
    """Options of `scr3d intervene`."""

    image: tyro.conf.Positional[Path]
    """Photo of one object that fills the frame."""
    out: Path
    """Folder of strip.png and interventions.json."""
    do: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FACTOR=from:IMAGE, FACTOR=mix:IMAGE:SHARE or FACTOR=noise:SIGMA, with view, depth, light or albedo."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FACTOR=from:IMAGE, light=ambient:A,diffuse:D,x:SLOPE,y:SLOPE, depth=scale:FACTOR or
    view=yaw:DEG,pitch:DEG,roll:DEG,x:SHIFT,y:SHIFT,z:SHIFT; of light and view, what is left out stays."""
    model: Path | None = None
    """Run or model folder; without it, the model that comes with scr3d."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    seed: int = 0
    """Seed of the noise."""


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


def run(args: list[str]) -> None:
    """Parse the options and intervene."""
    given = parse(InterveneArgs, args, "intervene", ABOUT)
    specs = [parse_spec(text, on_cause=True) for text in given.do]
    specs += [parse_spec(text, on_cause=False) for text in given.set]
    _check_specs(specs)
    out = given.out.resolve()
    _check_out(out)

    import torch

    from scr3d.models.io import load_model
    from scr3d.runtime import find_device

    model = load_model(given.model, find_device(given.device))
    image = read_photo(given.image, model)
    interventions = [build(spec, model, given.seed) for spec in specs]
    from scr3d.interventions import intervene
    from scr3d.interventions.report import Request, table

    with torch.no_grad():
        result = intervene(model, image, interventions)
    name = "shipped" if given.model is None else str(given.model)
    texts, labels = [spec.text for spec in specs], [spec.label for spec in specs]
    request = Request(given.image.name, name, model.config, interventions, texts, labels)
    _write(out, image, request, result)
    print(table(result))
    print(f"{given.out / STRIP} shows it, {given.out / RECORD} has the numbers")


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


def build(spec: Spec, model: PhotoGeometricAutoencoder, seed: int) -> Intervention:
    """The intervention that is meant; reads the other image.

    Raises:
        DataError: the other image cannot be read.
        ConfigError: a number is out of its range.
    """
    from scr3d.interventions import MixEmbedding, NoisyEmbedding, ScaleDepth, SetLight, SetView, ValueFrom

    if spec.image is not None:
        other = read_photo(spec.image, model)
        return MixEmbedding(spec.factor, other, **spec.numbers) if spec.on_cause else ValueFrom(spec.factor, other)
    if spec.on_cause:
        return NoisyEmbedding(spec.factor, seed=seed, **spec.numbers)
    if spec.factor is Factor.DEPTH:
        return ScaleDepth(**spec.numbers)
    return SetLight(**spec.numbers) if spec.factor is Factor.LIGHT else SetView(**spec.numbers)


def read_photo(path: Path, model: PhotoGeometricAutoencoder) -> torch.Tensor:
    """The middle square of a photo as a batch of one, in the size and on the device of the model."""
    from scr3d.data.photos import read_photos

    return read_photos([path], model.config.size).to(model.border.device)


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


def _check_specs(specs: list[Spec]) -> None:
    if not specs:
        raise ConfigError("nothing to do: give --do (on the cause) or --set (on the value), as in --set view=yaw:20")
    seen: dict[Factor, Spec] = {}
    for spec in specs:
        if spec.factor in seen:
            first, second = seen[spec.factor].label, spec.label
            raise ConfigError(f"{spec.factor.name.lower()} can be replaced or set once; got {first} and {second}")
        seen[spec.factor] = spec


def _check_out(out: Path) -> None:
    """A folder that holds anything but an earlier result is nobody's to replace."""
    for place in (out, *out.parents):
        if place.exists() and not place.is_dir():
            raise ConfigError(f"results go to a folder, but {place} is a file; choose another --out")
    if out.exists() and not {path.name for path in out.iterdir()} <= {STRIP, RECORD}:
        raise ConfigError(f"{out} holds other files than {STRIP} and {RECORD}; choose a new folder for --out")


def _write(out: Path, image: torch.Tensor, request: Request, result: InterventionResult) -> None:
    from scr3d.files import atomic_folder, write_json
    from scr3d.interventions.report import record
    from scr3d.interventions.strip import write_strip

    try:
        with atomic_folder(out) as folder:
            write_strip(folder / STRIP, image[0], request, result)
            write_json(folder / RECORD, record(request, result))
    except OSError as error:
        raise ConfigError(f"cannot write to {out}: {error.strerror or error}; choose another --out") from error
