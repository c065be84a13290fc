"""Make src/scr3d/assets/mtcnn.safetensors, the networks that find faces.

    python tools/build_mtcnn.py                  fetches the wheel with pip
    python tools/build_mtcnn.py --source facenet_pytorch-2.6.0-py3-none-any.whl

The source is `facenet-pytorch` 2.6.0 from PyPI (MIT licence). Its weights are stored as float16; the rows of the first
dense layers are put into the order in which PyTorch flattens maps. The same source always gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from scr3d.files import write_bytes
from scr3d.photos.mtcnn import Mtcnn

PACKAGE = "facenet-pytorch==2.6.0"
SOURCE_SHA256 = "ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca"
MEMBERS = {"proposal": "pnet", "refinement": "rnet", "output": "onet"}
HEADS = {
    "proposal": {"face": "conv4_1", "box": "conv4_2"},
    "refinement": {"face": "dense5_1", "box": "dense5_2"},
    "output": {"face": "dense6_1", "box": "dense6_2", "landmarks": "dense6_3"},
}
ABOUT = (
    "MTCNN (Zhang et al. 2016) as float16; taken from facenet-pytorch 2.6.0 on PyPI, copyright 2019 Timothy Esler, MIT "
    "licence, which has them from davidsandberg/facenet, copyright 2016 David Sandberg, MIT licence; "
    "input: RGB in [-1, 1]"
)
OUTPUT = Path(__file__).resolve().parent.parent / "src" / "scr3d" / "assets" / "mtcnn.safetensors"


def fetch(folder: Path) -> Path:
    """Download the wheel; pip checks its hash."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{PACKAGE} --hash=sha256:{SOURCE_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "-r", str(requirements)]
    subprocess.run([*command, "-d", str(folder)], check=True)
    return next(folder.glob("facenet_pytorch-*.whl"))


def read_weights(source: Path) -> dict[str, dict[str, Tensor]]:
    """The three networks' weights from the wheel."""
    content = source.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SOURCE_SHA256:
        raise SystemExit(f"{source} has SHA-256 {digest}, expected {SOURCE_SHA256} (the wheel of {PACKAGE})")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {
            name: torch.load(io.BytesIO(archive.read(f"facenet_pytorch/data/{member}.pt")), weights_only=True)
            for name, member in MEMBERS.items()
        }


def convert(weights: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """The weights under this project's names."""
    wanted = Mtcnn().state_dict()
    result = {}
    for part, found in weights.items():
        heads = set(HEADS[part].values())
        trunk = [value for name, value in found.items() if name.rpartition(".")[0] not in heads]
        names = [name for name in wanted if name.startswith(f"{part}.layers.")]
        for name, value in zip(names, trunk, strict=True):
            result[name] = in_flat_order(value) if value.ndim == 2 else value
        for ours, theirs in HEADS[part].items():
            for kind in ("weight", "bias"):
                result[f"{part}.{ours}.{kind}"] = found[f"{theirs}.{kind}"]
    for name, value in result.items():
        if value.shape != wanted[name].shape:
            raise SystemExit(f"{name} should be {tuple(wanted[name].shape)}, the wheel has {tuple(value.shape)}")
    return {name: result[name].half().contiguous() for name in wanted}


def in_flat_order(weight: Tensor) -> Tensor:
    """Columns from (width, height, channel) to (channel, height, width); the last map has 3x3 pixels in both."""
    return weight.view(len(weight), 3, 3, -1).permute(0, 3, 2, 1).flatten(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--source", type=Path, help="the wheel of facenet-pytorch 2.6.0; downloaded if not given")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        weights = read_weights(options.source or fetch(Path(folder)))
    data = save(convert(weights), metadata={"about": ABOUT})
    write_bytes(options.output, data)
    print(f"{options.output}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
