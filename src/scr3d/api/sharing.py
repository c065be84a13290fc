"""Giving a model away: a folder that every command takes, with a card; or the same on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scr3d.api.card import model_card
from scr3d.describe import describe_model
from scr3d.errors import ConfigError
from scr3d.files import atomic_folder, write_bytes
from scr3d.models.hub import MODEL_FILES, PREFIX, hub_errors, import_hub, is_hub_name, split_name
from scr3d.models.io import save_model
from scr3d.offline import refuse_offline

if TYPE_CHECKING:
    from scr3d.api.model import Model

CARD = "README.md"
OWN_PLACES = ("data", "out", "vgg16_file")
"""Options of training that name places on the machine of training."""


def without_places(provenance: dict[str, Any]) -> dict[str, Any]:
    """How a model was made, without the paths of the machine that made it."""
    training = provenance.get("training")
    if not training:
        return provenance
    public = {name: value for name, value in training.items() if name not in OWN_PLACES}
    if public.get("start_from"):
        public["start_from"] = Path(public["start_from"]).name
    return {**provenance, "training": public}


def write_shared(folder: Path, model: Model, half: bool, license: str | None, address: str | None = None) -> None:
    """Write a model folder with a card; see `Model.save_pretrained`.

    Args:
        folder: where to.
        model: the model.
        half: store the weights in float16.
        license: for the card.
        address: by which the card calls the model; None for the folder.

    Raises:
        ConfigError: the folder holds other things, or nothing can be written there.
    """
    folder = folder.resolve()
    provenance = without_places(model.provenance)
    try:
        card = _kept_card(folder)
        if card is None:
            record = describe_model(model.network, provenance=provenance).record
            card = model_card(
                folder.name, address or folder.name, record, license, provenance.get("crop", "center")
            ).encode()
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder) as temporary:
            save_model(temporary, model.network, provenance, half)
            write_bytes(temporary / CARD, card)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror or error}; choose another") from error


def push(model: Model, repository: str, half: bool, license: str | None, options: dict[str, Any]) -> str:
    """Upload a model folder with a card in one commit, through the mixin of huggingface_hub; its address.

    `ModelHubMixin`, not `PyTorchModelHubMixin`: the latter writes files of its own, which no command here reads, and
    builds networks from a config.json.

    Raises:
        CheckpointError: the hub refuses, or cannot be reached.
        ConfigError: the name is none, or the extra is not installed.
        OfflineError: the network is not to be used.
    """
    repository, revision = split_name(repository if is_hub_name(repository) else PREFIX + repository)
    if revision is not None:
        raise ConfigError(f"a branch is given by branch={revision!r}, not in the name")
    refuse_offline(f"uploading to {PREFIX}{repository}")
    hub = import_hub()

    class Shared(hub.ModelHubMixin):  # type: ignore[name-defined, misc]
        """The files that are uploaded, the card among them, which the mixin then leaves as it is."""

        def _save_pretrained(self, save_directory: Path) -> None:
            write_shared(Path(save_directory), model, half, license, PREFIX + repository)

    with hub_errors(PREFIX + repository):
        return str(Shared().push_to_hub(repository, **{"commit_message": "Upload a model of scr3d", **options}))


def _kept_card(folder: Path) -> bytes | None:
    """The card that is there already, whose words may be somebody's own.

    Raises:
        ConfigError: the folder is there and holds more than a model.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose another place for the folder of the model")
    others = sorted(path.name for path in folder.iterdir() if path.name not in (*MODEL_FILES, CARD))
    if others:
        raise ConfigError(f"{folder} holds more than a model ({others[0]}); choose a new folder, or that of a model")
    card = folder / CARD
    return card.read_bytes() if card.is_file() else None
