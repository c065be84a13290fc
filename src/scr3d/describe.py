"""What a model is: structure and weights of its graph, networks, training and scores, as records and in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.causal import Order, format_edges, is_acyclic
from scr3d.causal.structure import DEFAULT_ORDER, StructureKind
from scr3d.errors import DataError
from scr3d.export.graph_picture import GraphPanel, draw_graphs
from scr3d.factors import FACTORS
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.models.io import find_model, load_model, read_description
from scr3d.serialization import to_json
from scr3d.training.recipe import Recipe

PARTS = ("encoders", "decoders", "mixing", "structure", "confidence")
WEIGHTS_BATCH = 64


@dataclass(frozen=True)
class Description:
    """All that `scr3d describe` tells.

    Attributes:
        record: plain JSON values.
        panels: the graphs to draw; none for a graph that depends on the images, where none were given.
    """

    record: dict[str, Any]
    panels: list[GraphPanel]

    def text(self) -> str:
        """The record as lines."""
        return "\n".join(_lines(self.record))

    def draw(self, path: Path) -> None:
        """Draw the graph, or the graph as learned beside the final one, as .png or .svg."""
        draw_graphs(self.panels, path)


@torch.no_grad()
def graph_weights(
    model: PhotoGeometricAutoencoder, images: Sequence[Float[Tensor, "batch 3 size size"]]
) -> tuple[Float[Tensor, "4 4"], Float[Tensor, "4 4"] | None]:
    """Mean and standard deviation over images of the weights [child, parent]; no deviation for one graph for all.

    Args:
        model: with any structure.
        images: batches; not needed for one graph for all.

    Raises:
        DataError: every image has its own graph, and there are no images.
    """
    if model.config.structure is not StructureKind.DYNAMIC:
        embeddings = torch.zeros(1, len(FACTORS), model.config.embedding, device=model.border.device)
        return model.structure(embeddings).detach().cpu(), None
    if not images:
        raise DataError("every image has a graph of its own: give images with --images or --data to see them")
    weights = torch.cat([model.structure(model.encode(batch)) for batch in images]).cpu()
    return weights.mean(0), weights.std(0, correction=0)


def describe(path: Path | None, images: Sequence[Float[Tensor, "batch 3 size size"]] = ()) -> Description:
    """Describe a run's best model, a model folder, or the shipped model.

    Args:
        path: run or model folder; None takes the shipped model.
        images: batches in [0, 1] over which the graphs of a dynamic structure are summed up.

    Raises:
        CheckpointError: there is no model, or it is damaged.
    """
    folder = find_model(path)
    model = load_model(folder)
    provenance = read_description(folder).get("provenance", {})
    record: dict[str, Any] = {
        "model": str(folder) if path else "shipped with scr3d",
        "structure": _structure(model),
        "parameters": count_parameters(model),
        "configuration": to_json(model.config),
        "training": _training(provenance),
        "validation": provenance.get("validation", {}),
        "evaluation": _evaluations(path),
    }
    panels: list[GraphPanel] = []
    if model.config.structure is not StructureKind.DYNAMIC or images:
        mean, spread = graph_weights(model, images)
        record["weights"] = _matrix(mean)
        if spread is not None:
            record["spread over images"] = _matrix(spread)
        panels = _panels(path, model, mean, spread, record)
    return Description(record, panels)


def count_parameters(model: PhotoGeometricAutoencoder) -> dict[str, int]:
    """Trained numbers by part of the model."""
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        part = name.partition(".")[0]
        counts["decoders" if part.endswith("_decoder") else part] += parameter.numel()
    return counts | {"all": sum(counts.values())}


def _structure(model: PhotoGeometricAutoencoder) -> dict[str, Any]:
    config = model.config
    found: dict[str, Any] = {"kind": str(config.structure), "mixing": str(config.mixing)}
    if config.structure is StructureKind.DYNAMIC:
        found |= {"order": config.order or DEFAULT_ORDER, "attention": str(config.attention)}
    elif config.order is not None:
        found["order"] = str(Order.parse(config.order))
    if config.structure is StructureKind.INDEPENDENT:
        found["networks"] = "encoder and decoder split at an embedding" if config.split else "not split (Wu et al.)"
    mask = model.structure.get_buffer("mask")
    found["possible edges"] = format_edges(mask) or "none"
    return found


def _training(provenance: dict[str, Any]) -> dict[str, Any]:
    training = provenance.get("training", {})
    found = {"images seen": provenance.get("images_seen"), "data (fingerprint)": provenance.get("data")}
    found |= {"data": training.get("data"), "seed": training.get("seed"), "scr3d": provenance.get("version")}
    usual = to_json(Recipe())
    changed = {name: value for name, value in training.get("recipe", {}).items() if usual.get(name) != value}
    found["recipe, where it is not the default"] = changed or "none"
    return {name: value for name, value in found.items() if value is not None}


def _evaluations(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    found = {}
    for file in sorted(Path(path).glob("evaluation/*/scores.json")):
        rows = json.loads(file.read_text(encoding="utf-8")).get("rows", {})
        found[file.parent.name] = {
            f"{row}: {score}": values[score]["mean"]
            for row, values in rows.items()
            for score in ("side_e2", "mad_deg", "coverage")
        }
    return found


def _panels(
    path: Path | None,
    model: PhotoGeometricAutoencoder,
    mean: Tensor,
    spread: Tensor | None,
    record: dict[str, Any],
) -> list[GraphPanel]:
    learned = Path(path) / "graph.json" if path else None
    if learned is None or not learned.is_file():
        title = f"{model.config.structure} {record['structure'].get('order', '')}".strip()
        note = "mean ± spread over images" if spread is not None else ""
        numbered = model.config.structure in (StructureKind.GENERIC, StructureKind.DYNAMIC)
        return [GraphPanel(mean, spread, title, note, numbered)]
    graph = json.loads(learned.read_text(encoding="utf-8"))
    record["learned graph"] = graph
    before, after = torch.tensor(graph["learned"]), torch.tensor(graph["projected"])
    if torch.equal(before, after):
        return [GraphPanel(after, None, f"learned under {model.config.order}" if model.config.order else "learned")]
    note = f"penalty {graph['penalty']:.2g}" + ("" if is_acyclic(before) else ", has cycles")
    final = "final graph" if graph["settled"] else "acyclic projection so far"
    return [GraphPanel(before, None, "as learned", note), GraphPanel(after, None, final, ", ".join(graph["edges"]))]


def _matrix(weights: Tensor) -> dict[str, dict[str, float]]:
    names = [factor.name.lower() for factor in FACTORS]
    return {
        f"{child} from": {parent: round(float(weights[i, j]), 4) for j, parent in enumerate(names) if i != j}
        for i, child in enumerate(names)
    }


def _lines(values: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for name, value in values.items():
        if isinstance(value, dict) and value and any(isinstance(v, dict) for v in value.values()):
            lines += [f"{indent}{name}", *_lines(value, indent + "  ")]
        elif isinstance(value, dict):
            if value:
                cells = [f"{key} {_number(item)}" for key, item in value.items()]
                short = len(", ".join(cells)) < 80
                rest = [", ".join(cells)] if short else cells
                lines += [f"{indent}{name}", *(f"{indent}  {line}" for line in rest)]
        else:
            lines.append(f"{indent}{name}: {_number(value)}")
    return lines


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
