"""Starting from trained weights: of the same size, or of half the size (progressive growth)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from scr3d.errors import CheckpointError
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.models.config import ModelConfig, Preset
from scr3d.models.io import find_model, read_model

OUTLINE_PREFIX = "outline_decoder."


def start_weights(path: Path, config: ModelConfig) -> dict[str, Tensor]:
    """Weights for a model of `config` from a trained model of the same or of half the size.

    Raises:
        CheckpointError: there is no model, or it cannot be grown to this one.
    """
    folder = find_model(path)
    source, weights = read_model(folder)
    while source.size < config.size:
        source, weights = grow(source, weights)
    fresh = PhotoGeometricAutoencoder(config).state_dict()
    # A model without outlines of its own starts from the one for all.
    weights = {name: value for name, value in fresh.items() if name.startswith(OUTLINE_PREFIX)} | weights
    if {k: v.shape for k, v in fresh.items()} != {k: v.shape for k, v in weights.items()}:
        raise CheckpointError(f"{folder} holds {_in_words(source)}; asked for {_in_words(config)}")
    return {name: weights[name] if name != "structure.mask" else value for name, value in fresh.items()}


def grow(config: ModelConfig, weights: dict[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The weights of a model of twice the size.

    The compact networks compute what they computed before, on the image at half the size: new encoder stages
    start without influence, new outputs of the decoders at zero. The reference networks keep every layer that
    exists in both, counted from the embedding; the layers at the image's side start afresh.
    """
    larger = replace(config, size=2 * config.size)
    grown = PhotoGeometricAutoencoder(larger).state_dict()
    old_stages, new_stages = _stage_counts(weights), _stage_counts(grown)
    for name, value in grown.items():
        source = _source_name(name, old_stages, new_stages)
        if source in weights and weights[source].shape == value.shape:
            value.copy_(weights[source])
        elif config.preset is Preset.COMPACT:
            old = weights.get(source)
            if old is not None and old.ndim == 4 and old.shape[0] == value.shape[0]:
                value.zero_()  # a first convolution that also sees a new stage: the image's channels come first
                value[:, : old.shape[1]] = old
            elif ".outputs." in name:
                value.zero_()
    return larger, grown


def _in_words(config: ModelConfig) -> str:
    order = f" {config.order}" if config.order else ""
    return (
        f"a {config.preset} model of size {config.size}, width {config.width}, depth stride {config.depth_stride}, "
        f"{config.structure}{order} structure, {config.mixing} mixing"
    )


def _stage_counts(weights: dict[str, Tensor]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in weights:
        prefix, found, rest = name.partition(".stages.")
        if found:
            counts[prefix] = max(counts.get(prefix, 0), int(rest.split(".")[0]) + 1)
    return counts


def _source_name(name: str, old_stages: dict[str, int], new_stages: dict[str, int]) -> str:
    """Where a parameter of the larger model is found in the smaller one."""
    prefix, found, rest = name.partition(".stages.")
    if not found or "encoder" not in prefix:
        return name
    number, _, parameter = rest.partition(".")
    shifted = int(number) - (new_stages[prefix] - old_stages[prefix])
    return f"{prefix}.stages.{shifted}.{parameter}"
