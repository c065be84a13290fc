"""The models that the studio can show: loaded when they are first asked for, shared by all browsers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from scr3d.errors import CheckpointError
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.models.hub import is_hub_name
from scr3d.models.io import find_model, load_model

SHIPPED = "shipped with scr3d"
LOADED_AT_MOST = 8


@dataclass(frozen=True)
class NamedModel:
    """A model and what it is called.

    Attributes:
        name: for people; what a browser sends to choose it.
        network: in evaluation mode.
    """

    name: str
    network: PhotoGeometricAutoencoder

    @property
    def structure(self) -> str:
        """Its causal structure in a few words."""
        config = self.network.config
        order = f" {config.order.strip().upper()}" if config.order else ""
        return f"{config.structure}{order}, {config.mixing} mixing"


class ModelLibrary:
    """Models by name.

    Browsers choose among the names; they never send a path.
    """

    def __init__(self, paths: dict[str, Path | None], device: str = "cpu"):
        """Name the models that there are.

        Args:
            paths: run or model folder of every name, None for the shipped one.
            device: where they run.
        """
        self._paths = dict(paths)
        self._device = device
        self._loaded: OrderedDict[str, tuple[float, NamedModel]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order in which they were given."""
        with self._lock:
            return tuple(self._paths)

    def add(self, name: str, path: Path) -> None:
        """Name one more model."""
        with self._lock:
            self._paths.setdefault(name, path)

    def get(self, name: str) -> NamedModel:
        """Load a model, or take the loaded one; a run that has trained on meanwhile is loaded again.

        Raises:
            CheckpointError: there is no model of that name, or it cannot be loaded.
        """
        with self._lock:
            if name not in self._paths:
                raise CheckpointError(f"there is no model {name!r}; there are {', '.join(self._paths)}")
            folder = find_model(self._paths[name])
            changed = (folder / "model.json").stat().st_mtime
            if name in self._loaded and self._loaded[name][0] == changed:
                self._loaded.move_to_end(name)
                return self._loaded[name][1]
            model = NamedModel(name, load_model(folder, self._device))
            self._loaded[name] = (changed, model)
            while len(self._loaded) > LOADED_AT_MOST:
                self._loaded.popitem(last=False)
            return model


def name_models(models: tuple[Path, ...]) -> dict[str, Path | None]:
    """Short names for folders, the shipped model last; folders of one name are told apart by number.

    Raises:
        CheckpointError: a folder holds no model.
    """
    named: dict[str, Path | None] = {}
    for path in models:
        folder = find_model(path)
        resolved = path.resolve()
        base = resolved.parent.name if resolved.name in ("best", "last") else resolved.name
        name, number = base, 1
        while name in named:
            number += 1
            name = f"{base} ({number})"
        # A run may train on; a model of the hub stays what it was when the page was opened.
        named[name] = folder if is_hub_name(path) else path
    named[SHIPPED] = None
    return named
