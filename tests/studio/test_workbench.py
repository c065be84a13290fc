"""What one browser works on, without a browser."""

from __future__ import annotations

import io
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from studio_files import EXAMPLES, photo_bytes

from scr3d.errors import CheckpointError, ConfigError
from scr3d.export.media import to_uint8
from scr3d.interventions import SetLight, SetView
from scr3d.studio import downloads
from scr3d.studio.appearance import fine_surface, look, picture, pose, surface_colors
from scr3d.studio.config import UploadLimits
from scr3d.studio.display_mesh import before_film, display_glb, film, frame_scale
from scr3d.studio.editing import Edits, Shown, Values
from scr3d.studio.library import SHIPPED, ModelLibrary, name_models
from scr3d.studio.photos import Frame, read_file, read_upload
from scr3d.studio.workbench import PHOTOS_KEPT, Workbench
from scr3d.studio.worker import Worker

LIMITS = UploadLimits()
LIGHT = {"ambient": 0.2, "diffuse": 0.9, "light_x": 0.8, "light_y": -0.4}


@pytest.fixture(scope="module")
def library() -> ModelLibrary:
    return ModelLibrary(name_models(()))


@pytest.fixture
def bench(library: ModelLibrary) -> Workbench:
    return Workbench(
        library, (read_file(EXAMPLES / "head-01.png", LIMITS), read_file(EXAMPLES / "head-04.png", LIMITS))
    )


def test_untouched_values_stay_as_found_to_the_last_bit(bench: Workbench) -> None:
    found = bench.explained().factors
    bench.edit(yaw_deg=20.0)
    edited = bench.factors()
    assert edited.light is found.light
    assert edited.canonical_depth is found.canonical_depth
    assert edited.canonical_albedo is found.canonical_albedo
    angles = torch.rad2deg(edited.view.rotation_rad)[0]
    assert float(angles[1]) == pytest.approx(20, abs=1e-4)
    torch.testing.assert_close(edited.view.rotation_rad[0, [0, 2]], found.view.rotation_rad[0, [0, 2]], rtol=0, atol=0)
    bench.edit(yaw_deg=None)
    assert bench.factors() == found


def test_sliders_show_what_is_found_and_what_is_set(bench: Workbench) -> None:
    found = Values.of(bench.explained().factors)
    assert bench.values() == found
    bench.edit(**LIGHT, relief=1.5)
    shown = bench.values()
    assert (shown.ambient, shown.light_y, shown.relief) == (0.2, -0.4, 1.5)
    assert shown.yaw_deg == found.yaw_deg
    again = Values.of(bench.factors())
    assert again.light_x == pytest.approx(0.8, abs=1e-5)
    bench.reset()
    assert bench.values() == found


def test_edits_are_interventions_on_values() -> None:
    assert Edits(ambient=0.5, roll_deg=3.0).interventions() == [SetLight(0.5), SetView(roll=3.0)]
    assert not Edits()
    with pytest.raises(ConfigError, match="yaw in degrees must be a number from -80 to 80"):
        Edits(yaw_deg=200.0).interventions()


def test_an_edited_picture_is_the_same_as_one_made_anew(bench: Workbench, library: ModelLibrary) -> None:
    """What is kept between pictures must not be seen in them."""
    steps: list[dict[str, float | None]] = [
        LIGHT,
        {"yaw_deg": 30.0},
        {"relief": 2.0},
        {"ambient": 0.9},
        {"pitch_deg": -20.0, "relief": None},
    ]
    for shown in (Shown.TEXTURE, Shown.PHOTO):
        bench.reset()
        bench.shown = shown
        for step in steps:
            bench.edit(**step)
            fresh = Workbench(library, (bench.find(bench.photo.label),))
            fresh.edits, fresh.shown = bench.edits, shown
            np.testing.assert_array_equal(bench.picture(), fresh.picture())
            assert bench.glb() == fresh.glb()


def test_every_edit_changes_the_picture(bench: Workbench) -> None:
    bench.picture()
    for name, value in {**LIGHT, "yaw_deg": -40.0, "pitch_deg": 20.0, "roll_deg": 15.0, "relief": 0.0}.items():
        bench.reset()
        before = bench.picture()
        bench.edit(**{name: value})
        assert (bench.picture() != before).mean() > 0.1, name


