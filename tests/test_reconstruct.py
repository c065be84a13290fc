import json
import shutil
import subprocess
import sys
from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from scr3d import files
from scr3d.errors import ConfigError, DataError
from scr3d.export import outputs
from scr3d.export.media import read_depth_png
from scr3d.export.options import NormalMap
from scr3d.export.outputs import light_origin
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder, save_model
from scr3d.reconstruct import Animation, Output, ReconstructOptions, Texture, reconstruct_files, unique_name

QUICK = ReconstructOptions(render_size=48, frames=4)
STILL = ReconstructOptions(render_size=32, animation=Animation.NONE)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    config = ModelConfig(size=32, width=4, order="VDLA", start_scale=1.0)
    folder = tmp_path_factory.mktemp("run") / "model"
    save_model(folder, PhotoGeometricAutoencoder(config), {})
    return folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(folder / "a.png")
    Image.fromarray(random.integers(0, 256, (37, 61), dtype=np.uint8)).save(folder / "a.jpg")
    Image.fromarray(random.integers(0, 256, (32, 32, 4), dtype=np.uint8)).save(folder / "b & <c>.png")
    Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(folder / "more" / "A.png")
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
    (folder / "notes.txt").write_text("no image")
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_becomes_a_gallery(photos, tmp_path, model, capsys):
    out = tmp_path / "deep" / "out"
    report = reconstruct_files([photos, photos / "more" / "A.png", photos / "a.png"], out, model, options=QUICK)
    assert names(out) == ["A-3", "a", "a-2", "b & _c_", "index.html"]
    assert [folder.name for folder in report.folders] == ["a", "a-2", "b & _c_", "A-3"]
    assert [path.name for path, _ in report.skipped] == ["broken.png"]
    printed = capsys.readouterr().out
    assert str(report.page.resolve()) in printed
    assert "4 reconstructed, 1 skipped" in printed
    assert "broken.png: is " in printed
    page = report.page.read_text("utf-8")
    assert "b &amp; &lt;c&gt;.png" in page
    assert "./b%20%26%20_c_/mesh.glb" in page
    for folder in report.folders:
        listed = set(names(folder))
        assert {"mesh.glb", "mesh.obj", "mesh.mtl", "mesh.png", "mesh.ply"} <= listed
        assert {"turntable.mp4", "relighting.mp4", "textureless_turntable.mp4", "textureless.png"} <= listed
        assert not any(name.startswith(".") for name in listed)


def test_outputs_agree_with_the_model(photos, tmp_path, model):
    report = reconstruct_files([photos / "a.png"], tmp_path / "out", model, options=QUICK)
    folder = report.folders[0]
    arrays = np.load(folder / "arrays.npz", allow_pickle=False)
    record = json.loads((folder / "factors.json").read_text())
    assert arrays["canonical_depth"].shape == (32, 32)
    assert arrays["perceptual_confidence"].shape == (8, 8)
    np.testing.assert_allclose(np.degrees(arrays["view_rotation_rad"])[1], record["view"]["yaw_deg"], rtol=1e-5)
    np.testing.assert_allclose(
        arrays["canonical_albedo"] * arrays["canonical_shading"], arrays["canonical_image"], atol=1e-6
    )
    canonical, _ = read_depth_png(folder / "canonical_depth.png")
    np.testing.assert_allclose(canonical, arrays["canonical_depth"], atol=3e-6)
    seen, mask = read_depth_png(folder / "view_depth.png")
    np.testing.assert_array_equal(mask, arrays["mask"])
    np.testing.assert_allclose(seen[mask], arrays["view_depth"][mask], atol=5e-6)
    albedo = np.asarray(Image.open(folder / "albedo.png"))
    np.testing.assert_array_equal(albedo, np.rint(arrays["canonical_albedo"] * 255).transpose(1, 2, 0))
    mesh = trimesh.load(folder / "mesh.glb", force="mesh", process=False)
    assert len(mesh.vertices) == 32 * 28
    texture = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"))
    expected = np.rint(np.clip(arrays["canonical_image"], 0, 1) * 255).transpose(1, 2, 0)
    np.testing.assert_array_equal(texture, expected)
    assert iio.imread(folder / "turntable.mp4").shape == (4, 48, 48, 3)
    assert Image.open(folder / "input.png").size == (40, 40)
    assert Image.open(folder / "textureless.png").size == (48, 48)


