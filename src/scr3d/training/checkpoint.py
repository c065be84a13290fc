"""Checkpoints: safetensors for tensors, JSON for the rest, whole or not there at all.

    RUN/checkpoints/000001234/state.json         step, configuration, counters, digests of the tensor files
    RUN/checkpoints/000001234/model.safetensors
    RUN/checkpoints/000001234/average.safetensors
    RUN/checkpoints/000001234/optimiser.safetensors

A checkpoint is written under a temporary name, flushed and renamed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from scr3d.errors import CheckpointError
from scr3d.files import MALFORMED, PARTIAL_MARK, atomic_folder, read_json, write_bytes, write_json

VERSION = 2
KEPT = 2
STATE = "state"
"""Name of the digest of state.json among those of the tensor files."""
COUNT, MOMENTS = "step", ("exp_avg", "exp_avg_sq")
"""What Adam keeps for every weight: a number, and tensors of the weight's shape."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run between two steps.

    Attributes:
        state: plain JSON values: step, counters, scores, configuration.
        tensors: tensors by group (`model`, `average`, `optimiser`) and name.
    """

    state: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that it is either whole or not there."""
    with atomic_folder(folder) as temporary:
        digests = {}
        for group, tensors in checkpoint.tensors.items():
            content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
            digests[group] = hashlib.sha256(content).hexdigest()
            write_bytes(temporary / f"{group}.safetensors", content)
        digests[STATE] = state_digest(checkpoint.state)
        write_json(temporary / "state.json", {"version": VERSION, "sha256": digests, **checkpoint.state})


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint and verify it.

    Raises:
        CheckpointError: it is cut short, changed, or of another version.
    """
    try:
        state = read_json(folder / "state.json")
        version, digests = state.pop("version"), {**state.pop("sha256")}
        if version != VERSION:
            raise CheckpointError(f"{folder} is a checkpoint of version {version}, this program reads {VERSION}")
        # Checkpoints of this version that were written by version 0.1.0 of the program have no digest of the state.
        if digests.pop(STATE, None) not in (None, state_digest(state)):
            raise CheckpointError(f"{folder / 'state.json'} is damaged: its content does not match its digest")
        tensors = {}
        for group, digest in digests.items():
            if Path(group).name != group:
                raise ValueError(f"{group!r} is no name of a file in it")
            content = (folder / f"{group}.safetensors").read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                raise CheckpointError(f"{folder / group}.safetensors is damaged: its content does not match its digest")
            tensors[group] = load(content)
    except (OSError, SafetensorError, *MALFORMED) as error:
        raise CheckpointError(f"{folder} is damaged: {error}") from error
    return Checkpoint(state, tensors)


def state_digest(state: Mapping[str, Any]) -> str:
    """A hash of plain JSON values."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def list_checkpoints(run: Path) -> list[Path]:
    """Whole checkpoints of a run, newest last."""
    return sorted(p for p in (run / "checkpoints").glob("[0-9]*") if p.is_dir() and re.fullmatch("[0-9]+", p.name))


def prune_checkpoints(run: Path) -> None:
    """Remove all but the newest checkpoints, and what interrupted writes have left."""
    for path in [*list_checkpoints(run)[:-KEPT], *(run / "checkpoints").glob(PARTIAL_MARK + "*")]:
        shutil.rmtree(path)


def optimiser_tensors(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of Adam over `model.parameters()`, by parameter name and quantity."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for quantity, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{name}|{quantity}"] = torch.as_tensor(value)
    return tensors


def restore_optimiser(model: nn.Module, optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors of `optimiser_tensors` back.

    Raises:
        CheckpointError: they belong to another model, or are not whole.
    """
    parameters = dict(model.named_parameters())
    quantities: dict[str, set[str]] = {}
    for key, value in tensors.items():
        name, _, quantity = key.partition("|")
        known = name in parameters and quantity in (COUNT, *MOMENTS)
        if not known or value.shape != (() if quantity == COUNT else parameters[name].shape):
            raise CheckpointError(f"the optimiser state has {key} of shape {tuple(value.shape)}, the model has not")
        quantities.setdefault(name, set()).add(quantity)
    if partial := [name for name, found in quantities.items() if found != {COUNT, *MOMENTS}]:
        raise CheckpointError(f"the optimiser state of {partial[0]} is not whole")
    for key, value in tensors.items():
        name, _, quantity = key.partition("|")
        parameter = parameters[name]
        restored = value.to(parameter.device)  # a fused optimiser wants its counts beside the weights
        if value.ndim == 4:
            restored = torch.empty_like(parameter).copy_(restored)  # keeps the parameter's memory format
        optimiser.state[parameter][quantity] = restored
