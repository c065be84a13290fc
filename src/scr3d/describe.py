"""What a model is: its causal graph, networks, training and scores, as plain records and as graphs to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.causal import Order, format_edges, is_acyclic
from scr3d.causal.structure import DEFAULT_ORDER, StructureKind
from scr3d.data.dataset import Dataset
from scr3d.data.store import Store, is_store
from scr3d.errors import CheckpointError, DataError, Scr3dError
from scr3d.export.graph_picture import GraphPanel, draw_graphs
from scr3d.factors import FACTORS
from scr3d.files import MALFORMED, read_json
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.models.io import find_model, load_model, read_provenance
from scr3d.serialization import to_json
from scr3d.training.config import TrainConfig, recipe_defaults
from scr3d.training.recipe import RECIPES

PARTS = ("encoders", "structure", "mixing", "decoders", "confidence")
SCORES = ("side_e2", "mad_deg", "coverage")
FACTOR_NAMES = tuple(factor.name.lower() for factor in FACTORS)
SAME_WEIGHT = 0.05
"""Largest difference between two weights that a picture of the graph hardly shows."""
SHOWN_ELSEWHERE = ("preset", "size", "width", "structure", "order", "edges", "attention", "weight_form", "mixing")
"""Options of the model that are no part of its recipe, since a description names them by themselves."""
RUN_OPTIONS = ("seed", "mirror", "features", "precision")


@dataclass(frozen=True)
class Description:
    """All that `scr3d describe` tells.

    Attributes:
        record: plain JSON values.
        panels: the graphs to draw, side by side.
    """

    record: dict[str, Any]
    panels: list[GraphPanel]

    def draw(self, path: Path) -> None:
        """Draw the graphs as .png or .svg."""
        draw_graphs(self.panels, path)


@torch.no_grad()
def graph_weights(
    model: PhotoGeometricAutoencoder, images: Sequence[Float[Tensor, "_ 3 size size"]] = ()
) -> tuple[Float[Tensor, "4 4"], Float[Tensor, "4 4"] | None]:
    """Mean and standard deviation over images of the weights [child, parent]; no deviation for one graph for all.

    Args:
        model: with any structure.
        images: batches in [0, 1]; not needed for one graph for all.

    Raises:
        DataError: every image has its own graph, and there are no images.
    """
    if not has_graph_per_image(model):
        return _weights_without_images(model), None
    if not images:
        raise DataError("every image has a graph of its own: give images with --images or --data to see the weights")
    weights = torch.cat([model.structure(model.encode(batch)) for batch in images]).cpu()
    return weights.mean(0), weights.std(0, correction=0)


def has_graph_per_image(model: PhotoGeometricAutoencoder) -> bool:
    """Whether the weights of the graph depend on the image."""
    return _weights_without_images(model).ndim == 3


@torch.no_grad()
def _weights_without_images(model: PhotoGeometricAutoencoder) -> Tensor:
    blank = torch.zeros(1, len(FACTORS), model.config.embedding, device=model.border.device)
    return model.structure(blank).detach().cpu()


def describe(path: Path | None, images: Sequence[Float[Tensor, "_ 3 size size"]] = ()) -> Description:
    """Describe a run's best model, a model folder, or the shipped model.

    Args:
        path: run or model folder; None takes the shipped model.
        images: batches in [0, 1] over which the graphs are summed up, where every image has one of its own.

    Raises:
        CheckpointError: there is no model, or it is damaged.
        DataError: the learned graph or the scores of the run are damaged.
    """
    folder = find_model(path)
    provenance = read_provenance(folder)
    found = describe_model(load_model(folder), images, provenance, path)
    found.record["model"] = {"folder": str(folder), "shipped": path is None, "version": provenance.get("version")}
    return found


def describe_model(
    model: PhotoGeometricAutoencoder,
    images: Sequence[Float[Tensor, "_ 3 size size"]] = (),
    provenance: dict[str, Any] | None = None,
    run: Path | None = None,
) -> Description:
    """Describe a model that is loaded.

    Args:
        model: the model.
        images: as for `describe`.
        provenance: how it was made, as `save_model` takes it.
        run: folder with evaluation/*/scores.json and graph.json, if there are any.
    """
    provenance = provenance or {}
    per_image = has_graph_per_image(model)
    learned = None
    # Under the mask of an order nothing is projected: the weights of the model are all there is to see.
    if run and (run / "graph.json").is_file() and not is_acyclic(model.structure.get_buffer("mask").cpu()):
        learned = read_learned_graph(run / "graph.json")
    weights, panels = None, [_possible_edges(model)]
    if images or not per_image:
        count = sum(map(len, images)) if per_image else None
        mean, spread = graph_weights(model, images)
        weights = {
            "mean": mean.tolist(),
            "spread": None if spread is None else spread.tolist(),
            "images": count,
            "acyclic": is_acyclic(mean),
        }
        panels = _panels(model, mean, spread, count, learned)
    record: dict[str, Any] = {
        "model": {"folder": None, "shipped": False, "version": provenance.get("version")},
        "structure": _structure(model, per_image),
        "factors": list(FACTOR_NAMES),
        "weights": weights,
        "learned_graph": learned,
        "networks": to_json(model.config),
        "parameters": count_parameters(model),
        "training": _training(model, provenance, run),
        "validation": provenance.get("validation", {}),
        "evaluation": {} if run is None else _evaluations(run),
    }
    return Description(_finite(record), panels)


def count_parameters(model: PhotoGeometricAutoencoder) -> dict[str, int]:
    """Trained numbers by part of the model."""
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        part = name.partition(".")[0]
        part = "decoders" if part.endswith("_decoder") else part
        counts[part] = counts.get(part, 0) + parameter.numel()
    return counts | {"all": sum(counts.values())}


def read_learned_graph(path: Path) -> dict[str, Any]:
    """The content of a run's graph.json.

    Raises:
        DataError: it is damaged.
    """
    count = len(FACTORS)
    try:
        graph = read_json(path)
        for name in ("learned", "projected"):
            weights = torch.tensor(graph[name], dtype=torch.float32)
            if weights.shape != (count, count) or not weights.isfinite().all():
                raise ValueError(f"{name!r} is no {count}x{count} matrix of numbers")
        edges = graph.get("edges", [])
        if not (isinstance(edges, list) and all(isinstance(edge, str) for edge in edges)):
            raise ValueError("'edges' is no list of edges")
        penalty = float(graph["penalty"])
        return {**graph, "edges": edges, "penalty": penalty, "settled": bool(graph.get("settled", True))}
    except (OSError, *MALFORMED) as error:
        raise DataError(f"{path} is no learned graph ({error}); remove it, or train on to write it again") from error


def _structure(model: PhotoGeometricAutoencoder, per_image: bool) -> dict[str, Any]:
    config, kind = model.config, model.config.structure
    order = config.order or (DEFAULT_ORDER if kind is StructureKind.DYNAMIC else None)
    return {
        "kind": str(kind),
        "order": None if order is None else str(Order.parse(order)),
        "edges": config.edges,
        "attention": str(config.attention) if kind is StructureKind.DYNAMIC else None,
        "weight_form": str(config.weight_form) if kind is StructureKind.GENERIC else None,
        "per_image": per_image,
        "possible_edges": [edge for edge in format_edges(model.structure.get_buffer("mask").cpu()).split(",") if edge],
        "mixing": str(config.mixing),
        "split": config.split,
    }


def _training(model: PhotoGeometricAutoencoder, provenance: dict[str, Any], run: Path | None) -> dict[str, Any]:
    training = provenance.get("training") or {}
    fingerprint, folder = provenance.get("data"), training.get("data")
    try:
        recipe, differences = recipe_differences(model, training)
    except MALFORMED as error:
        raise CheckpointError(f"the record of how the model was trained cannot be read: {error}") from error
    return {
        "images_seen": provenance.get("images_seen"),
        "images_planned": training.get("images"),
        "start_from": training.get("start_from"),
        "data": {"fingerprint": fingerprint, "folder": folder, "source": _source(fingerprint, folder, run)},
        "recipe": recipe,
        "differences": differences,
    }


def recipe_differences(
    model: PhotoGeometricAutoencoder, training: dict[str, Any]
) -> tuple[str | None, dict[str, dict[str, Any]]]:
    """The named recipe that a run comes closest to, and what differs from its defaults.

    Args:
        model: the model that was trained.
        training: the recorded configuration of the run; may be of an earlier version.

    Returns:
        The recipe's name, and by option its value and the recipe's; None where no recipe is recorded.
    """
    if not training.get("recipe"):
        return None, {}
    config = {name: value for name, value in to_json(model.config).items() if name not in SHOWN_ELSEWHERE}
    recorded = {**{name: training[name] for name in RUN_OPTIONS if name in training}, **config}
    recorded |= {**training["recipe"], **training.get("optimiser", {})}
    if model.config.structure is StructureKind.GENERIC:
        recorded |= training.get("graph", {})
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in RECIPES:
        network, recipe, optimiser = recipe_defaults(name)
        usual = to_json(TrainConfig(data=Path(), out=Path(), model=network, recipe=recipe, optimiser=optimiser))
        flat = {**usual, **usual["model"], **usual["recipe"], **usual["optimiser"], **usual["graph"]}
        found[name] = {
            option: {"value": value, "default": flat.get(option)}
            for option, value in recorded.items()
            if value != flat.get(option)
        }
    nearest = min(found, key=lambda name: len(found[name]))
    return nearest, found[nearest]


def _source(fingerprint: str | None, folder: str | None, run: Path | None) -> dict[str, Any] | None:
    """Where the training images come from, as their store says, if it is still there and unchanged."""
    places = [Path(folder) / "train", Path(folder)] if isinstance(folder, str) else []
    for place in [*places, *([] if run is None else [run / "data" / "train"])]:
        try:
            if is_store(place) and Dataset(store := Store(place)).fingerprint() == fingerprint:
                return {**store.info.source, "count": store.info.count}
        except (Scr3dError, OSError):
            continue  # What became of the images later is no fault of the model.
    return None


def _evaluations(run: Path) -> dict[str, Any]:
    found = {}
    for file in sorted(run.glob("evaluation/*/scores.json")):
        try:
            scores = read_json(file)
            rows = {
                row: {score: dict(values[score]) for score in SCORES} for row, values in scores.get("rows", {}).items()
            }
            data = scores.get("data") or {}
            found[file.parent.name] = {
                "images": scores.get("images"),
                "fingerprint": data.get("fingerprint"),
                "split": data.get("split"),
                "image_error": next(iter((scores.get("image") or {}).values()), None),
                "rows": rows,
            }
        except (OSError, *MALFORMED) as error:
            raise DataError(f"{file} is no result of scr3d evaluate ({error}); remove it or evaluate again") from error
    return found


