"""Closed meshes, units, and the validator of those who define glTF."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from scr3d.errors import ConfigError
from scr3d.export.media import write_depth_mm_png
from scr3d.export.mesh import Mesh, export_mesh, mesh_from_depth
from scr3d.export.options import MAX_FRAME_WIDTH_MM, ReconstructOptions
from scr3d.export.solid import closed, rim_of_grid
from scr3d.geometry import Camera

CAMERA = Camera(20, 24)
VALIDATOR = "gltf-validator@2.0.0-dev.3.10"


@pytest.fixture
def mesh() -> Mesh:
    """A bump in the middle of a wavy field."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 24), indexing="ij")
    depth = 1.0 - 0.03 * torch.exp(-2 * (x**2 + y**2)) + 0.002 * torch.sin(9 * x) * torch.cos(7 * y)
    return mesh_from_depth(depth, torch.rand(3, 32, 64, generator=torch.Generator().manual_seed(0)), CAMERA)


def read(path: Path) -> trimesh.Trimesh:
    """As it stands in the file: nothing merged or mended."""
    found = trimesh.load(path, process=False, maintain_order=True)
    return found.to_geometry() if isinstance(found, trimesh.Scene) else found


def test_the_rim_runs_once_around_the_grid() -> None:
    assert rim_of_grid(3, 4).tolist() == [0, 4, 8, 9, 10, 11, 7, 3, 2, 1]


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
def test_a_closed_mesh_is_watertight_in_every_format(mesh: Mesh, tmp_path: Path, suffix: str) -> None:
    export_mesh(mesh, tmp_path / f"open{suffix}")
    assert not read(tmp_path / f"open{suffix}").is_watertight
    solid = closed(mesh, plate=0.1)
    export_mesh(solid, tmp_path / f"solid{suffix}")
    found = read(tmp_path / f"solid{suffix}")
    assert found.is_watertight
    assert found.is_winding_consistent
    assert found.euler_number == 2  # one body without holes
    # Counter-clockwise from outside: the volume is positive, and that of the frame times the mean thickness.
    z = mesh.vertices[:, 2]
    width, height = np.ptp(mesh.vertices[:, 0]), np.ptp(mesh.vertices[:, 1])
    assert found.volume == pytest.approx(width * height * (z.mean() - z.min() + 0.1), rel=0.05)
    assert found.bounds[0, 2] == pytest.approx(z.min() - 0.1, abs=1e-6)
    normals = solid.normals
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-9)
    assert normals[-1] == pytest.approx([0, 0, -1])
    inner = np.setdiff1d(np.arange(len(mesh.vertices)), rim_of_grid(mesh.rows, mesh.columns))
    np.testing.assert_array_equal(normals[inner], mesh.normals[inner])


def test_the_surface_of_a_closed_mesh_is_that_of_the_open_one(mesh: Mesh) -> None:
    solid = closed(mesh)
    count = len(mesh.vertices)
    np.testing.assert_array_equal(solid.vertices[:count], mesh.vertices)
    np.testing.assert_array_equal(solid.triangles[: len(mesh.triangles)], mesh.triangles)
    np.testing.assert_array_equal(solid.texel[:count], mesh.texel)
    with pytest.raises(ConfigError, match="needs a thickness"):
        closed(mesh, plate=0)


def test_units(mesh: Mesh, tmp_path: Path) -> None:
    for suffix, unit in ((".glb", 0.26), (".obj", 260.0), (".ply", 260.0)):
        export_mesh(mesh, tmp_path / f"a{suffix}")
        export_mesh(mesh, tmp_path / f"b{suffix}", frame_width_mm=260)
        plain, scaled = read(tmp_path / f"a{suffix}"), read(tmp_path / f"b{suffix}")
        np.testing.assert_allclose(scaled.vertices, unit * plain.vertices, rtol=1e-4, atol=1e-5 * unit)


def test_depth_in_millimetres(tmp_path: Path) -> None:
    depth = torch.tensor([[1.0, 1.05], [0.95, 2.0]])
    mask = torch.tensor([[True, True], [True, False]])
    write_depth_mm_png(tmp_path / "a.png", depth, 1486.2, mask)
    codes = np.asarray(Image.open(tmp_path / "a.png"))
    assert codes.dtype == np.uint16
    assert codes.tolist() == [[1486, 1561], [1412, 0]]


@pytest.mark.parametrize("width", [0, -1, MAX_FRAME_WIDTH_MM + 1, float("nan")])
def test_impossible_widths_are_refused(width: float) -> None:
    with pytest.raises(ConfigError, match="millimetres; got"):
        ReconstructOptions(frame_width_mm=width)
    # What is allowed fits 16 bits at the far end of the depths that a view can have.
    camera = Camera(64, 64)
    assert 1.2 * MAX_FRAME_WIDTH_MM * camera.focal_px / 63 < 65_535


@pytest.mark.slow
def test_the_validator_of_gltf_finds_nothing(mesh: Mesh, tmp_path: Path) -> None:
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("needs npm and node")
    installed = subprocess.run(
        ["npm", "install", "--prefix", str(tmp_path), VALIDATOR], capture_output=True, text=True, check=False
    )
    if installed.returncode:
        pytest.skip(f"the validator cannot be had: {installed.stderr.splitlines()[-1:]}")
    export_mesh(mesh, tmp_path / "open.glb")
    export_mesh(closed(mesh), tmp_path / "solid.glb", frame_width_mm=260)
    (tmp_path / "broken.glb").write_bytes((tmp_path / "open.glb").read_bytes()[:-40])
    script = """
const validator = require("gltf-validator"), fs = require("fs");
Promise.all(process.argv.slice(1).map(name => validator.validateBytes(new Uint8Array(fs.readFileSync(name)))))
  .then(reports => console.log(JSON.stringify(reports.map(report => report.issues))));
"""
    names = [str(tmp_path / name) for name in ("open.glb", "solid.glb", "broken.glb")]
    done = subprocess.run(["node", "-e", script, *names], cwd=tmp_path, capture_output=True, text=True, check=True)
    opened, solid, broken = json.loads(done.stdout)
    for found in (opened, solid):
        # trimesh leaves out a hint to the graphics card, which may be left out.
        assert {message["code"] for message in found["messages"]} <= {"BUFFER_VIEW_TARGET_MISSING"}, found["messages"]
        assert found["numErrors"] == 0
    assert broken["numErrors"] > 0
