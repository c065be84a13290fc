"""Device, precision and determinism of a run."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning_fabric import Fabric

from scr3d.errors import ConfigError
from scr3d.training.config import TrainConfig


def make_fabric(config: TrainConfig) -> Fabric:
    """Device and precision of a run.

    Raises:
        ConfigError: the device does not exist.
    """
    name, _, index = config.device.partition(":")
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device must be auto, cpu, cuda or cuda:N; got {config.device!r}")
    count = torch.cuda.device_count()
    if name == "cuda" and int(index or 0) >= count:
        raise ConfigError(f"--device {config.device}: this machine has {count} CUDA devices; use cpu, or auto")
    accelerator = ("cuda" if count else "cpu") if name == "auto" else name
    devices: Any = [int(index)] if index else 1
    fabric = Fabric(accelerator=accelerator, devices=devices, precision=config.precision)
    fabric.launch()
    if config.deterministic:
        # cuBLAS reads this when it is first used; an error names what has no deterministic form.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    return fabric
