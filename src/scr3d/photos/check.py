"""Is a data set ready to be learned from? Numbers, advice in plain words, and a page with pictures."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from rich.progress import track

from scr3d.data.images import resize
from scr3d.data.store import SPLITS, Store, is_store
from scr3d.errors import ConfigError, DataError
from scr3d.files import MALFORMED
from scr3d.photos.check_page import write_page
from scr3d.photos.crop import face_angles_deg
from scr3d.photos.detect import find_all_faces
from scr3d.photos.duplicates import group_by_hash, perceptual_hash
from scr3d.photos.quality import Quality, measure
from scr3d.photos.readiness import EXAMPLES, Finding, Level, Readiness
from scr3d.photos.selection import SAME_SQUARE

BLOCK = 256
ALIKE_BY_CHANCE = 0.001
"""Share of different objects that look like duplicates; of 9,000 built-in heads one does."""
FACES_AT_A_TIME = 20
FACES_LOOKED_FOR = 200
"""Images in which faces are looked for where nothing is known about their views."""
FACE_SIDE_PX = 128
DARK, BRIGHT = 0.15, 0.85
FLAT_CONTRAST = 0.06
CLIPPED = 0.3
BLURRED = 0.22
GREY = 0.02
"""Limits of brightness, contrast, clipped share, sharpness and colourfulness for a single image."""


@dataclass(frozen=True)
class _Looked:
    """What was seen of the training split."""

    store: Store
    indices: np.ndarray
    quality: Quality
    yaw_deg: np.ndarray
    faces_share: float


def check(data: Path | str, out: Path | None = None, limit: int = 2000, progress: bool = True) -> Readiness:
    """Look at a data set.

    Args:
        data: folder of a data set, with a store for each split.
        out: file of the report; None takes check.html in the data set's folder.
        limit: images of each split that are measured, evenly spread.
        progress: whether to show a progress bar.

    Raises:
        DataError: there is no data set, or none to train on.
        ConfigError: the limit is no number of images.
    """
    data = Path(data)
    if limit < 1:
        raise ConfigError(f"--limit must be at least 1 image; got {limit}")
    stores = {split: Store(data / split) for split in SPLITS if is_store(data / split)}
    if "train" not in stores:
        raise DataError(f"{data} has no data to train on; make it with scr3d data prepare PHOTOS --out {data}")
    looked = _look(data, stores["train"], limit, progress)
    findings = [
        _number(stores),
        _views(looked),
        *_exposure(looked),
        _sharpness(looked),
        _colors(looked),
        _background(looked),
        _duplicates(stores, limit, progress),
        *_masks(stores["train"], looked.indices),
    ]
    page = out or data / "check.html"
    counts = {name: len(store) for name, store in stores.items()}
    readiness = Readiness(data, counts, stores["train"].size, findings, page)
    write_page(page, readiness, stores["train"])
    return readiness


def _look(data: Path, store: Store, limit: int, progress: bool) -> _Looked:
    indices = _spread(len(store), limit)
    blocks = [indices[start : start + BLOCK] for start in range(0, len(indices), BLOCK)]
    quality = Quality.cat(
        [measure(store.get("image", block)) for block in track(blocks, "looking", disable=not progress)]
    )
    yaw_deg, share = _known_yaws(data, indices)
    if yaw_deg is None:
        chosen = _spread(len(store), min(limit, FACES_LOOKED_FOR))
        parts = [chosen[start : start + FACES_AT_A_TIME] for start in range(0, len(chosen), FACES_AT_A_TIME)]
        found = [_yaws(store.get("image", part)) for part in track(parts, "finding faces", disable=not progress)]
        yaw_deg = np.concatenate(found)
        share = len(yaw_deg) / len(chosen)
    return _Looked(store, indices, quality, yaw_deg, share)


def _known_yaws(data: Path, indices: np.ndarray) -> tuple[np.ndarray | None, float]:
    """Yaws that the preparation has noted; None where it has not.

    Raises:
        DataError: its table is damaged.
    """
    path = data / "samples.csv"
    if not path.is_file():
        return None, 0.0
    try:
        with path.open(newline="", encoding="utf-8") as file:
            yaws = [row["yaw_deg"] for row in csv.DictReader(file) if row["split"] == "train"]
        known = [float(yaws[index]) for index in indices if index < len(yaws) and yaws[index]]
        if not np.isfinite(known).all():
            raise ValueError("not all yaws are finite")
    except (csv.Error, *MALFORMED) as error:
        raise DataError(f"{path} is damaged ({error}); prepare the data set again, or remove the file") from error
    return (np.array(known), len(known) / len(indices)) if known else (None, 0.0)


def _yaws(images: UInt8[np.ndarray, "images size size 3"]) -> Float[np.ndarray, " faces"]:
    """Of the largest face of each image, in degrees; images without a face are left out."""
    side = max(FACE_SIDE_PX, images.shape[1])
    large = [resize(image.astype(np.float32) / 255, side) for image in images]
    return np.array([face_angles_deg(faces[0])[0] for faces in find_all_faces(large) if faces])


def _spread(count: int, limit: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(np.int64))


def _number(stores: dict[str, Store]) -> Finding:
    count = len(stores["train"])
    title = f"number of images: {count:,} to train on"
    missing = [split for split in SPLITS if split not in stores]
    if missing:
        text = f"the split {' and '.join(missing)} is missing; train needs val, evaluate needs test"
        return Finding(Level.WARNING, title, text)
    if count < 500:
        return Finding(
            Level.STOP, title, "too few to learn a shape from; some thousands are needed (the papers: 9,000 up)"
        )
    if count < 5000:
        return Finding(Level.WARNING, title, "few: start from a trained model (--start-from), or find more")
    return Finding(Level.FINE, title, "enough")


def _views(looked: _Looked) -> Finding:
    yaw_deg = looked.yaw_deg
    if looked.faces_share < 0.5 or len(yaw_deg) < 10:
        return Finding(
            Level.ADVICE,
            "viewpoints: unknown",
            f"faces were found in {looked.faces_share:.0%} of the images, so look yourself: the objects must be seen "
            "from different sides, say 20 degrees to the left and right; views from the front alone tell no depth",
        )
    spread = float(np.std(yaw_deg))
    title = f"viewpoints: heads turn by {spread:.0f} degrees (standard deviation)"
    values = (yaw_deg, "degrees to the side")
    if spread < 5:
        text = (
            "nearly all look straight ahead. Nothing in such a set tells depth, and training on it cannot work: add "
            "photos from the side, or use the shipped model"
        )
        return Finding(Level.STOP, title, text, values=values)
    if spread < 9:
        text = (
            "little; the built-in heads have 20. Add photos from the side, or start from a trained model (--start-from)"
        )
        return Finding(Level.WARNING, title, text, values=values)
    lean = float(np.mean(yaw_deg))
    if abs(lean) > spread:
        text = f"but they lean to one side by {abs(lean):.0f} degrees; mirroring (on by default) evens that out"
        return Finding(Level.ADVICE, title, text, values=values)
    return Finding(Level.FINE, title, "enough to tell depth", values=values)


def _exposure(looked: _Looked) -> list[Finding]:
    quality = looked.quality
    shares = (
        (
            "dark images",
            quality.brightness < DARK,
            "brighten them or leave them out: light and albedo cannot be told apart",
        ),
        ("overexposed images", quality.brightness > BRIGHT, "leave them out: what is white shows no shading"),
        ("flat images", quality.contrast < FLAT_CONTRAST, "leave them out: they show no shading"),
        (
            "clipped images",
            quality.clipped > CLIPPED,
            "a third of their pixels are quite black or white and show no shading",
        ),
    )
    found = [_share_finding(looked, name, bad, text, advice=0.02, warning=0.2) for name, bad, text in shares]
    if all(finding.level is Level.FINE for finding in found):
        title = f"exposure: mean brightness {float(quality.brightness.mean()):.2f}"
        return [Finding(Level.FINE, title, "well exposed", values=(quality.brightness, "brightness"))]
    return [finding for finding in found if finding.level is not Level.FINE]


def _sharpness(looked: _Looked) -> Finding:
    bad = looked.quality.sharpness < BLURRED
    text = "use larger originals, or a smaller --size; blurred images teach blurred surfaces"
    return _share_finding(looked, "blurred images", bad, text, 0.05, 0.4, (looked.quality.sharpness, "sharpness"))


def _colors(looked: _Looked) -> Finding:
    grey = looked.quality.colorfulness < GREY
    share = float(grey.mean())
    title = f"grey images: {share:.0%}"
    if 0.02 < share < 0.98:
        text = "colour and grey are mixed; the albedo has to be learned for both. Better one kind, or many images"
        return Finding(Level.ADVICE, title, text, _examples(looked, grey))
    return Finding(Level.FINE, title, "all of one kind")


def _background(looked: _Looked) -> Finding:
    quality = looked.quality
    if "mask" in looked.store:
        return Finding(Level.FINE, "background: masked", "what the masks hide does not count")
    variety = float(np.linalg.norm(quality.rim_color.std(axis=0)))
    black = float(((quality.rim_color.max(axis=1) < 0.05) & (quality.rim_spread < 0.03)).mean())
    plain = float((quality.rim_spread < 0.03).mean())
    if black > 0.5:
        text = (
            "on black the method finds a short cut: it bends the surface behind the object away from the light. Give "
            "masks (--masks, or an alpha channel), or put the objects before textured backgrounds"
        )
        return Finding(Level.WARNING, f"background: black in {black:.0%}", text)
    if plain > 0.8 and variety < 0.1:
        text = (
            "all alike and plain: the surface behind the object may be bent to explain it; masks (--masks) prevent that"
        )
        return Finding(Level.ADVICE, f"background: plain in {plain:.0%}", text)
    return Finding(Level.FINE, f"background: colours vary by {variety:.2f}", "varied enough")


def _duplicates(stores: dict[str, Store], limit: int, progress: bool) -> Finding:
    hashes, split = [], []
    for name, store in stores.items():
        for index in track(_spread(len(store), 10 * limit), f"comparing {name}", disable=not progress):
            hashes.append(perceptual_hash(store.arrays["image"][index].astype(np.float32) / 255))
            split.append(name)
    labels = group_by_hash(np.array(hashes, np.uint64), SAME_SQUARE).labels()
    doubles = int((labels != np.arange(len(labels))).sum())
    members: dict[int, set[str]] = {}
    for label, name in zip(labels.tolist(), split, strict=True):
        members.setdefault(label, set()).add(name)
    leaks = sum(len(names) > 1 for names in members.values())
    title = f"duplicates: {doubles} of {len(labels):,}"
    if leaks > ALIKE_BY_CHANCE * len(labels):
        text = f"{leaks} are in several splits, so scores are too good; scr3d data prepare keeps them out"
        return Finding(Level.WARNING, title, text)
    if doubles > 0.02 * len(labels):
        return Finding(Level.ADVICE, title, "they count twice; scr3d data prepare takes them out")
    return Finding(Level.FINE, title, f"{leaks} in two splits, no more than look alike by chance")


def _masks(store: Store, indices: np.ndarray) -> list[Finding]:
    if "mask" not in store:
        return []
    share = (store.get("mask", indices[:BLOCK]) > 127).mean(axis=(1, 2))
    title = f"masks: the object fills {float(share.mean()):.0%}"
    if (share < 0.05).mean() > 0.05:
        text = f"{float((share < 0.05).mean()):.0%} of the masks are nearly empty: are black and white exchanged?"
        return [Finding(Level.WARNING, title, text, indices[:BLOCK][share < 0.05][:EXAMPLES].tolist())]
    return [Finding(Level.FINE, title, "used in every loss")]


def _share_finding(
    looked: _Looked,
    name: str,
    bad: np.ndarray,
    text: str,
    advice: float,
    warning: float,
    values: tuple[np.ndarray, str] | None = None,
) -> Finding:
    """A finding about a share of the images, by how large it is."""
    share = float(bad.mean())
    level = Level.WARNING if share > warning else Level.ADVICE if share > advice else Level.FINE
    meaning = "few enough" if level is Level.FINE else text
    return Finding(level, f"{name}: {share:.0%}", meaning, _examples(looked, bad) if share > advice else [], values)


def _examples(looked: _Looked, chosen: np.ndarray) -> list[int]:
    found = looked.indices[chosen]
    return found[_spread(len(found), EXAMPLES)].tolist() if len(found) else []
