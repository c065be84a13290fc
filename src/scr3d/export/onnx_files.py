"""A model as files in the ONNX format, for programs that have neither torch nor scr3d.

explain.onnx                          image -> all factors, surface and confidence
encode.onnx, mix.onnx, decode.onnx    the same in three steps, so that embeddings can be changed in between
onnx.json                             inputs, outputs, camera, ranges, and how far the files are from torch

Every file is run by ONNX Runtime and compared with torch before it gets its name. Needs the extra `onnx`.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import scr3d
from scr3d.errors import ConfigError, ExportError
from scr3d.export.onnx_parts import IMAGE, WHOLE_OUTPUTS, Part, allowed_difference, parts_of
from scr3d.factors import FACTORS
from scr3d.files import MALFORMED, atomic_folder, read_json, write_bytes, write_json
from scr3d.fused.dispatch import plain
from scr3d.models.autoencoder import PhotoGeometricAutoencoder

FORMAT, VERSION = "scr3d-onnx", 1
OPSET = 18
"""Version of ONNX's operators: the one that torch's exporter is written for."""
RECORD, WHOLE = "onnx.json", "explain"
CHECKED_BATCHES = (1, 3)
"""Sizes of the batches that files are compared on."""
NEEDED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class OnnxReport:
    """What was written.

    Attributes:
        files: the ONNX files.
        differences: largest difference of every output of explain.onnx from torch, relative to the largest value where
            that is above 1.
        opset: version of the operators.
    """

    files: tuple[Path, ...]
    differences: dict[str, float]
    opset: int = OPSET


def export_onnx(
    network: PhotoGeometricAutoencoder,
    folder: str | Path,
    parts: bool = False,
    tell: Callable[[str], None] = lambda step: None,
) -> OnnxReport:
    """Write a model as ONNX files, each compared with torch; the number of images is free.

    Args:
        network: the model.
        folder: new, empty, or that of an earlier export, which is replaced.
        parts: write encode.onnx, mix.onnx and decode.onnx as well.
        tell: is called with what is done next.

    Raises:
        ConfigError: the extra is not installed, the folder holds other things, or nothing can be written there.
        ExportError: a file does not compute what the model does.
    """
    for name in NEEDED:
        _need(name)
    folder = Path(folder).resolve()
    _check_folder(folder)
    network = _copy_for_export(network)
    written: dict[str, bytes] = {}
    differences: dict[str, float] = {}
    steps = parts_of(network)
    for part in steps:
        tell(f"converting {part.name}")
        written[part.name] = convert(part, _example(network, part))
    tell("comparing with torch")
    written[WHOLE] = join(steps, [written[part.name] for part in steps], metadata(network))
    for batch in CHECKED_BATCHES:
        for name, value in compare(network, steps, written, batch).items():
            differences[name] = max(value, differences.get(name, 0.0))
    kept = [WHOLE, *(part.name for part in steps if parts)]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder) as temporary:
            for name in kept:
                write_bytes(temporary / f"{name}.onnx", written[name])
            record = {"files": [f"{name}.onnx" for name in kept], "differences": differences}
            write_json(temporary / RECORD, metadata(network) | record)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror or error}; choose another") from error
    return OnnxReport(tuple(folder / f"{name}.onnx" for name in kept), differences)


def metadata(network: PhotoGeometricAutoencoder) -> dict[str, Any]:
    """What the numbers mean, as plain JSON values."""
    config, camera = network.config, network.camera
    return {
        "format": FORMAT,
        "version": VERSION,
        "scr3d": scr3d.__version__,
        "opset": OPSET,
        "image": {"size": config.size, "channels": "RGB", "range": [0, 1]},
        "factors": [factor.name.lower() for factor in FACTORS],
        "camera": {"fov_deg": config.fov_deg, "focal_px": camera.focal_px, "center_px": list(camera.center_px)},
        "depth_range": {"near": config.depth_range.near, "far": config.depth_range.far},
    }


def convert(part: Part, example: Tensor) -> bytes:
    """A part as an ONNX file, with a free number of images.

    Args:
        part: the part.
        example: an input with at least two images.
    """
    onnx = _need("onnx")
    with torch.no_grad(), plain(), _quiet():
        # Constants that modules keep for later must be made before the exporter records, not while it does.
        part.module(example)
        program = torch.onnx.export(
            part.module,
            (example,),
            input_names=[part.input],
            output_names=list(part.outputs),
            dynamic_shapes=({0: "batch"},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None  # without the name of a file, the exporter returns it
    model = program.model_proto
    _forget_origin(model)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def join(parts: Sequence[Part], contents: Sequence[bytes], about: dict[str, Any]) -> bytes:
    """Parts in a row as one file.

    Args:
        parts: in the order of the data.
        contents: their files.
        about: is kept in the file as its metadata, in JSON under the name `scr3d`.
    """
    onnx = _need("onnx")
    joined: Any = None
    available: list[str] = []
    for number, (part, content) in enumerate(zip(parts, contents, strict=True)):
        model = onnx.load_from_string(content)
        model = onnx.compose.add_prefix(model, f"{part.name}/", rename_inputs=False, rename_outputs=False)
        needed = (*WHOLE_OUTPUTS, *(later.input for later in parts[number + 1 : number + 2]))
        available = [name for name in (*available, *part.outputs) if name in needed]
        links = [(part.input, part.input)]
        joined = model if joined is None else onnx.compose.merge_models(joined, model, links, outputs=available)
    onnx.helper.set_model_props(joined, {"scr3d": json.dumps(about)})
    joined.producer_name, joined.producer_version = "scr3d", scr3d.__version__
    joined.graph.name = WHOLE
    del joined.opset_import[1:]  # joining repeats the one version that all parts have
    onnx.checker.check_model(joined, full_check=True)
    return bytes(joined.SerializeToString())


@torch.no_grad()
def compare(
    network: PhotoGeometricAutoencoder, parts: Sequence[Part], contents: dict[str, bytes], batch: int
) -> dict[str, float]:
    """Run all files on the same images as torch; the largest difference of every output of the whole.

    Raises:
        ExportError: a difference is larger than rounding.
    """
    image = smooth_images(batch, network.config.size)
    known = {IMAGE: image}
    for part in parts:
        results = dict(zip(part.outputs, part.module(known[part.input]), strict=True))
        _differences(part.name, contents[part.name], part.input, known[part.input], results)
        known |= results
    return _differences(WHOLE, contents[WHOLE], IMAGE, image, {name: known[name] for name in WHOLE_OUTPUTS})


def smooth_images(count: int, size: int) -> Tensor:
    """Seeded random images with large patches and small ones, in [0, 1]."""
    random = torch.Generator().manual_seed(count)
    coarse, fine = (torch.rand(count, 3, side, side, generator=random) for side in (4, size))
    enlarged = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=True)
    return 0.8 * enlarged + 0.2 * fine


def _differences(name: str, content: bytes, input: str, value: Tensor, expected: dict[str, Tensor]) -> dict[str, float]:
    runtime = _need("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    found = session.run(list(expected), {input: value.numpy()})
    differences = {}
    for (output, wanted), given in zip(expected.items(), found, strict=True):
        reference = wanted.numpy()
        if given.shape != reference.shape:
            raise ExportError(
                f"{name}.onnx gives {output} as {given.shape}, torch as {reference.shape}; nothing is kept"
            )
        difference = float(np.abs(given - reference).max() / max(1.0, float(np.abs(reference).max())))
        # Written so that a value that is no number is refused as well.
        if not difference <= allowed_difference(output):
            raise ExportError(
                f"{name}.onnx gives another {output} than torch: they differ by {difference:.2g}, allowed is "
                f"{allowed_difference(output):g}; nothing is kept; try other versions of onnxscript and onnxruntime"
            )
        differences[output] = difference
    return differences


def _copy_for_export(network: PhotoGeometricAutoencoder) -> PhotoGeometricAutoencoder:
    """The same model on the CPU, for use, with weights of its own in the usual order of memory."""
    copy = PhotoGeometricAutoencoder(network.config)
    copy.load_state_dict({name: value.detach().cpu().float() for name, value in network.state_dict().items()})
    return copy.eval()


@torch.no_grad()
def _example(network: PhotoGeometricAutoencoder, part: Part) -> Tensor:
    image = smooth_images(2, network.config.size)
    return image if part.name == "encode" else network.encode(image)


def _forget_origin(model: Any) -> None:
    """Leave out which lines of which files on this machine an operator comes from."""
    for holder in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        del holder.metadata_props[:]
        holder.doc_string = ""
    for holder in model.graph.initializer:
        del holder.metadata_props[:]
    del model.metadata_props[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes to developers from users."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _need(name: str) -> Any:
    """A package of the extra `onnx`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"ONNX files need the package {error.name}: pip install 'scr3d[onnx]'") from error


def _check_folder(folder: Path) -> None:
    """Nothing but an earlier export is replaced.

    Raises:
        ConfigError: the folder holds something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        known = folder.is_dir() and read_json(folder / RECORD)["format"] == FORMAT
    except (OSError, *MALFORMED):
        known = False
    if not known:
        raise ConfigError(f"{folder} is not an earlier export of scr3d; choose a new folder")
