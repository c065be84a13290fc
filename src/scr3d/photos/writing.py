"""The files of a prepared data set."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from scr3d.data.images import resize, to_uint8, write_png8
from scr3d.data.store import SPLITS, ArraySpec, Store, StoreInfo, StoreWriter
from scr3d.files import write_bytes
from scr3d.photos.parts import Parts
from scr3d.photos.selection import Selection
from scr3d.photos.sources import Collection

SHEET_COLUMNS, SHEET_ROWS = 24, 12
SHEET_TILE_PX = 64


def write_stores(
    out: Path, parts: Parts, chosen: Selection, settings: dict[str, Any], size: int, bar: Progress
) -> bool:
    """Write the stores of all splits; returns whether the samples have masks.

    Masks are left out where every one of them is full.
    """
    names = ["image"]
    if _any_mask(parts, chosen):
        names.append("mask")
    if parts.has("depth"):
        names.append("depth")
    specs = {
        "image": ArraySpec("uint8", (size, size, 3)),
        "mask": ArraySpec("uint8", (size, size)),
        "depth": ArraySpec("uint16", (size, size)),
    }
    writers = {}
    for split in SPLITS:
        shutil.rmtree(out / split, ignore_errors=True)
        if count := int((chosen.split == split).sum()):
            info = StoreInfo(size, count, {name: specs[name] for name in names}, source={**settings, "split": split})
            writers[split] = StoreWriter(out / split, info)
    task = bar.add_task("writing", total=len(chosen.records))
    for blocks in zip(*(parts.pictures(name) for name in names), strict=True):
        first, count = blocks[0][0], len(blocks[0][1])
        low, high = np.searchsorted(chosen.position, [first, first + count])
        local, splits = chosen.position[low:high] - first, chosen.split[low:high]
        for split, writer in writers.items():
            rows = local[splits == split]
            if len(rows):
                writer.append({name: pictures[rows] for name, (_, pictures) in zip(names, blocks, strict=True)})
        bar.advance(task, int(high - low))
    return "mask" in names


def write_tables(out: Path, collection: Collection, chosen: Selection) -> None:
    """samples.csv: where every sample comes from; skipped.csv: what was left out, and why."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["split", "index", "file", "face", "center_x", "center_y", "side", "roll_deg", "yaw_deg", "pitch_deg", "hash"]
    )
    counts = dict.fromkeys(SPLITS, 0)
    for record, split in zip(chosen.records, chosen.split.tolist(), strict=True):
        x, y, side, roll = record["crop"].tolist()
        angles = ["" if np.isnan(angle) else f"{angle:.1f}" for angle in record["angles_deg"]]
        file = collection.name(collection.entries[int(record["photo"])])
        place = [f"{x:.2f}", f"{y:.2f}", f"{side:.2f}", f"{np.degrees(roll):.2f}"]
        writer.writerow(
            [split, counts[split], file, int(record["face"]), *place, *angles, f"{int(record['hash']):016x}"]
        )
        counts[split] += 1
    write_bytes(out / "samples.csv", text.getvalue().encode("utf-8", "surrogateescape"))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "reason", "detail"])
    writer.writerows(chosen.skipped)
    write_bytes(out / "skipped.csv", text.getvalue().encode("utf-8", "surrogateescape"))


def write_contact_sheet(out: Path, chosen: Selection) -> None:
    """Samples from all over the set, split by split, on one picture."""
    tiles: list[np.ndarray] = []
    for split in SPLITS:
        if (chosen.split == split).any():
            images = Store(out / split).arrays["image"]
            share = (chosen.split == split).mean()
            wanted = min(len(images), max(SHEET_COLUMNS, int(SHEET_COLUMNS * SHEET_ROWS * share)))
            for index in np.unique(np.linspace(0, len(images) - 1, wanted).astype(int)):
                tiles.append(thumbnail(images[index]))
    tiles = tiles[: SHEET_COLUMNS * (SHEET_ROWS + 2)]
    write_png8(out / "contact-sheet.png", sheet(tiles, SHEET_COLUMNS))


def thumbnail(image: np.ndarray, side: int = SHEET_TILE_PX) -> np.ndarray:
    """A uint8 image in the size of a tile, by means of whole pixels or repeated ones."""
    if len(image) == side:
        return np.array(image)
    return to_uint8(resize(image.astype(np.float32) / 255, side))


def sheet(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    """Tiles of one size in rows, white where there are none."""
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    side = len(tiles[0])
    result = np.full((rows * side, columns * side, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        result[row * side : (row + 1) * side, column * side : (column + 1) * side] = tile
    return result


def _any_mask(parts: Parts, chosen: Selection) -> bool:
    for first, masks in parts.pictures("mask"):
        low, high = np.searchsorted(chosen.position, [first, first + len(masks)])
        if (masks[chosen.position[low:high] - first] < 255).any():
            return True
    return False