def test_batch_size_does_not_change_the_result(photos, tmp_path, model):
    arrays = []
    for batch_size in (1, 3):
        options = ReconstructOptions(render_size=32, animation=Animation.NONE, batch_size=batch_size)
        report = reconstruct_files([photos], tmp_path / str(batch_size), model, options=options)
        arrays.append([np.load(folder / "arrays.npz")["canonical_depth"] for folder in report.folders])
    assert len(arrays[0]) == 3
    np.testing.assert_allclose(arrays[0], arrays[1], atol=1e-5)


def test_options_change_what_is_written(photos, tmp_path, model):
    options = ReconstructOptions(render_size=32, animation=Animation.NONE, texture=Texture.ALBEDO, trim_border=False)
    folder = reconstruct_files([photos / "a.png"], tmp_path / "out", model, options=options).folders[0]
    assert not [name for name in names(folder) if name.endswith((".mp4", ".gif")) or "turntable" in name]
    np.testing.assert_array_equal(Image.open(folder / "mesh.png"), Image.open(folder / "albedo.png"))
    assert len(trimesh.load(folder / "mesh.ply", process=False).vertices) == 32 * 32
    options = ReconstructOptions(render_size=32, frames=4, animation=Animation.GIF)
    folder = reconstruct_files([photos / "a.png"], tmp_path / "out", model, options=options).folders[0]
    assert Image.open(folder / "turntable.gif").n_frames == 4
    assert "turntable.gif" in (tmp_path / "out" / "index.html").read_text("utf-8")


def test_only_the_wanted_kinds_are_written(photos, tmp_path, model):
    files = {
        Output.ARRAYS: {"arrays.npz"},
        Output.DEPTH: {"view_depth.png", "canonical_depth.png"},
        Output.MESH: {"mesh.glb"},
        Output.OBJ: {"mesh.obj", "mesh.mtl", "mesh.png"},
        Output.PLY: {"mesh.ply"},
    }
    for output, expected in files.items():
        options = ReconstructOptions(only=(output,))
        report = reconstruct_files([photos / "a.png"], tmp_path / output, model, options=options)
        assert set(names(report.folders[0])) == {"factors.json", *expected}
        assert report.page is None
        assert names(tmp_path / output) == ["a"]
        record = json.loads((report.folders[0] / "factors.json").read_text())
        assert bool(record["depth_images"]) == (output is Output.DEPTH)
    # A result without arrays is a result all the same, and is replaced.
    options = ReconstructOptions(only=(Output.PICTURES, Output.PAGE), render_size=32)
    report = reconstruct_files([photos / "a.png"], tmp_path / "mesh", model, options=options)
    assert names(tmp_path / "mesh") == ["a", "index.html"]
    assert {"overview.png", "normals.png"} <= set(names(report.folders[0]))
    assert not {"mesh.glb", "arrays.npz", "turntable.mp4", "view_depth.png"} & set(names(report.folders[0]))
    page = report.page.read_text("utf-8")
    assert "overview.png" in page
    assert "mesh.glb" not in page


