"""Parts that the studio's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from scr3d.causal.kinds import MixingKind, StructureKind
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.models.config import ModelConfig
from scr3d.models.io import save_model


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained models by name: an order with weights of one, one graph per image, recursive, independent."""
    import torch

    root = tmp_path_factory.mktemp("models")
    configs = {
        "dense": ModelConfig(size=32, width=4, structure=StructureKind("dense"), order="ADLV"),
        "recursive": ModelConfig(
            size=32, width=4, structure=StructureKind("dense"), order="VDLA", mixing=MixingKind("recursive")
        ),
        "dynamic": ModelConfig(size=32, width=4, structure=StructureKind("dynamic"), order="VLAD"),
        "alone": ModelConfig(size=32, width=4, structure=StructureKind("independent")),
    }
    for seed, (name, config) in enumerate(configs.items()):
        torch.manual_seed(seed)
        save_model(root / name, PhotoGeometricAutoencoder(config), {})
    return {name: root / name for name in configs}
