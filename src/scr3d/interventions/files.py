"""The files of an intervention: a strip of pictures and a record; without torch until they are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Float

from scr3d.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from scr3d.interventions.apply import InterventionResult
    from scr3d.interventions.report import Request

STRIP, RECORD = "strip.png", "interventions.json"


def check_out(out: Path) -> None:
    """Make sure that results can go there: a folder that holds anything but an earlier result is nobody's to replace.

    Raises:
        ConfigError: it is a file, or holds other files.
    """
    for place in (out, *out.parents):
        if place.exists() and not place.is_dir():
            raise ConfigError(f"results go to a folder, but {place} is a file; choose another --out")
    if out.exists() and not {path.name for path in out.iterdir()} <= {STRIP, RECORD}:
        raise ConfigError(f"{out} holds other files than {STRIP} and {RECORD}; choose a new folder for --out")


def write_intervention(
    out: Path, image: Float[Tensor, "3 size size"], request: Request, result: InterventionResult
) -> None:
    """Write the strip and the record of an intervention, whole or not at all.

    Args:
        out: folder; replaced if it is there.
        image: that was intervened on, RGB in [0, 1].
        request: what was asked for.
        result: what came of it.

    Raises:
        ConfigError: nothing can be written there.
    """
    from scr3d.files import atomic_folder, write_json
    from scr3d.interventions.report import record
    from scr3d.interventions.strip import write_strip

    try:
        with atomic_folder(out) as folder:
            write_strip(folder / STRIP, image, request, result)
            write_json(folder / RECORD, record(request, result))
    except OSError as error:
        raise ConfigError(f"cannot write to {out}: {error.strerror or error}; choose another --out") from error
