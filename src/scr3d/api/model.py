"""A model for use: photos in, reconstructions and interventions out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.api.photo import Photo, photo_name, read_photo
from scr3d.api.result import PhotoIntervention, PhotoReconstruction, with_result
from scr3d.errors import ConfigError, DataError
from scr3d.export.options import Crop, ReconstructOptions
from scr3d.export.outputs import Sample, single
from scr3d.interventions.apply import intervene
from scr3d.interventions.kinds import Intervention, OnCause
from scr3d.interventions.report import Request
from scr3d.interventions.spec import build, check_specs, parse_spec, written
from scr3d.models.autoencoder import PhotoGeometricAutoencoder, Reconstruction
from scr3d.models.config import ModelConfig
from scr3d.models.hub import fetch, is_hub_name, written_name
from scr3d.models.io import find_model, load_model, read_provenance
from scr3d.photos.explain import explain_squares
from scr3d.photos.look import Found, squares_of
from scr3d.runtime import find_device

if TYPE_CHECKING:
    from scr3d.export.onnx_files import OnnxReport

SHIPPED = "shipped"
"""Name of the model that comes with scr3d."""


@dataclass(frozen=True, repr=False)
class Model:
    """A model for use.

    Attributes:
        network: the networks, in evaluation mode; a torch module.
        name: `shipped`, or where it was loaded from.
        provenance: how it was made and what it scores, plain JSON values.

    Examples:
        >>> import scr3d
        >>> model = scr3d.load()
        >>> result = model.reconstruct("examples/head-01.png")
        >>> what_if = model.intervene("examples/head-01.png", set="light=x:0.8,y:0")
        >>> bool((what_if.after.depth == result.depth).all())
        True
    """

    network: PhotoGeometricAutoencoder
    name: str = field(default="own")
    provenance: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Model(name={self.name!r}, size={self.size})"

    @property
    def config(self) -> ModelConfig:
        """What the networks are made of."""
        return self.network.config

    @property
    def size(self) -> int:
        """Height and width of the images that the networks see, in pixels."""
        return self.config.size

    def reconstruct(self, photo: Photo, *, crop: Crop | str = Crop.AUTO, refine: int = 0) -> PhotoReconstruction:
        """Explain the object of a photo; of several faces the largest one.

        Args:
            photo: see `scr3d.Photo`.
            crop: face (found, set upright, cut out), center (the square in the middle; for pictures that are cut out
                already), or auto: as the images were that the model was trained on (face for the shipped one).
            refine: steps of fitting the answer to the photo; 0 for none, 40 is a good number.

        Raises:
            DataError: the photo cannot be used, or shows no face.
            ConfigError: the crop is unknown, or the number of steps negative.
        """
        squares = self._squares(photo, crop)[:1]
        return self._explained([(photo_name(photo), found) for found in squares], refine)[0]

    def reconstruct_all(
        self, photos: Sequence[Photo], *, crop: Crop | str = Crop.AUTO, refine: int = 0, batch_size: int = 16
    ) -> Iterator[PhotoReconstruction]:
        """Explain every object of some photos, as many at a time as the networks take.

        Args:
            photos: see `scr3d.Photo`.
            crop: see `reconstruct`; every face of every photo is explained.
            refine: see `reconstruct`.
            batch_size: squares that pass through the networks at a time.

        Yields:
            Reconstructions in the order of the photos, the largest face of a photo first; `sample.origin` says where
            it was.

        Raises:
            DataError: a photo cannot be used, or shows no face.
            ConfigError: an argument is out of its range.
        """
        if batch_size < 1:
            raise ConfigError(f"the batch size must be at least 1; got {batch_size}")
        waiting: list[tuple[str, Found]] = []
        for photo in photos:
            waiting += [(photo_name(photo), found) for found in self._squares(photo, crop)]
            while len(waiting) >= batch_size:
                yield from self._explained(waiting[:batch_size], refine)
                waiting = waiting[batch_size:]
        if waiting:
            yield from self._explained(waiting, refine)

    def prepare(self, photo: Photo, *, crop: Crop | str = Crop.AUTO) -> Float[Tensor, "1 3 size size"]:
        """The square of a photo that the networks see, as a batch of one on their device.

        Raises:
            DataError: the photo cannot be used, or shows no face.
        """
        return self._batch(self._squares(photo, crop)[0])

    @torch.no_grad()
    def intervene(
        self,
        photo: Photo,
        *interventions: Intervention,
        do: str | Sequence[str] = (),
        set: str | Sequence[str] = (),
        crop: Crop | str = Crop.AUTO,
        seed: int = 0,
    ) -> PhotoIntervention:
        """Replace causes or set values, at most one for each factor, and see what follows.

        Args:
            photo: see `scr3d.Photo`.
            *interventions: records of `scr3d.interventions`; other images for them come from `prepare`.
            do: on causes, as `scr3d intervene --do` takes them: `light=from:other.jpg`, `depth=noise:1`.
            set: on values, as `--set` takes them: `view=yaw:20`.
            crop: see `reconstruct`; for other photos as well.
            seed: of the noise.

        Raises:
            ConfigError: there is nothing to do, or two things for one factor, or one that is not understood.
            DataError: a photo cannot be used, or shows no face.
        """
        specs = [parse_spec(text, on_cause=True) for text in ([do] if isinstance(do, str) else do)]
        specs += [parse_spec(text, on_cause=False) for text in ([set] if isinstance(set, str) else set)]
        if specs:
            check_specs(specs)
        found = self._squares(photo, crop)[0]
        items = [*interventions, *(build(spec, self._reader(crop), seed) for spec in specs)]
        image, name = self._batch(found), photo_name(photo)
        result = intervene(self.network, image, items)
        own = [(written(item), f"{'do' if isinstance(item, OnCause) else 'set'}({written(item)})") for item in items]
        texts = [text for text, _ in own[: len(interventions)]] + [spec.text for spec in specs]
        labels = [label for _, label in own[: len(interventions)]] + [spec.label for spec in specs]
        request = Request(name, self.name, self.config, items, texts, labels)
        before = self._record(name, found, result.before.reconstruction)
        after = with_result(before, single(result.after.reconstruction, 0))
        return PhotoIntervention(result, request, before, after, image[0].cpu())

    def save_pretrained(self, folder: str | Path, *, half: bool = False, license: str | None = None) -> Path:
        """Write the model as a folder that `scr3d.load` and every `--model` take; returns where it is.

        It holds model.json, weights.safetensors and a card, README.md. Paths of the machine that trained the model are
        left out of model.json.

        Args:
            folder: new, empty, or that of a model, which is replaced; a README.md that is there is kept.
            half: store the weights in float16: half the size, errors of a thousandth.
            license: of the weights, for the card, in the hub's words: `mit`, `cc-by-4.0`, ...

        Raises:
            ConfigError: the folder holds other things, or nothing can be written there.

        Examples:
            >>> import tempfile
            >>> import scr3d
            >>> folder = scr3d.load().save_pretrained(tempfile.mkdtemp(), license="mit")
            >>> sorted(path.name for path in folder.iterdir())
            ['README.md', 'model.json', 'weights.safetensors']
            >>> scr3d.Model.from_pretrained(folder).size
            64
        """
        from scr3d.api.sharing import write_shared

        write_shared(Path(folder), self, half, license)
        return Path(folder)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        device: torch.device | str = "cpu",
    ) -> Model:
        """Load a model from a folder, or from the Hugging Face hub (`pip install 'scr3d[hub]'`).

        Args:
            name: a folder, or `hf://owner/name`. Without `hf://` a name is that of a folder, always: `runs/mine` is
                never looked for on the hub.
            revision: branch, tag or commit on the hub; also written `hf://owner/name@revision`.
            token: of the hub; without it, the one of `hf auth login` or `HF_TOKEN`.
            device: cpu, cuda or cuda:N.

        Raises:
            CheckpointError: there is no model, it is damaged or of another version, or the hub cannot be reached.
            ConfigError: the device is not there, the extra is not installed, or a revision is given for a folder.
        """
        if is_hub_name(name):
            return _opened(fetch(name, revision, token), written_name(name), device)
        if revision is not None or token is not None:
            raise ConfigError(f"{name} is a folder; a revision and a token belong to hf://owner/name")
        return load(name, device)

    def push_to_hub(self, repository: str, *, half: bool = False, license: str | None = None, **options: Any) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face hub (`pip install 'scr3d[hub]'`).

        Args:
            repository: `owner/name`; made if it is not there.
            half: see `save_pretrained`.
            license: see `save_pretrained`.
            **options: of the hub's mixin: private, token, branch, create_pr, commit_message.

        Returns:
            Address of the commit.

        Raises:
            CheckpointError: the hub refuses, or cannot be reached.
            ConfigError: the name is not of this form, or the extra is not installed.
        """
        from scr3d.api.sharing import push

        return push(self, repository, half, license, options)

    def export_onnx(self, folder: str | Path, *, parts: bool = False) -> OnnxReport:
        """Write the model as ONNX files, each compared with torch (`pip install 'scr3d[onnx]'`).

        Args:
            folder: of explain.onnx and onnx.json; new, empty, or that of an earlier export, which is replaced.
            parts: write encode.onnx, mix.onnx and decode.onnx as well, to change embeddings in between.

        Raises:
            ConfigError: the extra is not installed, the folder holds other things, or nothing can be written there.
            ExportError: a file does not compute what the model does.
        """
        from scr3d.export.onnx_files import export_onnx

        return export_onnx(self.network, folder, parts)

    def _squares(self, photo: Photo, crop: Crop | str) -> list[Found]:
        """The squares of a photo, the largest face first."""
        if str(crop) not in list(Crop):
            raise ConfigError(f"the crop is one of {', '.join(Crop)}; got {crop!r}")
        faces = Crop(crop).for_model(self.provenance) is Crop.FACE
        image = read_photo(photo)
        try:
            return squares_of(image, self.size, ReconstructOptions.render_size, faces)
        except DataError as error:
            raise DataError(f"{photo_name(photo)} {error}".replace("--crop center", 'crop="center"')) from error

    def _batch(self, found: Found) -> Float[Tensor, "1 3 size size"]:
        image = torch.from_numpy(found.image).movedim(-1, 0)[None].contiguous()
        return image.to(self.network.border.device)

    def _reader(self, crop: Crop | str) -> Callable[[Path], Tensor]:
        return lambda path: self.prepare(path, crop=crop)

    def _explained(self, squares: Sequence[tuple[str, Found]], refine: int) -> list[PhotoReconstruction]:
        if refine < 0:
            raise ConfigError(f"refine is a number of steps, 0 for none; got {refine}")
        results = explain_squares(self.network, [found for _, found in squares], refine)
        return [self._record(name, found, results, index) for index, (name, found) in enumerate(squares)]

    def _record(self, name: str, found: Found, results: Reconstruction, index: int = 0) -> PhotoReconstruction:
        sample = Sample.of(found, single(results, index), self.network, name, self.name)
        return PhotoReconstruction(sample, self.network)


def load(path: str | Path | None = None, device: torch.device | str = "cpu") -> Model:
    """Load a model for use.

    Args:
        path: a model folder, a run folder (its best model is taken), or `hf://owner/name` on the Hugging Face hub; None
            takes the shipped model, which knows faces.
        device: cpu, cuda or cuda:N.

    Raises:
        CheckpointError: there is no model, it is damaged, or of another version.
        ConfigError: the device is not there.

    Examples:
        >>> import scr3d
        >>> scr3d.load()
        Model(name='shipped', size=64)
    """
    return _opened(find_model(path), SHIPPED if path is None else written_name(path), device)


def _opened(folder: Path, name: str, device: torch.device | str) -> Model:
    network = load_model(folder, find_device(device))
    return Model(network, name, read_provenance(folder))
