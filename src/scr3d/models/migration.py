"""What older versions of a model's configuration left unsaid.

Whoever adds a field to `ModelConfig` adds one to `VERSION` and a function here that says what models computed before
the field was there, which need not be its default, and keeps a model of the new version in tests/old.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scr3d.errors import CheckpointError

VERSION = 2
"""Version of the models that are written."""


def migrate(model: dict[str, Any], version: int, source: str) -> dict[str, Any]:
    """The configuration of an older model as this version would have written it.

    Args:
        model: the configuration that was stored.
        version: under which.
        source: where, for the message.

    Raises:
        CheckpointError: it cannot be known what the model computes.
    """
    for step in range(version, VERSION):
        model = STEPS[step](model, source)
    return model


def from_version_1(model: dict[str, Any], source: str) -> dict[str, Any]:
    """Fields were added one after the other while the version stayed 1; the first ones cannot be told afterwards."""
    depth_range = model.get("depth_range")
    known = {"start_plane", "start_height", "depth_stride"} <= set(model)
    if not known or not isinstance(depth_range, dict) or "border_share" not in depth_range:
        raise CheckpointError(
            f"{source} is a model of version 1 from before the surface that training starts from was stored, which "
            f"this program (version {VERSION}) cannot know; train it again, or use the program that wrote it"
        )
    before = {
        "edges": None,
        "attention": "sigmoid",
        "weight_form": "absolute",
        "split": True,
        "parents": "joint",
        "encoders": "preset",
        "start_taper": 1.0,
        "outline_range": 0.0,
    }
    return before | model


STEPS: dict[int, Callable[[dict[str, Any], str], dict[str, Any]]] = {1: from_version_1}
"""By the version that they start from."""
