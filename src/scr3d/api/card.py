"""The card of a model, README.md beside its files: metadata for the hub, then what to know before using it."""

from __future__ import annotations

import json
from typing import Any

FRAMED = {
    "face": 'finds the face; crop="center" takes the middle',
    "center": 'takes the middle; crop="face" finds a face first',
}
"""What a model does with a photo unless it is told otherwise, by how its images were cut out."""
TAGS = ("scr3d", "3d-reconstruction", "depth-estimation", "inverse-rendering", "causal-representation-learning")
PIPELINE = "image-to-3d"
"""The hub's word for what the model does."""
SCORES = {
    "reconstruction": "reconstruction loss",
    "side_e2": "SIDE (x 1e-2)",
    "mad_deg": "MAD (degrees)",
    "coverage": "coverage",
}
"""Validation scores that the card tells, and their names."""
TEXT = """---
{metadata}
---

# {title}

From one photo of an object of the kind that it was trained on, this model tells viewpoint, depth, lighting and albedo.
The four factors are tied by a causal structure: *Structural Causal 3D Reconstruction* (Liu, Liu, Paull, Weller,
Schölkopf, ECCV 2022), on the photo-geometric autoencoder of Wu, Rupprecht and Vedaldi (CVPR 2020).

## Use

```bash
pip install 'scr3d[hub]'
scr3d reconstruct photo.jpg --model {address} --out results
```

```python
import scr3d

model = scr3d.Model.from_pretrained("{address}")
found = model.reconstruct("photo.jpg")  # {framed}
found.depth, found.albedo, found.normal, found.view, found.light
```

Photos show one object that fills the frame as in the photos it was trained on; they are brought to {size} x {size}
pixels. `model.json` says what the networks are and how they were trained, `weights.safetensors` holds the weights.

## What it is

| | |
|---|---|
{facts}

## Scores

{scores}

## Limits

It knows the kind of object that it was trained on and gives a plausible one for anything else. Depth is relative to
the distance of the camera, and from one photo no more than likely: it is not a measurement. It does not recognise or
identify people and must not be used for decisions about them.
"""


def model_card(
    title: str, address: str, record: dict[str, Any], license: str | None = None, crop: str = "center"
) -> str:
    """The whole text of README.md.

    Args:
        title: name of the model.
        address: what `--model` and `from_pretrained` take.
        record: what `scr3d.describe.describe_model` says of it.
        license: the hub's word for the licence of the weights (`mit`, `cc-by-4.0`); None says nothing.
        crop: how photos are cut out for it, `face` or `center`.
    """
    metadata: dict[str, Any] = {} if license is None else {"license": license}
    metadata |= {"library_name": "scr3d", "pipeline_tag": PIPELINE, "tags": list(TAGS)}
    return TEXT.format(
        # A JSON value is a YAML value as well.
        metadata="\n".join(f"{name}: {json.dumps(value)}" for name, value in metadata.items()),
        title=title,
        address=address,
        size=record["networks"]["size"],
        framed=FRAMED.get(crop, FRAMED["center"]),
        facts="\n".join(f"| {name} | {fact} |" for name, fact in facts(record).items()),
        scores=scores_table(record["validation"]),
    )


def facts(record: dict[str, Any]) -> dict[str, str]:
    """What the model is and where it comes from, in words."""
    structure, networks, training = record["structure"], record["networks"], record["training"]
    graph = structure["order"] or ", ".join(structure["possible_edges"]) or "no edges"
    compact = networks["preset"] == "compact"
    seen = training["images_seen"]
    found = {
        "causal structure": f"{structure['kind']}, {graph}",
        "mixing": structure["mixing"] if structure["possible_edges"] else None,
        "networks": f"{networks['preset']}, width {networks['width']}" if compact else networks["preset"],
        "image size": f"{networks['size']} x {networks['size']} pixels",
        "parameters": f"{record['parameters']['all']:,}",
        "images seen in training": None if seen is None else f"{seen:,}",
        "losses and schedules": training["recipe"],
        "fingerprint of the training data": training["data"]["fingerprint"],
        "made with": None if not record["model"]["version"] else f"scr3d {record['model']['version']}",
    }
    return {name: str(fact) for name, fact in found.items() if fact is not None}


def scores_table(validation: dict[str, float | None]) -> str:
    """Scores on validation images while it was trained."""
    known = {name: validation.get(name) for name in SCORES}
    rows = [f"| {SCORES[name]} | {value:.3f} |" for name, value in known.items() if value is not None]
    if not rows:
        return "None are recorded."
    return "\n".join(["On validation images, while it was trained:", "", "| score | value |", "|---|---|", *rows])