def _possible_edges(model: PhotoGeometricAutoencoder) -> GraphPanel:
    mask = model.structure.get_buffer("mask").detach().cpu().float()
    return GraphPanel(mask, None, _title(model), "possible edges; every image has weights of its own", numbered=False)


def _title(model: PhotoGeometricAutoencoder) -> str:
    config, kind = model.config, model.config.structure
    order = config.order or (DEFAULT_ORDER if kind is StructureKind.DYNAMIC else None)
    name = f"{kind} ({config.attention})" if kind is StructureKind.DYNAMIC else str(kind)
    return name if order is None else f"{name}, order {order.strip().upper()}"


def _panels(
    model: PhotoGeometricAutoencoder,
    mean: Float[Tensor, "4 4"],
    spread: Float[Tensor, "4 4"] | None,
    images: int | None,
    learned: dict[str, Any] | None,
) -> list[GraphPanel]:
    numbered = spread is not None or bool(((mean != 0) & (mean != 1)).any())
    note = "" if spread is None else f"mean ± standard deviation over {images:,} images"
    own = GraphPanel(mean, spread, _with_cycles(_title(model), mean), note, numbered)
    if learned is None or learned["learned"] == learned["projected"]:
        return [own]
    before, after = torch.tensor(learned["learned"]), torch.tensor(learned["projected"])
    final = "final graph" if learned["settled"] else "without cycles and weak edges"
    titles = [_with_cycles("as learned", before), final]
    differences = [float((mean - weights).abs().max()) for weights in (before, after)]
    nearest = int(differences[1] <= differences[0])
    used_elsewhere = differences[nearest] > SAME_WEIGHT
    if not used_elsewhere:
        titles[nearest] += ", in use"
    panels = [
        GraphPanel(before, None, titles[0], f"penalty on cycles {learned['penalty']:.2g}"),
        GraphPanel(after, None, titles[1], ", ".join(map(str, learned.get("edges", [])))),
    ]
    # The best model may have been kept long before the graph was as the run left it.
    return [GraphPanel(mean, None, _with_cycles("in use", mean)), *panels] if used_elsewhere else panels


def _with_cycles(title: str, weights: Tensor) -> str:
    return title if is_acyclic(weights) else f"{title}, with cycles"


def _finite(value: Any) -> Any:
    """Plain JSON values, in which what is not a finite number is null."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
