"""Files that the studio's tests send."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


def photo_bytes(seed: int = 0, size: tuple[int, int] = (48, 40), form: str = "PNG") -> bytes:
    """A file with smooth random colours."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize(size[::-1], Image.Resampling.BILINEAR).save(stream, format=form)
    return stream.getvalue()


def bomb_bytes(side: int = 30_000) -> bytes:
    """A small PNG file that unpacks to more pixels than memory should hold."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
