import json
import struct

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from scr3d.errors import ShapeError
from scr3d.export.mesh import export_glb, export_obj, export_ply, grid_triangles, mesh_from_depth
from scr3d.geometry import Camera

CAMERA = Camera(20, 24)


@pytest.fixture
def depth():
    """A bump in the middle, nearest there, with the walls of the border columns."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 24), indexing="ij")
    depth = 1.0 - 0.03 * torch.exp(-2 * (x**2 + y**2))
    depth[:, :2] = depth[:, -2:] = 1.04
    return depth


@pytest.fixture
def texture():
    """Every pixel has a colour of its own, so that any flip or shift shows."""
    codes = torch.randperm(256, generator=torch.Generator().manual_seed(0))
    codes = torch.cat([codes, codes.flip(0)])[: 20 * 24].reshape(20, 24)
    row, column = torch.meshgrid(torch.arange(20), torch.arange(24), indexing="ij")
    return torch.stack([row / 20, column / 24, codes / 255])


def pixel_of(mesh):
    """(row, column) of every vertex, from its position alone."""
    x, y, z = mesh.vertices.T
    # Inverse of the export: the frame is 1 wide at depth 1, and the camera is one depth unit in front.
    scale = CAMERA.focal_px / (CAMERA.width - 1)
    depth = 1 - z / scale
    column = x / scale / depth * CAMERA.focal_px + (CAMERA.width - 1) / 2
    row = -y / scale / depth * CAMERA.focal_px + (CAMERA.height - 1) / 2
    return np.rint(row).astype(int), np.rint(column).astype(int), depth


def check(mesh, image, depth, texture):
    row, column, found_depth = pixel_of(mesh)
    assert len(set(zip(row.tolist(), column.tolist(), strict=True))) == 20 * 20
    assert column.min() == 2
    assert column.max() == 21
    np.testing.assert_allclose(found_depth, depth.numpy()[row, column], atol=1e-5)
    pixels = np.asarray(image.convert("RGB"))
    expected = np.rint(texture.movedim(0, -1).numpy() * 255)
    np.testing.assert_array_equal(pixels, expected)
    # trimesh's v points up, as in OBJ.
    u, v = mesh.visual.uv.T
    looked_up = pixels[np.rint((1 - v) * 20 - 0.5).astype(int), np.rint(u * 24 - 0.5).astype(int)]
    np.testing.assert_array_equal(looked_up, expected[row, column])


def check_orientation(mesh):
    assert (mesh.face_normals[:, 2] > 0).all()
    assert mesh.is_winding_consistent
    x, y, z = mesh.vertices.T
    slope = (np.abs(x) < 0.3) & (np.abs(y) < 0.3)
    normal = mesh.vertex_normals
    assert (normal[slope & (x > 0.1), 0] > 0).all()
    assert (normal[slope & (y > 0.1), 1] > 0).all()
    nearest = mesh.vertices[z.argmax()]
    assert np.abs(nearest[:2]).max() < 0.05


def test_glb_reloads_with_the_same_surface_and_texture(tmp_path, depth, texture):
    export_glb(mesh_from_depth(depth, texture, CAMERA), tmp_path / "head.glb")
    mesh = trimesh.load(tmp_path / "head.glb", force="mesh", process=False)
    check(mesh, mesh.visual.material.baseColorTexture, depth, texture)
    check_orientation(mesh)
    assert mesh.visual.material.metallicFactor == 0.0
    assert mesh.visual.material.doubleSided


def test_raw_glb_follows_the_gltf_convention(tmp_path, depth, texture):
    """glTF's v points down; read without trimesh, whose reader could undo a flip of its writer."""
    export_glb(mesh_from_depth(depth, texture, CAMERA), tmp_path / "head.glb")
    data = (tmp_path / "head.glb").read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    head = json.loads(data[20 : 20 + length])
    binary = data[20 + length + 8 :]

    def read(name):
        accessor = head["accessors"][head["meshes"][0]["primitives"][0]["attributes"][name]]
        view = head["bufferViews"][accessor["bufferView"]]
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        width = {"VEC2": 2, "VEC3": 3}[accessor["type"]]
        return np.frombuffer(binary, "<f4", accessor["count"] * width, start).reshape(-1, width)

    position, texel, normal = read("POSITION"), read("TEXCOORD_0"), read("NORMAL")
    top_left = np.argmin(position[:, 0] - position[:, 1])
    np.testing.assert_allclose(texel[top_left], [2.5 / 24, 0.5 / 20], atol=1e-6)
    assert (normal[:, 2] > 0).all()
    assert not any("matrix" in node and node["matrix"][0] != 1 for node in head["nodes"])


