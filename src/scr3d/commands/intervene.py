"""`scr3d intervene`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from scr3d.commands.parsing import parse
from scr3d.export.options import Crop
from scr3d.interventions.files import RECORD, STRIP, check_out, write_intervention
from scr3d.interventions.spec import build, check_specs, parse_spec

if TYPE_CHECKING:
    import torch

    from scr3d.models import PhotoGeometricAutoencoder

ABOUT = """Replace a cause or set a value in a reconstruction, and see what follows.

--do acts on the cause: a factor's embedding is replaced, and the factors that the graph makes depend on it follow.
--set acts on the value: a factor itself is set, and only the picture changes.
Both can be repeated, once for a factor."""


@dataclass(frozen=True)
class InterveneArgs:
    """Options of `scr3d intervene`."""

    image: tyro.conf.Positional[Path]
    """Photo; of several faces, the largest one is taken."""
    out: Path
    """Folder of strip.png and interventions.json."""
    do: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FACTOR=from:IMAGE, FACTOR=mix:IMAGE:SHARE or FACTOR=noise:SIGMA, with view, depth, light or albedo."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FACTOR=from:IMAGE, light=ambient:A,diffuse:D,x:SLOPE,y:SLOPE, depth=scale:FACTOR or
    view=yaw:DEG,pitch:DEG,roll:DEG,x:SHIFT,y:SHIFT,z:SHIFT; of light and view, what is left out stays."""
    model: Path | None = None
    """Run or model folder, or hf://owner/name; without it, the model that comes with scr3d."""
    crop: Crop = Crop.AUTO
    """What is cut out of the photos, also of those for interventions: face, center, or auto: as the images were cut out
    that the model was trained on (face for the shipped one)."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    seed: int = 0
    """Seed of the noise."""


def run(args: list[str]) -> None:
    """Parse the options and intervene."""
    given = parse(InterveneArgs, args, "intervene", ABOUT)
    specs = [parse_spec(text, on_cause=True) for text in given.do]
    specs += [parse_spec(text, on_cause=False) for text in given.set]
    check_specs(specs)
    out = given.out.resolve()
    check_out(out)

    import torch

    from scr3d.models.hub import written_name
    from scr3d.models.io import find_model, load_model, read_provenance
    from scr3d.runtime import find_device

    folder = find_model(given.model)
    model = load_model(folder, find_device(given.device))
    faces = given.crop.for_model(read_provenance(folder)) is Crop.FACE
    image = read_photo(given.image, model, faces)
    interventions = [build(spec, partial(read_photo, model=model, faces=faces), given.seed) for spec in specs]
    from scr3d.interventions.apply import intervene
    from scr3d.interventions.report import Request, table

    with torch.no_grad():
        result = intervene(model, image, interventions)
    name = "shipped" if given.model is None else written_name(given.model)
    texts, labels = [spec.text for spec in specs], [spec.label for spec in specs]
    request = Request(given.image.name, name, model.config, interventions, texts, labels)
    write_intervention(out, image[0], request, result)
    print(table(result))
    print(f"{given.out / STRIP} shows it, {given.out / RECORD} has the numbers")


def read_photo(path: Path, model: PhotoGeometricAutoencoder, faces: bool) -> torch.Tensor:
    """The largest face of a photo, or its middle, as a batch of one in the size and on the device of the model."""
    import torch

    from scr3d.errors import DataError
    from scr3d.photos.look import look

    size = model.config.size
    try:
        square = look(path, size, size, faces)[0].image
    except DataError as error:
        raise DataError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from error
    return torch.from_numpy(square).movedim(-1, 0)[None].contiguous().to(model.border.device)
