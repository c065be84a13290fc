"""Model folders: `model.json` (configuration and provenance) and `weights.safetensors`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from scr3d.errors import CheckpointError, ConfigError
from scr3d.files import MALFORMED, atomic_folder, read_json, write_bytes, write_json
from scr3d.models.autoencoder import PhotoGeometricAutoencoder, channels_last
from scr3d.models.config import ModelConfig
from scr3d.models.hub import OWNER_AND_NAME, PREFIX, fetch, is_hub_name, written_name
from scr3d.models.migration import VERSION, migrate
from scr3d.serialization import from_json, to_json

FORMAT = "scr3d-model"


def shipped_model() -> Path:
    """Folder of the model that comes with the package."""
    return Path(str(files("scr3d") / "assets" / "model"))


def save_model(folder: Path, model: PhotoGeometricAutoencoder, provenance: dict[str, Any], half: bool = False) -> None:
    """Write a model folder, whole or not at all.

    Args:
        folder: where to; replaced if it is there.
        model: the model.
        provenance: how it was made and what it scores, plain JSON values.
        half: store the weights in float16.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if half:
        state = {name: value.half() for name, value in state.items()}
    description = {"format": FORMAT, "version": VERSION, "model": to_json(model.config), "provenance": provenance}
    with atomic_folder(folder) as temporary:
        write_bytes(temporary / "weights.safetensors", save(state))
        write_json(temporary / "model.json", description)


def load_model(path: Path | str | None = None, device: torch.device | str = "cpu") -> PhotoGeometricAutoencoder:
    """Load a model for use.

    Args:
        path: a model folder, or a run folder (its best model is taken); None takes the shipped model.
        device: where to put it.

    Returns:
        The model in evaluation mode, in float32.

    Raises:
        CheckpointError: there is no model, it is damaged, or of a version that cannot be read.
    """
    folder = find_model(path)
    config, weights = read_model(folder)
    try:
        model = PhotoGeometricAutoencoder(config)
        model.load_state_dict(weights)
    except (ConfigError, RuntimeError) as error:
        raise CheckpointError(f"the model in {folder} cannot be loaded: {str(error).splitlines()[0]}") from error
    channels_last(model)
    return model.to(device).eval()


def read_model(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Configuration and weights (in float32) of a model folder, of this version or an earlier one.

    Raises:
        CheckpointError: a file is missing, damaged, or of a version that cannot be read.
    """
    description = read_description(folder)
    try:
        config = from_json(ModelConfig, description["model"], str(folder / "model.json"))
        weights = load((folder / "weights.safetensors").read_bytes())
    except (OSError, ConfigError, SafetensorError, *MALFORMED) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"the model in {folder} cannot be loaded: {reason}") from error
    # Before any memory is taken for the networks: each of their encoders ends with so many weights or more.
    if sum(value.numel() for value in weights.values()) < config.embedding**2:
        raise CheckpointError(f"the model in {folder} cannot be loaded: weights of a smaller network than its own")
    damaged = [name for name, value in weights.items() if not value.isfinite().all()]
    if damaged:
        raise CheckpointError(f"the model in {folder} cannot be loaded: {damaged[0]} holds values that are not finite")
    return config, {name: value.float() for name, value in weights.items()}


def find_model(path: Path | str | None) -> Path:
    """The model folder that a path names, or `hf://owner/name` on the Hugging Face hub, which is fetched.

    Raises:
        CheckpointError: there is none.
        ConfigError: a model on the hub needs an extra that is not installed, or its name is written otherwise.
    """
    if path is None:
        return shipped_model()
    name, hint = written_name(path), ""
    if is_hub_name(path):
        path = fetch(path)
    elif not Path(path).exists() and OWNER_AND_NAME.fullmatch(name):
        hint = f"; a model on the Hugging Face hub is written {PREFIX}{name}"
    for folder in (Path(path), Path(path) / "best"):
        if (folder / "model.json").is_file():
            return folder
    raise CheckpointError(
        f"{name} holds no model: expected a model folder (model.json, weights.safetensors) or a run folder with best/"
        + hint
    )


def read_provenance(folder: Path) -> dict[str, Any]:
    """How the model in a folder was made and what it scores; empty where nothing is known.

    Raises:
        CheckpointError: see `read_description`.
    """
    found = read_description(folder).get("provenance") or {}
    parts = [found, *((found.get("training"), found.get("validation")) if isinstance(found, dict) else ())]
    if not all(isinstance(part, dict | None) for part in parts):
        raise CheckpointError(
            f"{folder / 'model.json'} is damaged: provenance, training and validation are objects of JSON; "
            "copy the model again"
        )
    return found


def read_description(folder: Path) -> dict[str, Any]:
    """The content of `model.json`, as this version would have written it.

    Raises:
        CheckpointError: it is missing, damaged or of a version that cannot be read.
    """
    path = folder / "model.json"
    try:
        description = read_json(path)
        kind, version, model = description["format"], description["version"], description["model"]
    except (OSError, *MALFORMED) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if kind != FORMAT or version not in range(1, VERSION + 1):
        raise CheckpointError(
            f"{path} is of format {kind} {version}, this program reads {FORMAT} 1 to {VERSION}; use a newer scr3d"
        )
    if isinstance(model, dict):
        description["model"] = migrate(model, version, str(path))
    return description
