"""Which files make up a folder of images: its layout, depth maps and splits.

Layouts that are understood, the first that fits:

    ROOT/train/image/*.png, ROOT/train/depth/*.png   the papers' layout ([U], synthetic faces); val, test too
    ROOT/train/*.jpg                                 photos, already split
    ROOT/image/*.png, ROOT/depth/*.png               split by scr3d
    ROOT/*.jpg                                       photos, split by scr3d

Depth maps are optional. A depth map has its image's name, or that name with "image" replaced by "depth".

scr3d splits a folder 90 : 5 : 5 by a hash of each file's content, so the same photo always falls into the
same split, under whatever name. Folders so small that a split would be empty are cut in the order of the
hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scr3d.data.images import list_images
from scr3d.data.store import SPLITS
from scr3d.errors import DataError

SHARES = {"train": 0.90, "val": 0.05, "test": 0.05}
"""Shares of the splits where scr3d splits a folder itself."""


@dataclass(frozen=True)
class ImagePair:
    """An image file and its depth map, if there is one."""

    image: Path
    depth: Path | None = None


def folder_source(root: Path | str, split: str, recursive: bool = False) -> dict[str, Any]:
    """The part of an import's description that changes when files are added, removed or altered.

    Raises:
        DataError: as `import_folder`.
    """
    pairs, _ = find_pairs(Path(root), split, recursive)
    return describe(Path(root), split, pairs)


def find_pairs(root: Path, split: str, recursive: bool = False) -> tuple[list[ImagePair], bool]:
    """The images of a folder and their depth maps, and whether they still have to be split by hash.

    Raises:
        DataError: there are no images, or the depth maps do not match them.
    """
    if split not in SPLITS:
        raise DataError(f"there is no split {split!r}; expected one of {', '.join(SPLITS)}")
    if not root.is_dir():
        raise DataError(f"expected a folder of images or a data store, but {root} is {_what_is(root)}")
    is_split = [(root / name).is_dir() for name in SPLITS]
    if any(is_split) and not (root / split).is_dir():
        there = ", ".join(name for name, found in zip(SPLITS, is_split, strict=True) if found)
        raise DataError(
            f"{root} has the splits {there} but no folder {split}; add {root / split}, "
            "or put all images into one folder to have them split"
        )
    base = root / split if any(is_split) else root
    folder = base / "image" if (base / "image").is_dir() else base
    depth_folder = base / "depth"
    images = [path for path in list_images(folder, recursive) if not path.is_relative_to(depth_folder)]
    if not images:
        deeper = "" if recursive else _hint_deeper(folder)
        raise DataError(f"{folder} has no images (PNG, JPEG, WebP, TIFF, BMP, GIF or PPM files){deeper}")
    depths = list_images(depth_folder, recursive) if depth_folder.is_dir() else []
    pairs = _match(images, folder, depths, depth_folder) if depths else [ImagePair(image) for image in images]
    return pairs, not any(is_split)


def _match(images: Sequence[Path], folder: Path, depths: Sequence[Path], depth_folder: Path) -> list[ImagePair]:
    """Give every image its depth map by name, relative to their folders and without the ending.

    Raises:
        DataError: an image has none.
    """
    by_name = {path.relative_to(depth_folder).with_suffix(""): path for path in depths}
    pairs = []
    for image in images:
        name = image.relative_to(folder).with_suffix("")
        renamed = name.with_name(name.name.replace("image", "depth"))
        pairs.append(ImagePair(image, by_name.get(name) or by_name.get(renamed)))
    missing = [pair.image.name for pair in pairs if pair.depth is None]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(images)} images in {folder} have no depth map, the first is "
            f'{missing[0]}; expected the same name, or "image" replaced by "depth", in {depth_folder} '
            f"(which has names like {depths[0].name}); add them, or take the folder away to go without depth"
        )
    return pairs


def choose_by_hash(pairs: list[ImagePair], split: str, root: Path) -> list[ImagePair]:
    """The pairs that fall into a split, in their order by name.

    Raises:
        DataError: there are too few images to give every split one.
    """
    with ThreadPoolExecutor() as pool:
        keys = list(pool.map(lambda pair: content_digest(pair.image), pairs))
    members = split_by_hash(keys)
    chosen = [pair for pair, member in zip(pairs, members, strict=True) if member == split]
    if not chosen:
        raise DataError(f"{root} has too few different images ({len(set(keys))}) to split; expected at least 3")
    return chosen


def split_by_hash(keys: Sequence[bytes]) -> list[str]:
    """The split of every content hash; equal hashes fall into the same one."""
    fractions = [int.from_bytes(key[:8], "big") / 2**64 for key in keys]
    train, val = SHARES["train"], SHARES["train"] + SHARES["val"]
    members = ["train" if f < train else "val" if f < val else "test" for f in fractions]
    if set(members) == set(SPLITS):
        return members
    # Too few for every share to get one: the last of the sorted hashes are held out.
    ranked = {key: rank for rank, key in enumerate(sorted(set(keys)))}
    held = max(1, round(len(ranked) * SHARES["val"]))
    cut_val, cut_test = len(ranked) - 2 * held, len(ranked) - held
    return ["train" if ranked[k] < cut_val else "val" if ranked[k] < cut_test else "test" for k in keys]


def content_digest(path: Path) -> bytes:
    """A hash of a file's bytes; zeros if it cannot be read."""
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    except OSError:
        # The file goes to some split and is skipped there with its reason.
        return bytes(16)


def describe(root: Path, split: str, pairs: Sequence[ImagePair]) -> dict[str, Any]:
    """Where images come from: folder, split, and a hash of all names, sizes and times of change."""
    listing = hashlib.blake2b(digest_size=16)
    for pair in pairs:
        for path in (pair.image, pair.depth):
            if path is not None:
                status = path.stat()
                entry = f"{path.relative_to(root).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}\n"
                listing.update(entry.encode("utf-8", "surrogateescape"))
    return {"kind": "folder", "folder": str(root.resolve()), "split": split, "listing": listing.hexdigest()}


def _what_is(path: Path) -> str:
    return "a file" if path.exists() else "missing"


def _hint_deeper(folder: Path) -> str:
    deeper = len(list_images(folder, recursive=True))
    return f"; {deeper} images lie in folders below it, to read them ask for recursive" if deeper else ""