def test_threads_change_nothing_but_the_time(photos, tmp_path, model, capsys):
    for number in range(9):
        shutil.copy(photos / "b & <c>.png", photos / f"copy-{number}.png")
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            options = ReconstructOptions(only=(Output.ARRAYS, Output.MESH), batch_size=2)
            out = tmp_path / str(threads)
            report = reconstruct_files([photos], out, model, options=options, threads=threads)
            assert torch.get_num_threads() == threads
            assert "12 reconstructed, 1 skipped" in capsys.readouterr().out
            assert [path.name for path, _ in report.skipped] == ["broken.png"]
            loaded = {folder.name: np.load(folder / "arrays.npz") for folder in report.folders}
            assert all((folder / "mesh.glb").is_file() for folder in report.folders)
            found.append(
                {name: (arrays["canonical_depth"], arrays["canonical_albedo"]) for name, arrays in loaded.items()}
            )
    finally:
        torch.set_num_threads(before)
    assert list(found[0]) == list(found[1])
    for name, arrays in found[0].items():
        for one, other in zip(arrays, found[1][name], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_an_error_in_a_thread_stops_the_others(photos, tmp_path, model, monkeypatch):
    for number in range(20):
        shutil.copy(photos / "a.png", photos / f"copy-{number:02}.png")
    written = []

    def fill(folder, sample, options):
        written.append(sample.name)
        if len(written) > 3:
            raise OSError(28, "No space left on device")
        return write_outputs(folder, sample, options)

    write_outputs = outputs.write_outputs
    monkeypatch.setattr(outputs, "write_outputs", fill)
    options = ReconstructOptions(only=(Output.DEPTH,), batch_size=1)
    before = torch.get_num_threads()
    try:
        with pytest.raises(ConfigError, match="No space left"):
            reconstruct_files([photos], tmp_path / "out", model, options=options, threads=2)
    finally:
        torch.set_num_threads(before)
    assert len(written) < 12
    assert len(names(tmp_path / "out")) == 3


def test_a_second_run_replaces_results_but_nothing_else(photos, tmp_path, model):
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a" / "diary.txt").write_text("mine")
    for _ in range(2):
        reconstruct_files([photos / "a.png"], out, model, options=STILL)
    assert names(out) == ["a", "a-2", "index.html"]
    assert names(out / "a") == ["diary.txt"]


def test_without_a_usable_image_nothing_is_written(photos, tmp_path, model):
    (tmp_path / "empty").mkdir()
    given = [photos / "broken.png", tmp_path / "empty", tmp_path / "missing.png", photos / "notes.txt"]
    with pytest.raises(DataError) as caught:
        reconstruct_files(given, tmp_path / "out", model, options=STILL)
    assert "\n" not in str(caught.value)
    assert "broken.png" in str(caught.value)
    assert "and 1 more" in str(caught.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="got none"):
        reconstruct_files([], tmp_path / "out", model)


def test_results_do_not_go_into_a_file(photos, tmp_path, model):
    (tmp_path / "out").write_text("")
    for out in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(ConfigError, match="is a file"):
            reconstruct_files([photos / "a.png"], out, model, options=STILL)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_missing_devices_are_named(photos, tmp_path, model, device):
    with pytest.raises(ConfigError, match=device):
        reconstruct_files([photos / "a.png"], tmp_path / "out", model, device, STILL)


def test_an_interrupted_run_leaves_no_half_folder(photos, tmp_path, model, monkeypatch):
    out = tmp_path / "out"
    reconstruct_files([photos / "a.png"], out, model, options=STILL)
    before = (out / "a" / "factors.json").stat().st_mtime_ns

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs, "export_mesh", interrupt)
    with pytest.raises(KeyboardInterrupt):
        reconstruct_files([photos], out, model, options=STILL)
    assert names(out) == ["a", "index.html"]
    assert (out / "a" / "factors.json").stat().st_mtime_ns == before


def test_a_full_disk_is_one_clear_line(photos, tmp_path, model, monkeypatch):
    def fill(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs, "export_mesh", fill)
    with pytest.raises(ConfigError, match="No space left"):
        reconstruct_files([photos / "a.png"], tmp_path / "out", model, options=STILL)


