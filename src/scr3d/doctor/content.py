"""The model and the data: whether they can be read, and whether the model gives on this machine what it gave before."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scr3d.doctor.findings import Finding, Level, first_line
from scr3d.errors import Scr3dError
from scr3d.files import MALFORMED, read_json

if TYPE_CHECKING:
    from scr3d.models.autoencoder import PhotoGeometricAutoencoder, Reconstruction

EXPECTATION = Path(__file__).parent.parent / "assets" / "doctor.json"
"""What the shipped model makes of the example; written by tools/doctor_expectation.py."""
EXAMPLE_SEED = 20
BLOCKS = 8
"""Maps are compared by the means of so many blocks along each side."""
TOLERANCE = 2e-3
"""Largest difference, of values between 0 and 1: processors round differently, a wrong kernel is off by far more."""
REINSTALL = "pip install --force-reinstall --no-deps scr3d"


def model_findings(path: Path | None, device: str) -> list[Finding]:
    """Load a model and let it explain a synthetic head.

    Args:
        path: run or model folder; None takes the shipped model.
        device: where to compute.
    """
    name = "model: " + ("shipped" if path is None else str(path))
    advice = REINSTALL if path is None else "take a checkpoint before it, or copy the folder again"
    try:
        from scr3d.models.io import find_model, load_model
        from scr3d.runtime import find_device

        folder = find_model(path)
        network = load_model(folder, find_device(device))
        found = [Finding(name, f"{network.config.size} pixels, weights are finite")]
        if path is None:
            found.append(_checksum(folder))
        return [*found, _reconstruction(network, shipped=path is None)]
    except Scr3dError as error:
        return [Finding(name, str(error), Level.FAULT, advice)]
    # A broken package has been named already; this says what it stops.
    except Exception as error:
        return [Finding(name, f"cannot be used: {first_line(error)}", Level.FAULT, "mend the faults above first")]


def data_findings(path: Path) -> list[Finding]:
    """Open every split of a data set and read some samples."""
    try:
        import numpy as np

        from scr3d.data.shards import is_sharded
        from scr3d.data.store import SPLITS, Store, is_store

        if is_sharded(path):
            return _shards(path)
        stores = [path] if is_store(path) else [path / split for split in SPLITS if is_store(path / split)]
        if not stores:
            return [_photos(path)]
        found = []
        for folder in stores:
            store = Store(folder)
            for index in sorted({0, len(store) // 2, len(store) - 1}):
                for name in store.arrays:
                    store.get(name, np.array([index]))
            found.append(
                Finding(
                    f"data: {folder.name}", f"{len(store):,} images of {store.size} pixels: {', '.join(store.arrays)}"
                )
            )
        if len(found) == 1 and stores[0] != path:
            found[0] = Finding(
                found[0].part,
                found[0].value,
                Level.WARNING,
                "training wants the splits train and val: make the other one",
            )
        return found
    except Scr3dError as error:
        return [Finding(f"data: {path}", str(error), Level.FAULT, "make the data set again, or give another folder")]
    except (OSError, *MALFORMED) as error:
        return [
            Finding(f"data: {path}", first_line(error), Level.FAULT, "make the data set again, or give another folder")
        ]


def _photos(path: Path) -> Finding:
    from scr3d.data.images import read_image
    from scr3d.data.layout import find_pairs

    pairs, _ = find_pairs(path, "train")
    read_image(pairs[0].image)
    return Finding(f"data: {path}", f"{len(pairs):,} photos for training; `scr3d data check` says more about them")


def _shards(path: Path) -> list[Finding]:
    from scr3d.data.shards import list_shards
    from scr3d.data.store import SPLITS

    found = []
    for split in SPLITS:
        try:
            listed = list_shards(path, split)
        except Scr3dError as error:
            if split == "test":
                continue
            found.append(Finding(f"data: {split}", str(error), Level.FAULT, "write the shards of this split as well"))
            continue
        count = "" if listed.samples is None else f", {sum(listed.samples):,} images of {listed.size} pixels"
        found.append(Finding(f"data: {split}", f"{len(listed.locations)} shards{count}"))
    return found


def _checksum(folder: Path) -> Finding:
    try:
        digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
        expected = read_json(EXPECTATION)["weights_sha256"]
    except (OSError, *MALFORMED) as error:
        return Finding("model: checksum", f"cannot be told: {first_line(error)}", Level.FAULT, REINSTALL)
    if digest != expected:
        return Finding("model: checksum", "the weights are not those of this version", Level.FAULT, REINSTALL)
    return Finding("model: checksum", "as published")


def _reconstruction(network: PhotoGeometricAutoencoder, *, shipped: bool) -> Finding:
    import numpy as np

    part = "model: reconstruction"
    found = summary(explain_example(network))
    values = np.array([value for name in found for value in np.ravel(found[name])])
    if not np.isfinite(values).all():
        advice = "run again with --device cpu; if that works, the GPU or its driver is at fault"
        return Finding(part, "of the example holds values that are not finite", Level.FAULT, advice)
    if not shipped:
        return Finding(part, "of the example is finite")
    expected = read_json(EXPECTATION)["reconstruction"]
    farthest = max(float(np.abs(np.asarray(expected[name]) - np.asarray(found[name])).max()) for name in expected)
    if farthest > TOLERANCE:
        advice = "remove the kernel cache (see above) and try again; if it stays, report it with this page"
        return Finding(part, f"of the example differs by {farthest:.2g}, more than {TOLERANCE:g}", Level.FAULT, advice)
    return Finding(part, f"of the example as expected, within {max(farthest, 1e-7):.1g}")


def explain_example(network: PhotoGeometricAutoencoder) -> Reconstruction:
    """What a model makes of one synthetic head."""
    import numpy as np
    import torch

    from scr3d.data.heads import HeadsConfig, sample

    config = HeadsConfig(split="test", count=1, size=network.config.size, seed=EXAMPLE_SEED)
    with torch.no_grad():
        return network.reconstruct(sample(config, np.array([0])).image.to(network.border.device))


def summary(result: Reconstruction) -> dict[str, Any]:
    """Few numbers that stand for a reconstruction, near 0 to 1 each."""
    import torch.nn.functional as F

    def blocks(maps: Any) -> list[float]:
        return [round(float(value), 6) for value in F.adaptive_avg_pool2d(maps.cpu(), BLOCKS).reshape(-1)]

    factors = result.factors
    return {
        "canonical_depth": blocks(factors.canonical_depth),
        "canonical_albedo": blocks(factors.canonical_albedo[0].mean(0, keepdim=True)),
        "image": blocks(result.image[0].mean(0, keepdim=True)),
        "rotation_rad": [round(float(value), 6) for value in factors.view.rotation_rad[0].cpu()],
    }
