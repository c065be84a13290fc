"""Photos in, reconstructions out: what `scr3d.load` gives. All names are those of `scr3d` itself."""

from typing import TYPE_CHECKING

from scr3d.lazy import lazy_names

if TYPE_CHECKING:
    from scr3d.api.model import Model, load
    from scr3d.api.photo import Photo, read_photo
    from scr3d.api.result import PhotoIntervention, PhotoReconstruction

__all__ = ["Model", "Photo", "PhotoIntervention", "PhotoReconstruction", "load", "read_photo"]

__getattr__ = lazy_names(__name__, ("photo", "result", "model"), __all__)