def test_the_picture_is_the_models_reconstruction(bench: Workbench) -> None:
    """At the model's own size, enlarged maps are the maps themselves, but for the border's columns and its normals."""
    network, result = bench.network, bench.explained()
    with torch.no_grad():
        seen = look(result.factors, network, 64)
    rgba = picture(seen, result.factors.light, Shown.TEXTURE)
    assert (rgba[..., 3] == 255).sum() <= int(result.mask.sum())
    inner = rgba[..., 3] == 255
    inner[:3] = inner[-3:] = False
    difference = np.abs(rgba[..., :3].astype(int) - to_uint8(result.image[0]))[inner]
    assert np.median(difference) == 0
    assert np.quantile(difference, 0.95) <= 2


def test_the_projected_photo_is_the_photo(bench: Workbench) -> None:
    bench.shown = Shown.PHOTO
    rgba = bench.picture()
    square = Image.fromarray(bench.photo.square(bench.frame)).resize(rgba.shape[1::-1], Image.Resampling.BILINEAR)
    inner = np.zeros(rgba.shape[:2], bool)
    inner[80:150, 70:140] = True  # the face
    difference = np.abs(rgba[..., :3].astype(int) - np.asarray(square))[inner]
    assert np.mean(difference) < 4
    bench.shown = Shown.TEXTURE
    texture = np.abs(bench.picture()[..., :3].astype(int) - np.asarray(square))[inner]
    assert np.mean(difference) < 0.5 * np.mean(texture)
    bench.shown = Shown.PHOTO
    bench.edit(ambient=0.0, diffuse=0.0)
    assert bench.picture()[..., :3][inner].max() == 0
    bench.show_factors()
    assert bench.shown is Shown.TEXTURE


def test_a_photo_on_other_factors_is_refused(bench: Workbench) -> None:
    surface = fine_surface(bench.factors(), bench.network, 32)
    with pytest.raises(ConfigError, match="not its own"):
        surface_colors(surface, bench.factors().light, Shown.PHOTO)


def test_tone_mapping_is_inverted() -> None:
    colors = np.random.default_rng(0).random((500, 3)) * 0.95
    np.testing.assert_allclose(film(before_film(colors)), colors, atol=1e-9)
    np.testing.assert_allclose(film(before_film(np.eye(3))), np.eye(3), atol=0.01)


def test_the_display_mesh_has_the_pictures_colours(bench: Workbench) -> None:
    factors, network = bench.factors(), bench.network
    surface = fine_surface(factors, network, 48)
    scene = trimesh.load(io.BytesIO(display_glb(surface, factors.light, Shown.NORMALS, network)), file_type="glb")
    (mesh,) = scene.geometry.values()
    assert len(mesh.vertices) == 48 * (48 - 2 * 2)
    assert mesh.vertices[:, 1].max() == pytest.approx(0.5, abs=0.06)
    nose = mesh.vertices[mesh.vertices[:, 2].argmax()]
    assert abs(nose[0]) < 0.2
    assert (mesh.face_normals[:, 2] > 0).mean() > 0.95


def test_the_pose_turns_the_mesh_as_the_view_turns_the_surface(bench: Workbench) -> None:
    from scr3d.export.mesh import mesh_from_depth
    from scr3d.geometry.camera import back_project
    from scr3d.geometry.pose import view_from_canonical

    bench.edit(yaw_deg=35.0, pitch_deg=-12.0, roll_deg=8.0)
    factors, network = bench.factors(), bench.network
    rotation, position = pose(factors.view)
    scale = frame_scale(network)
    mesh = mesh_from_depth(factors.canonical_depth[0], factors.canonical_albedo[0], network.camera, trim_columns=0)
    turned = trimesh.transform_points(mesh.vertices, trimesh.transformations.quaternion_matrix(rotation))
    turned += position * scale
    points = view_from_canonical(back_project(factors.canonical_depth, network.camera), factors.view)[0].flatten(1)
    expected = (points.T.double().numpy() - [0, 0, 1]) * [1, -1, -1] * scale
    np.testing.assert_allclose(turned, expected, atol=1e-5)