def test_obj_reloads_with_material_and_texture_beside_it(tmp_path, depth, texture):
    export_obj(mesh_from_depth(depth, texture, CAMERA), tmp_path / "head.obj")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["head.mtl", "head.obj", "head.png"]
    material = (tmp_path / "head.mtl").read_text()
    assert "map_Kd head.png" in material
    assert "Kd 1.0" in material
    mesh = trimesh.load(tmp_path / "head.obj", force="mesh", process=False)
    check(mesh, Image.open(tmp_path / "head.png"), depth, texture)
    check_orientation(mesh)
    assert "\nvn " in (tmp_path / "head.obj").read_text()


def test_ply_has_the_pixels_as_vertex_colors(tmp_path, depth, texture):
    export_ply(mesh_from_depth(depth, texture, CAMERA), tmp_path / "head.ply")
    mesh = trimesh.load(tmp_path / "head.ply", process=False)
    row, column, _ = pixel_of(mesh)
    expected = np.rint(texture.movedim(0, -1).numpy() * 255)[row, column]
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], expected)
    check_orientation(mesh)


def test_the_frame_is_as_wide_as_asked():
    camera = Camera(16, 16)
    plane, grey = torch.ones(16, 16), torch.full((3, 16, 16), 0.5)
    mesh = mesh_from_depth(plane, grey, camera, frame_width=2.5, trim_columns=0)
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    np.testing.assert_allclose(high - low, [2.5, 2.5, 0], atol=1e-9)
    np.testing.assert_allclose(high + low, 0, atol=1e-9)


def test_walls_to_the_border_are_trimmed_unless_kept(depth, texture):
    trimmed = mesh_from_depth(depth, texture, CAMERA)
    whole = mesh_from_depth(depth, texture, CAMERA, trim_columns=0)
    assert len(whole.vertices) == 20 * 24
    lengths = [np.ptp(mesh.vertices[mesh.triangles], axis=1).max() for mesh in (whole, trimmed)]
    assert lengths[0] > 3 * lengths[1]


def test_a_finer_texture_meets_the_corners(depth):
    fine = torch.rand(3, 39, 47, generator=torch.Generator().manual_seed(0))
    mesh = mesh_from_depth(depth, fine, CAMERA, trim_columns=0)
    np.testing.assert_allclose(mesh.texel[0], [0.5 / 47, 1 - 0.5 / 39])
    np.testing.assert_allclose(mesh.texel[-1], [46.5 / 47, 0.5 / 39])
    np.testing.assert_allclose(mesh.texel[1], [2.5 / 47, 1 - 0.5 / 39])


def test_grid_triangles_cover_every_cell_once():
    triangles = torch.from_numpy(grid_triangles(3, 4).copy())
    assert triangles.shape == (2 * 2 * 3, 3)
    corners = torch.stack([triangles % 4, -(triangles // 4)], dim=-1).double()
    (ax, ay), (bx, by) = ((corners[:, k] - corners[:, 0]).unbind(-1) for k in (1, 2))
    torch.testing.assert_close((ax * by - ay * bx) / 2, torch.full((12,), 0.5).double())


@pytest.mark.parametrize(
    ("shape", "texture_shape", "trim"),
    [((20, 20), (3, 20, 24), 2), ((20, 24), (1, 20, 24), 2), ((20, 24), (3, 20, 24), 12)],
)
def test_wrong_shapes_are_refused(shape, texture_shape, trim):
    with pytest.raises(ShapeError):
        mesh_from_depth(torch.ones(shape), torch.rand(texture_shape), CAMERA, trim_columns=trim)


def test_normals_agree_with_an_independent_computation(depth, texture):
    mesh = mesh_from_depth(depth, texture, CAMERA, trim_columns=0)
    expected = np.zeros_like(mesh.vertices)
    for triangle in mesh.triangles:
        a, b, c = mesh.vertices[triangle]
        for corner in triangle:
            expected[corner] += np.cross(b - a, c - a)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(mesh.normals, expected, atol=1e-9)


def test_many_vertices_are_numbered_with_32_bits(tmp_path):
    """A 260x260 map has more vertices than 16 bits count."""
    camera = Camera(260, 260)
    mesh = mesh_from_depth(torch.ones(260, 260), torch.rand(3, 8, 8), camera, trim_columns=0)
    export_glb(mesh, tmp_path / "large.glb")
    back = trimesh.load(tmp_path / "large.glb", force="mesh", process=False)
    assert back.faces.max() == 260 * 260 - 1
    np.testing.assert_allclose(back.area, 1.0, rtol=1e-5)
