"""What one browser works on: its photos, the model, what is changed by hand, and what follows from all that."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8

from scr3d.data.photos import as_tensor
from scr3d.errors import ConfigError
from scr3d.factors import Factors, View
from scr3d.models.autoencoder import PhotoGeometricAutoencoder, Reconstruction
from scr3d.rendering.projection import ProjectedPhoto, project_photo
from scr3d.rendering.views import Surface
from scr3d.studio.appearance import MESH_SIDE, PICTURE_SIDE, Look, fine_surface, look, picture
from scr3d.studio.display_mesh import display_glb
from scr3d.studio.editing import Edits, Shown, Values
from scr3d.studio.library import ModelLibrary, NamedModel
from scr3d.studio.photos import Frame, Photo

PHOTO_SIDE = 256
"""Width to which a photo is scaled before it is looked up."""
PHOTOS_KEPT = 12
"""Of the photos that a browser has sent, so many are kept, the latest ones."""

P = ParamSpec("P")
T = TypeVar("T")


def _without_gradient(function: Callable[P, T]) -> Callable[P, T]:
    """Gradients are switched off in each thread by itself."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.no_grad():
            return function(*args, **kwargs)

    return run


class Workbench:
    """The state of one browser. Not safe in threads: one at a time uses it."""

    def __init__(self, library: ModelLibrary, photos: tuple[Photo, ...] = ()):
        """Start with the first model and the first photo, if there is one.

        Args:
            library: models to choose from.
            photos: that are there from the start.
        """
        self.library = library
        self.model: NamedModel = library.get(library.names[0])
        self.photos: OrderedDict[str, Photo] = OrderedDict()
        self.photo: Photo | None = None
        self.frame = Frame()
        self.edits = Edits()
        self.shown = Shown.TEXTURE
        self._count = 0
        self._explained: Reconstruction | None = None
        self._look: Look | None = None
        self._surface: Surface | None = None
        self._projected: dict[int, ProjectedPhoto] = {}
        for photo in photos:
            self.add(photo)
        if self.photos:
            self.choose(next(iter(self.photos)))

    @property
    def network(self) -> PhotoGeometricAutoencoder:
        """The chosen model's network."""
        return self.model.network

    def add(self, photo: Photo) -> Photo:
        """Take a photo in; beyond the number that is kept, the oldest ones go, but not the one in use."""
        self._count += 1
        photo = replace(photo, number=self._count)
        self.photos[photo.label] = photo
        for label in list(self.photos)[:-PHOTOS_KEPT]:
            if self.photo is None or label != self.photo.label:
                del self.photos[label]
        return photo

    def choose(self, label: str) -> None:
        """Work on a photo; what was changed by hand is forgotten.

        Raises:
            ConfigError: there is no photo of that label.
        """
        self.photo = self.find(label)
        self.frame, self.edits = Frame(), Edits()
        self._forget()

    def find(self, label: str) -> Photo:
        """A photo by its label.

        Raises:
            ConfigError: there is none.
        """
        if label not in self.photos:
            raise ConfigError("this photo is no longer kept; add it again")
        return self.photos[label]

    def set_frame(self, frame: Frame) -> None:
        """Use another square of the photo."""
        if frame != self.frame:
            self.frame = frame
            self._forget()

    def set_model(self, name: str) -> None:
        """Explain the photo by another model; what was changed by hand is forgotten.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        self.model, self.edits = self.library.get(name), Edits()
        self._forget()

    def edit(self, **values: float | None) -> None:
        """Set some of the values by hand; None gives one back to the model."""
        self._edited(replace(self.edits, **values))

    def show_factors(self) -> None:
        """Show the texture instead of the photo, which other factors than the photo's own do not have."""
        if self.shown is Shown.PHOTO:
            self.shown = Shown.TEXTURE

    def reset(self) -> None:
        """Give all values back to the model."""
        self._edited(Edits())

    def explained(self) -> Reconstruction:
        """What the model makes of the photo.

        Raises:
            ConfigError: there is no photo yet.
        """
        if self.photo is None:
            raise ConfigError("there is no photo yet: drop or choose one, or take a synthetic head")
        if self._explained is None:
            self._explained = self._reconstruct(self.photo, self.frame)
        return self._explained

    @_without_gradient
    def _reconstruct(self, photo: Photo, frame: Frame) -> Reconstruction:
        image = photo.image(self.network.config.size, frame)
        return self.network.reconstruct(image.to(self.network.border.device))

    @_without_gradient
    def factors(self) -> Factors:
        """The factors with what is set by hand."""
        return self.edits.apply(self.explained().factors, self.network)

    def values(self) -> Values:
        """The numbers that sliders show."""
        return self.edits.over(Values.of(self.explained().factors))

    @_without_gradient
    def picture(self) -> UInt8[np.ndarray, "height width 4"]:
        """The object in the edited view and light, RGBA. Under another light alone, only the colours are new."""
        factors = self.factors()
        if self._look is None:
            self._look = look(factors, self.network)
        return picture(self._look, factors.light, self.shown, self.projected(PICTURE_SIDE))

    @_without_gradient
    def glb(self) -> bytes:
        """The mesh that the browser shows."""
        photo = self.projected(MESH_SIDE)
        return display_glb(self.surface(), self.factors().light, self.shown, self.network, photo)

    @_without_gradient
    def projected(self, side: int) -> ProjectedPhoto | None:
        """The photo on the surface in a resolution; None unless it is shown."""
        if self.shown is not Shown.PHOTO or self.photo is None:
            return None
        if side not in self._projected:
            found = self.explained().factors
            surface = fine_surface(found, self.network, side)
            square = self.photo.square(self.frame)
            photo = as_tensor(square.astype(np.float32) / 255, min(PHOTO_SIDE, len(square)))
            self._projected[side] = project_photo(photo, found, surface)
        return self._projected[side]

    @_without_gradient
    def surface(self) -> Surface:
        """The edited canonical surface in the resolution of that mesh."""
        if self._surface is None:
            self._surface = fine_surface(self.factors(), self.network, MESH_SIDE)
        return self._surface

    def view(self) -> View:
        """The edited view."""
        return self.factors().view

    def _edited(self, edits: Edits) -> None:
        if edits.relief != self.edits.relief:
            self._surface = self._look = None
        if edits.view != self.edits.view:
            self._look = None
        self.edits = edits

    def _forget(self) -> None:
        self._explained = self._look = self._surface = None
        self._projected = {}


def mesh_of(model: NamedModel, factors: Factors, shown: Shown) -> bytes:
    """The mesh that the browser shows of any factors."""
    with torch.no_grad():
        surface = fine_surface(factors, model.network, MESH_SIDE)
        return display_glb(surface, factors.light, shown, model.network)
