"""Fit the crop of a face to the frame of the synthetic heads, and say how well it fits on others.

    scr3d data heads --split val  --count 300 --size 128 --out HEADS
    scr3d data heads --split test --count 400 --size 128 --out HEADS
    python tools/calibrate_crop.py HEADS --out results/photos/crop-calibration.json

The frame of a head is known: it is the whole image. The face finder gives five landmarks; the coefficients of
`scr3d.photos.crop` are the least-squares fit on the validation heads and are scored, as they stand there, on the test
heads.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scr3d.data.store import Store
from scr3d.files import write_json
from scr3d.photos import crop as cropping
from scr3d.photos.crop import face_angles_deg, face_crop
from scr3d.photos.detect import Face, find_faces

FRONTAL_DEG = 8.0


def found_faces(store: Store) -> tuple[list[Face], np.ndarray]:
    """The largest face of every image in which there is one, and the true pitch, yaw and roll in degrees."""
    faces, kept = [], []
    for index in range(len(store)):
        found = find_faces(store.arrays["image"][index].astype(np.float32) / 255)
        if found:
            faces.append(found[0])
            kept.append(index)
    return faces, np.degrees(store.get("view", np.array(kept))[:, :3])


def fit(faces: list[Face], size: int) -> dict[str, float]:
    """The coefficients, for frames of side `size`."""
    axes = [cropping._face_axes(face) for face in faces]
    middle, up, right = (np.stack([axis[i] for axis in axes]) for i in range(3))
    height = np.array([axis[3] for axis in axes])
    points = np.stack([face.landmarks for face in faces])
    eyes = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
    nose, offset = points[:, 2] - middle, size / 2 - middle
    nose_up, nose_right = (nose * up).sum(1), (nose * right).sum(1)
    side = solve([height**2, eyes**2], np.full(len(faces), size**2))
    upward = solve([height, nose_up], (offset * up).sum(1))
    rightward = solve([nose_right], (offset * right).sum(1))
    return {
        "SIDE_FROM_HEIGHT": side[0],
        "SIDE_FROM_EYES": side[1],
        "UP_FROM_HEIGHT": upward[0],
        "UP_FROM_NOSE": upward[1],
        "RIGHT_FROM_NOSE": rightward[0],
    }


def solve(columns: list[np.ndarray], target: np.ndarray) -> list[float]:
    """Least squares, relative to the target where that is the same for all."""
    return np.linalg.lstsq(np.stack(columns, axis=1), target, rcond=None)[0].tolist()


def score(faces: list[Face], angles_deg: np.ndarray, size: int) -> dict[str, float]:
    """How far the crops, as the package makes them, are from the frames."""
    crops = [face_crop(face) for face in faces]
    side = np.array([crop.side for crop in crops]) / size
    right = np.array([crop.center_x for crop in crops]) / size - 0.5
    down = np.array([crop.center_y for crop in crops]) / size - 0.5
    estimated = np.array([face_angles_deg(face) for face in faces])
    return {
        "side, mean": float(side.mean()),
        "side, root mean square error": float(np.sqrt(np.mean((side - 1) ** 2))),
        "middle x, root mean square error (frames)": float(np.sqrt(np.mean(right**2))),
        "middle y, root mean square error (frames)": float(np.sqrt(np.mean(down**2))),
        "roll, root mean square difference (deg)": float(
            np.sqrt(np.mean((np.degrees([crop.roll_rad for crop in crops]) - angles_deg[:, 2]) ** 2))
        ),
        "yaw by landmarks, correlation with the truth": float(np.corrcoef(estimated[:, 0], angles_deg[:, 1])[0, 1]),
        "yaw by landmarks, mean absolute error (deg)": float(np.abs(estimated[:, 0] - angles_deg[:, 1]).mean()),
        "pitch by landmarks, correlation with the truth": float(np.corrcoef(estimated[:, 1], angles_deg[:, 0])[0, 1]),
    }


def frontal(faces: list[Face], angles_deg: np.ndarray, size: int) -> dict[str, Any]:
    """Where the landmarks and the box of a head that looks ahead lie in the frame."""
    chosen = np.abs(angles_deg[:, 1]) < FRONTAL_DEG
    points = np.stack([face.landmarks for face in faces])[chosen].mean(0) / size
    box = np.stack([face.box for face in faces])[chosen].mean(0) / size
    names = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
    return {**{name: point.round(3).tolist() for name, point in zip(names, points, strict=True)}, "box": box.tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("heads", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = {"used": {name: getattr(cropping, name) for name in NAMES}}
    for split in ("val", "test"):
        store = Store(given.heads / split)
        faces, angles_deg = found_faces(store)
        record[split] = {
            "images": len(store),
            "size": store.size,
            "faces found": len(faces),
            "frontal heads": frontal(faces, angles_deg, store.size),
            "fitted": fit(faces, store.size),
            "scores of the coefficients in use": score(faces, angles_deg, store.size),
        }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(given.out, record)
    print(given.out.read_text(encoding="utf-8"))


NAMES = ("SIDE_FROM_HEIGHT", "SIDE_FROM_EYES", "UP_FROM_HEIGHT", "UP_FROM_NOSE", "RIGHT_FROM_NOSE", "YAW_DEG_FROM_NOSE")

if __name__ == "__main__":
    main()
