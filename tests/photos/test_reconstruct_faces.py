"""Reconstruction of uncropped photos, and fitting to them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from photo_scenes import REAL_PHOTO, head, scene
from PIL import Image

from scr3d.data.images import write_png8
from scr3d.errors import ConfigError, DataError
from scr3d.photos import look as look_module
from scr3d.photos.look import CHOSEN, OTHER, look, look_at_all
from scr3d.reconstruct import Animation, Crop, Output, ReconstructOptions, reconstruct_files

STILL = ReconstructOptions(render_size=64, animation=Animation.NONE)


@pytest.fixture(scope="module")
def album(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("album")
    write_png8(folder / "group.png", scene([(head("head-01", 100), 10, 80), (head("head-25", 130), 170, 60)]))
    write_png8(folder / "landscape.png", scene([]))
    Image.open(REAL_PHOTO).save(folder / "portrait.jpg")
    return folder


def record(folder: Path) -> dict:
    return json.loads((folder / "factors.json").read_text())


def test_every_face_of_every_photo_is_reconstructed(album, tmp_path, capsys):
    report = reconstruct_files([album], tmp_path / "out", options=STILL)
    assert [folder.name for folder in report.folders] == ["group", "group-face-2", "portrait"]
    (path, reason) = report.skipped[0]
    assert path.name == "landscape.png"
    assert "shows no face" in reason
    assert "--crop center" in reason
    printed = capsys.readouterr().out
    assert "3 reconstructed, 1 skipped" in printed
    assert "landscape.png: shows no face" in printed
    first, second, portrait = (record(folder)["crop"] for folder in report.folders)
    assert (first["number"], first["of"], second["number"]) == (1, 2, 2)
    assert first["side"] > second["side"]
    assert first["center"] == pytest.approx([235, 125], abs=15)
    assert second["center"] == pytest.approx([60, 130], abs=15)
    assert portrait["kind"] == "face"
    assert portrait["score"] > 0.99
    for folder in report.folders:
        assert len(trimesh.load(folder / "mesh.glb", force="mesh").faces) > 1000
        assert Image.open(folder / "photo.png").width in (320, 512)
    page = report.page.read_text("utf-8")
    assert "group.png, face 2" in page
    assert "./portrait/photo.png" in page


def test_the_box_is_drawn_where_the_square_was_cut(album, tmp_path):
    options = ReconstructOptions(render_size=32, only=(Output.PICTURES, Output.ARRAYS))
    report = reconstruct_files([album / "group.png"], tmp_path / "out", options=options)
    for folder, color, other in ((report.folders[0], CHOSEN, OTHER), (report.folders[1], CHOSEN, OTHER)):
        picture = np.asarray(Image.open(folder / "photo.png").convert("RGB"))
        crop = record(folder)["crop"]
        x, y = (np.array(crop["corners"][0]) + np.array(crop["corners"][1])) / 2  # middle of the upper edge
        near = picture[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].reshape(-1, 3)
        assert (near == color).all(1).any()
        assert (picture == other).all(2).any()
    shown = np.asarray(Image.open(report.folders[0] / "input.png"), float) / 255
    assert np.abs(shown.mean((0, 1)) - head("head-25").mean((0, 1))).max() < 0.1


def test_the_middle_square_needs_no_face(album, tmp_path):
    options = ReconstructOptions(only=(Output.DEPTH,), crop=Crop.CENTER)
    report = reconstruct_files([album / "landscape.png"], tmp_path / "out", options=options)
    assert record(report.folders[0])["crop"]["kind"] == "center"
    with pytest.raises(DataError, match="shows no face"):
        reconstruct_files([album / "landscape.png"], tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_threads_find_the_same_faces(album, tmp_path):
    before = torch.get_num_threads()
    try:
        names = []
        for threads in (1, 2):
            options = ReconstructOptions(only=(Output.DEPTH,))
            report = reconstruct_files([album], tmp_path / str(threads), options=options, threads=threads)
            names.append(sorted(folder.name for folder in report.folders))
    finally:
        torch.set_num_threads(before)
    assert names[0] == names[1] == ["group", "group-face-2", "portrait"]


@pytest.mark.parametrize("pixels", [1, 10**9])
def test_photos_looked_at_together_are_told_apart(album, tmp_path, monkeypatch, pixels):
    monkeypatch.setattr(look_module, "PIXELS_AT_A_TIME", pixels)
    (tmp_path / "broken.png").write_bytes(b"nothing")
    paths = [album / "landscape.png", album / "group.png", tmp_path / "broken.png", album / "portrait.jpg"]
    (_, landscape), (_, group), (_, broken), (_, portrait) = seen = list(look_at_all(paths, 32, 0, faces=True))
    assert [path for path, _ in seen] == paths
    assert isinstance(landscape, DataError)
    assert "shows no face" in str(landscape)
    assert isinstance(broken, DataError)
    assert "broken.png" in str(broken)
    for path, found in ((paths[1], group), (paths[3], portrait)):
        alone = look(path, 32, 0, faces=True)
        assert len(found) == len(alone) == (2 if found is group else 1)
        for one, other in zip(found, alone, strict=True):
            np.testing.assert_allclose(one.record["center"], other.record["center"], atol=1e-2)
            np.testing.assert_allclose(one.image, other.image, atol=1e-2)


def test_fitting_brings_the_picture_closer(album, tmp_path):
    errors = []
    for steps in (0, 8):
        options = ReconstructOptions(only=(Output.ARRAYS, Output.PICTURES), render_size=64, refine=steps)
        report = reconstruct_files([album / "portrait.jpg"], tmp_path / str(steps), options=options)
        arrays = np.load(report.folders[0] / "arrays.npz")
        shown = np.asarray(Image.open(report.folders[0] / "input.png").resize((64, 64)), float).transpose(2, 0, 1) / 255
        errors.append(np.abs(arrays["image"] - shown)[:, arrays["mask"]].mean())
        assert record(report.folders[0])["refine_steps"] == steps
    assert errors[1] < 0.97 * errors[0]


def test_negative_numbers_of_steps_are_refused():
    with pytest.raises(ConfigError, match="-1"):
        ReconstructOptions(refine=-1)