def test_a_disk_that_is_full_only_when_it_is_waited_for_is_one_clear_line_too(photos, tmp_path, model, monkeypatch):
    def fill(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "flush", fill)
    options = ReconstructOptions(only=(Output.DEPTH,))
    with pytest.raises(ConfigError, match="No space left"):
        reconstruct_files([photos], tmp_path / "out", model, options=options)
    assert names(tmp_path / "out") == []


def test_a_print_is_closed_and_everything_is_in_millimetres(photos, tmp_path, model):
    only = (Output.MESH, Output.DEPTH, Output.PICTURES, Output.PAGE)
    options = ReconstructOptions(only=only, render_size=32, watertight=True, frame_width_mm=260)
    plain = ReconstructOptions(only=only, render_size=32)
    reconstruct_files([photos / "a.png"], tmp_path / "mm", model, options=options)
    directx = replace(plain, normal_map=NormalMap.DIRECTX)
    reconstruct_files([photos / "a.png"], tmp_path / "plain", model, options=directx)
    reconstruct_files([photos / "a.png"], tmp_path / "opengl", model, options=plain)
    folder, other = tmp_path / "mm" / "a", tmp_path / "plain" / "a"
    assert trimesh.load(folder / "mesh.glb", process=False).to_geometry().is_watertight
    assert set(names(folder)) - set(names(other)) == {"view_depth_mm.png", "canonical_depth_mm.png"}
    record = json.loads((folder / "factors.json").read_text())
    unit = record["millimetres_per_unit_of_depth"]
    depth, mask = read_depth_png(folder / "view_depth.png")
    codes = np.asarray(Image.open(folder / "view_depth_mm.png"))
    np.testing.assert_allclose(codes[mask], depth[mask] * unit, atol=0.51)
    assert not codes[~mask].any()
    # The frame is as wide as was said: rays of its outer columns, one unit away, are so far apart.
    assert 2 * np.tan(np.radians(record["fov_deg"] / 2)) * unit == pytest.approx(260)
    up, down = (np.asarray(Image.open(tmp_path / kind / "a" / "normals.png")) for kind in ("opengl", "plain"))
    np.testing.assert_allclose(up[..., 1].astype(int) + down[..., 1], 255, atol=1)
    np.testing.assert_array_equal(up[..., [0, 2]], down[..., [0, 2]])
    assert "view_depth_mm.png" in (tmp_path / "mm" / "index.html").read_text()
    assert "view_depth_mm.png" not in (tmp_path / "plain" / "index.html").read_text()
    assert "green down" in (tmp_path / "plain" / "index.html").read_text()


def test_contradicting_outputs_are_refused():
    with pytest.raises(ConfigError, match="--animation none"):
        ReconstructOptions(only=(Output.ANIMATIONS,), animation=Animation.NONE)


@pytest.mark.parametrize("wrong", [{"render_size": 4}, {"frames": 1}, {"max_yaw_deg": 95}, {"batch_size": 0}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        ReconstructOptions(**wrong)


def test_folder_names_are_valid_and_unique():
    taken = {"index.html"}
    given = ["face", "Face", "face-2", "..", "a/b:c", "index.html", "name. ", "bad\udcff", "x" * 300, "é" * 300]
    made = [unique_name(stem, taken) for stem in given]
    assert made[:7] == ["face", "Face-2", "face-2-2", "image", "a_b_c", "index.html-2", "name"]
    assert made[7] == "bad?".replace("?", chr(0xFFFD))
    assert len({name.casefold() for name in made}) == len(made)
    assert all(0 < len(name.encode("utf-8")) <= 210 for name in made)


def test_lights_are_told_in_words():
    assert light_origin(0.0, 0.01, 1.0) == "the camera"
    assert light_origin(0.5, 0.0, 1.0).startswith("the left, 27°")
    assert light_origin(-0.5, 0.5, 1.0).startswith("above and the right")
    assert light_origin(0.0, -1.0, 1.0).startswith("below, 45°")


def test_options_are_there_without_the_heavy_libraries():
    code = (
        "import sys, scr3d.reconstruct; print([m for m in ('torch', 'trimesh', 'warp', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
