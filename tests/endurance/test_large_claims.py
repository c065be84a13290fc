"""Small files that claim to be large: they are refused before the memory is taken."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from strangers import make_model, make_store
from test_fuzz_readers import little_memory

import scr3d.photos.parts as parts_module
from scr3d.data.folder import read_depth_codes
from scr3d.data.images import MAX_PIXELS, read_image
from scr3d.data.store import Store
from scr3d.errors import CheckpointError, DataError, Scr3dError
from scr3d.files import MOST_JSON_BYTES, read_json
from scr3d.models import load_model
from scr3d.studio.config import UploadLimits
from scr3d.studio.photos import read_upload

SIDE = 60_000
"""Of pictures that would take forty gigabytes."""


def png(width: int, height: int) -> bytes:
    """A picture of one colour, which packs to nearly nothing."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    packer = zlib.compressobj(9)
    # A few rows will do: what follows is never looked at.
    packed = packer.compress(b"\0" * min(2**24, height * (1 + width * 3))) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A small picture with a comment that unpacks to more than a hundred megabytes."""
    stream = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(stream, "PNG")
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(b"a" * 2**20) for _ in range(2**7)) + packer.flush()
    body = b"Comment\0\0" + packed
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    content = stream.getvalue()
    return content[:33] + chunk + content[33:]


HUGE: dict[str, Callable[[], bytes]] = {
    "png": lambda: png(SIDE, SIDE),
    "png-wide": lambda: png(2**31 - 1, 1),
    "ppm": lambda: b"P6 60000 60000 255\n",
    "pgm-16-bit": lambda: b"P5 60000 60000 65535\n",
    "bmp": lambda: b"BM" + struct.pack("<IHHIIiiHH", 54, 0, 0, 54, 40, SIDE, SIDE, 1, 24) + bytes(24),
    "gif": lambda: b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\0;",
    "text": text_bomb,
}


@pytest.mark.parametrize("kind", HUGE)
def test_huge_pictures_are_refused(kind: str, tmp_path: Path, unchecked: None) -> None:
    path = tmp_path / f"photo.{kind.partition('-')[0]}"
    path.write_bytes(HUGE[kind]())
    for read in (read_image, read_depth_codes, lambda p: read_upload(p.name, p.read_bytes(), UploadLimits())):
        with little_memory(), pytest.raises(Scr3dError, match=r"too large|damaged|at most"):
            read(path)


def test_the_largest_picture_that_is_allowed_fits(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5)
    stream = io.BytesIO()
    Image.new("RGB", (side, 16)).save(stream, "PNG")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    with little_memory():
        assert read_image(tmp_path / "a.png").shape == (16, side, 3)


def test_a_model_of_a_huge_network_is_refused(tmp_path: Path, unchecked: None) -> None:
    make_model(tmp_path)
    path = tmp_path / "best" / "model.json"
    record = json.loads(path.read_text())
    for width in (2000, 10**6):
        record["model"]["width"] = width
        path.write_text(json.dumps(record))
        with little_memory(), pytest.raises(CheckpointError, match="smaller network"):
            load_model(tmp_path)


@pytest.mark.parametrize("changes", [{"count": 2**40}, {"count": 2**62}, {"size": 2**40}])
def test_a_store_of_huge_arrays_is_refused(changes: dict[str, int], tmp_path: Path, unchecked: None) -> None:
    make_store(tmp_path)
    path = tmp_path / "store.json"
    record = json.loads(path.read_text())
    record.update(changes, done=changes.get("count", record["done"]))
    path.write_text(json.dumps(record))
    with little_memory(), pytest.raises(DataError):
        Store(tmp_path)


def test_json_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(MOST_JSON_BYTES + 1)
    with pytest.raises(ValueError, match="more than 256 MB"):
        read_json(tmp_path / "a.json")


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchecked: None
) -> None:
    monkeypatch.setattr(parts_module, "MOST_PART_BYTES", 2**20)
    parts = parts_module.Parts(tmp_path, 1)
    np.savez_compressed(parts.path(0), records=np.zeros(2**21, np.uint8))
    assert parts.path(0).stat().st_size < 2**20
    with pytest.raises(DataError, match="unpacks to too much"):
        parts.read(0)
