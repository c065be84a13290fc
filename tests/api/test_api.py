"""The package as a library, on real photos with the shipped model, and with an untrained one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

import scr3d
from scr3d.api.photo import read_photo
from scr3d.errors import CheckpointError, ConfigError, DataError, ShapeError
from scr3d.export.options import Animation, Output, ReconstructOptions
from scr3d.interventions import MixEmbedding, SetView
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder
from scr3d.reconstruct import reconstruct_files

EXAMPLES = Path(__file__).parents[2] / "examples"
HEAD, OTHER = EXAMPLES / "head-01.png", EXAMPLES / "head-04.png"


@pytest.fixture(scope="module")
def model() -> scr3d.Model:
    return scr3d.load()


@pytest.fixture(scope="module")
def head(model: scr3d.Model) -> scr3d.PhotoReconstruction:
    return model.reconstruct(HEAD)


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB"))


@pytest.mark.parametrize(
    "given",
    [
        str(HEAD),
        Image.open(HEAD),
        pixels(HEAD),
        pixels(HEAD).astype(np.float64) / 255,
        torch.from_numpy(pixels(HEAD)).movedim(-1, 0),
        torch.from_numpy(pixels(HEAD))[None].permute(0, 3, 1, 2) / 255,
    ],
    ids=["path", "pillow", "bytes", "floats", "byte tensor", "batch of one"],
)
def test_a_photo_may_be_given_in_any_form(
    given: scr3d.Photo, model: scr3d.Model, head: scr3d.PhotoReconstruction
) -> None:
    assert (model.reconstruct(given).depth - head.depth).abs().max() < 1e-6


def test_grey_and_rotated_pictures_are_read_as_files_are(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    assert (read_photo(values) == read_photo(Image.fromarray(values))).all()
    picture = Image.fromarray(values)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    turned = read_photo(Image.open(tmp_path / "turned.png"))
    assert turned.shape == (30, 20, 3)
    assert (turned == read_photo(tmp_path / "turned.png")).all()


def test_maps_are_those_that_the_command_writes(head: scr3d.PhotoReconstruction, tmp_path: Path) -> None:
    reconstruct_files([HEAD], tmp_path, options=ReconstructOptions(only=(Output.ARRAYS,)), threads=1)
    written = np.load(tmp_path / "head-01" / "arrays.npz")
    for name, found in {
        "view_depth": head.depth,
        "mask": head.mask,
        "canonical_depth": head.canonical_depth,
        "canonical_albedo": head.albedo,
        "canonical_normal": head.normal,
        "canonical_shading": head.shading,
        "confidence": head.confidence,
        "view_rotation_rad": head.view.rotation_rad[0],
        "light_direction": head.light.direction[0],
    }.items():
        assert np.allclose(written[name], found.numpy(), atol=1e-5), name


def test_saved_files_are_those_of_the_command(head: scr3d.PhotoReconstruction, tmp_path: Path) -> None:
    options = ReconstructOptions(animation=Animation.NONE, render_size=64)
    reconstruct_files([HEAD], tmp_path / "command", options=options, threads=1)
    saved = head.save(tmp_path / "saved", options)
    folder = tmp_path / "command" / "head-01"
    assert {path.name for path in saved.iterdir()} == {path.name for path in folder.iterdir()}
    records = [json.loads((place / "factors.json").read_text()) for place in (saved, folder)]
    assert records[0]["crop"] == records[1]["crop"]
    assert records[0]["view"]["yaw_deg"] == pytest.approx(records[1]["view"]["yaw_deg"], abs=1e-3)
    head.save(saved, options)  # an earlier result is replaced
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not the result of an earlier"):
        head.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_light_from_the_left_brightens_the_left(head: scr3d.PhotoReconstruction) -> None:
    left, right = (head.relight(x=x, y=0.0, ambient=0.1, diffuse=0.9, size=64) for x in (1.0, -1.0))
    face = slice(16, 48)
    assert left[:, face, 16:24].mean() > 1.3 * right[:, face, 16:24].mean()
    assert right[:, face, 40:48].mean() > 1.3 * left[:, face, 40:48].mean()


def test_no_turn_is_the_frontal_view_and_opposite_turns_differ(head: scr3d.PhotoReconstruction) -> None:
    front = head.turn(size=64)
    inner = (slice(None), slice(8, 56), slice(8, 56))
    canonical = head.maps.canonical_image[0].clamp(0, 1)
    assert (front - canonical)[inner].abs().mean() < 0.02
    assert (head.turn(30, size=64) - head.turn(-30, size=64)).abs().mean() > 0.05
    assert head.turn(10, size=100).shape == (3, 100, 100)


def test_canonical_maps_can_be_laid_over_the_photo(head: scr3d.PhotoReconstruction) -> None:
    seen = head.in_photo(head.maps.canonical_image[0])
    assert (seen.clamp(0, 1) - head.image).abs().max() < 1e-4
    with pytest.raises(ShapeError, match="canonical map"):
        head.in_photo(torch.zeros(3, 5, 5))


@pytest.mark.parametrize("ending", ["glb", "obj", "ply"])
def test_meshes_open_upright(ending: str, head: scr3d.PhotoReconstruction, tmp_path: Path) -> None:
    path = head.export(tmp_path / "new" / f"face.{ending}", texture="albedo")
    mesh = trimesh.load(path, force="mesh")
    assert len(mesh.faces) > 5000
    # Forehead and chin: the nearest point to the viewer (largest z) lies between them, and above is up.
    assert mesh.vertices[mesh.vertices[:, 2].argmax()][1] == pytest.approx(0, abs=0.3)
    with pytest.raises(ConfigError, match=r"\.glb, \.obj, \.ply; got 'face.stl'"):
        head.export(tmp_path / "face.stl")


def test_interventions_in_words_and_as_records_are_the_same(model: scr3d.Model, tmp_path: Path) -> None:
    said = model.intervene(HEAD, do=f"light=from:{OTHER}", set=["view=yaw:20"])
    meant = model.intervene(HEAD, MixEmbedding(scr3d.Factor.LIGHT, model.prepare(OTHER)), SetView(yaw=20.0))
    assert (said.after.image - meant.after.image).abs().max() < 1e-6
    assert meant.request.labels == ["do(light=from:image)", "set(view=yaw:20)"]
    assert (said.before.albedo == said.after.albedo).all()
    assert (said.before.light.direction != said.after.light.direction).any()
    assert "replaced" in said.table()
    assert {path.name for path in said.save(tmp_path / "out").iterdir()} == {"strip.png", "interventions.json"}


def test_every_face_of_every_photo(model: scr3d.Model) -> None:
    both = np.concatenate([pixels(HEAD), pixels(OTHER)], axis=1)
    results = list(model.reconstruct_all([both, OTHER], batch_size=2))
    assert [result.name for result in results] == ["photo, face 1", "photo, face 2", "head-04.png"]
    assert {tuple(result.depth.shape) for result in results} == {(64, 64)}
    assert model.reconstruct(both).name == "photo, face 1"


def test_own_models_take_the_middle_of_a_picture() -> None:
    torch.manual_seed(0)
    network = PhotoGeometricAutoencoder(ModelConfig(size=32, width=4, order="VDLA")).eval()
    result = scr3d.Model(network, "mine").reconstruct(np.zeros((40, 60, 3), np.uint8), refine=1)
    assert result.depth.shape == (32, 32)
    assert result.sample.origin is not None
    assert result.sample.origin["center"] == [30, 20]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.png", "missing.png cannot be read"),
        (np.zeros((3, 64, 64)), r"\[height, width, 3\] or \[height, width\]; got \[3, 64, 64\]"),
        (torch.zeros(64, 64, 3), r"\[3, height, width\]; got \[64, 64, 3\]"),
        (torch.randn(3, 8, 8), "lie in .0, 1."),
        (np.full((4, 4, 3), np.nan), "lie in .0, 1."),
        (np.zeros((4, 4, 3), np.int64), "uint8 .0 to 255. or floating-point"),
        (np.zeros((0, 4, 3)), "at least one pixel"),
        (7, "got int"),
        (np.zeros((64, 64, 3)), 'photo shows no face .*crop="center"'),
    ],
)
def test_what_is_no_photo_is_refused(given: object, message: str, model: scr3d.Model) -> None:
    with pytest.raises(DataError, match=message) as found:
        model.reconstruct(given)  # type: ignore[arg-type]
    assert "\n" not in str(found.value)


def test_wrong_arguments_are_refused(model: scr3d.Model, head: scr3d.PhotoReconstruction, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="auto, face, center; got 'left'"):
        model.reconstruct(HEAD, crop="left")
    with pytest.raises(ConfigError, match="got -1"):
        model.reconstruct(HEAD, refine=-1)
    with pytest.raises(ConfigError, match="at least one intervention"):
        model.intervene(HEAD)
    with pytest.raises(ConfigError, match="yaw"):
        head.turn(100)
    with pytest.raises(ConfigError, match="image, albedo, photo; got 'skin'"):
        head.export(tmp_path / "face.glb", texture="skin")
    with pytest.raises(CheckpointError, match="holds no model"):
        scr3d.load(tmp_path)