def test_downloads_open(bench: Workbench, tmp_path: Path) -> None:
    import imageio.v3 as imageio

    bench.edit(yaw_deg=10.0)
    scene = trimesh.load(io.BytesIO(downloads.glb(bench)), file_type="glb")
    (mesh,) = scene.geometry.values()
    assert mesh.visual.material.baseColorTexture.size == (224, 224)
    image = Image.open(io.BytesIO(downloads.png(bench)))
    assert (image.size, image.mode) == ((1024, 1024), "RGBA")
    (tmp_path / "a.mp4").write_bytes(downloads.mp4(bench, relit=True))
    frames = imageio.imread(tmp_path / "a.mp4")
    assert frames.shape == (48, 256, 256, 3)
    assert np.abs(frames[0].astype(int) - frames[24]).mean() > 2


def test_old_photos_go_but_not_the_one_in_use(bench: Workbench) -> None:
    for number in range(PHOTOS_KEPT + 5):
        bench.add(read_upload(f"{number}.png", photo_bytes(number), LIMITS))
    assert len(bench.photos) == PHOTOS_KEPT + 1
    assert bench.photo.label in bench.photos
    bench.choose(list(bench.photos)[-1])
    bench.add(read_upload("last.png", photo_bytes(), LIMITS))
    assert len(bench.photos) == PHOTOS_KEPT
    with pytest.raises(ConfigError, match="no longer kept"):
        bench.find("1 · head-01.png")


def test_nothing_is_shown_without_a_photo(library: ModelLibrary) -> None:
    with pytest.raises(ConfigError, match="there is no photo yet"):
        Workbench(library).picture()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_stays_level_over_200_photos(bench: Workbench) -> None:
    def one(number: int) -> None:
        photo = bench.add(read_upload(f"{number}.jpg", photo_bytes(number, (1200, 1000), "JPEG"), LIMITS))
        bench.choose(photo.label)
        bench.picture()

    for number in range(40):
        one(number)
    before = resident_megabytes()
    for number in range(40, 240):
        one(number)
    assert resident_megabytes() - before < 30  # 200 such photos alone take 720 MB


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def test_frames_and_models_change_what_is_explained(bench: Workbench, tiny_models: dict[str, Path]) -> None:
    first = bench.picture()
    bench.set_frame(Frame(1.4, 0.1, -0.2))
    assert (bench.picture() != first).mean() > 0.2
    bench.library.add("tiny", tiny_models["dense"])
    bench.edit(relief=2.0)
    bench.set_model("tiny")
    assert bench.network.config.size == 32
    assert not bench.edits
    assert bench.picture().shape == first.shape
    with pytest.raises(CheckpointError, match="there is no model 'none'"):
        bench.set_model("none")


def test_models_are_named_after_their_folders(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best").symlink_to(tiny_models["dense"])
    names = name_models((tiny_models["dense"], tmp_path / "run", tiny_models["dense"]))
    assert list(names) == ["dense", "run", "dense (2)", SHIPPED]
    with pytest.raises(CheckpointError, match="holds no model"):
        name_models((tmp_path,))


def test_a_model_that_trains_on_is_loaded_again(tmp_path: Path) -> None:
    from scr3d.causal.kinds import StructureKind
    from scr3d.models.autoencoder import PhotoGeometricAutoencoder
    from scr3d.models.config import ModelConfig
    from scr3d.models.io import save_model

    model = PhotoGeometricAutoencoder(ModelConfig(size=32, width=4, structure=StructureKind("independent")))
    save_model(tmp_path / "m", model, {})
    library = ModelLibrary({"m": tmp_path / "m"})
    first = library.get("m")
    assert library.get("m") is first
    time.sleep(0.02)
    save_model(tmp_path / "m", model, {})
    assert library.get("m") is not first


def waits(what: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_worker_does_the_latest_of_each_kind() -> None:
    gate, done, errors = threading.Event(), [], []
    worker = Worker(errors.append)
    worker.submit("first", lambda: done.append("too early"))
    worker.submit("first", gate.wait)
    for number in range(100):
        worker.submit("slider", lambda number=number: done.append(number))
    worker.submit("other", lambda: done.append("other"))
    worker.begin()
    gate.set()
    assert worker.wait(5)
    assert done == [99, "other"]
    worker.submit("bad", lambda: 1 // 0)
    worker.submit("good", lambda: done.append("good"))
    assert worker.wait(5)
    assert done[-1] == "good"
    assert [type(error) for error in errors] == [ZeroDivisionError]
    worker.close()
    worker.submit("late", lambda: done.append("late"))
    waits(lambda: not worker._thread.is_alive())
    assert "late" not in done
