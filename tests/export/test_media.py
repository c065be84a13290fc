import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image

from scr3d.errors import ConfigError, DataError, ShapeError
from scr3d.export import media
from scr3d.geometry import Camera, DepthRange, normals_from_depth


def test_png_holds_the_pixels(tmp_path):
    codes = torch.randint(0, 256, (3, 5, 7), generator=torch.Generator().manual_seed(0))
    media.write_png(tmp_path / "a.png", codes / 255)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), codes.movedim(0, -1))
    media.write_png(tmp_path / "b.png", codes[0] / 255)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png")), codes[0])


def test_values_out_of_range_are_clamped():
    image = torch.tensor([-1.0, 0.5, 3.0, float("nan")]).expand(3, 1, 4)
    assert media.to_uint8(image)[0, :, 0].tolist() == [0, 128, 255, 0]


def test_depth_png_round_trip(tmp_path):
    depth = torch.linspace(0.8, 1.2, 35).reshape(5, 7)
    mask = torch.rand(5, 7, generator=torch.Generator().manual_seed(1)) > 0.3
    media.write_depth_png(tmp_path / "d.png", depth, DepthRange(0.8, 1.2), mask)
    raw = np.asarray(Image.open(tmp_path / "d.png"))
    assert raw.dtype == np.uint16
    read, seen = media.read_depth_png(tmp_path / "d.png")
    np.testing.assert_array_equal(seen, mask)
    np.testing.assert_allclose(read[mask], depth[mask], atol=0.4 / 65535)
    near_first = raw[mask.numpy()].astype(int)
    assert (np.diff(near_first) < 0).all()


def test_depth_png_follows_the_layout_of_the_data_sets(tmp_path):
    media.write_depth_png(tmp_path / "d.png", torch.tensor([[0.9, 1.0], [1.1, 1.3]]), DepthRange())
    assert np.asarray(Image.open(tmp_path / "d.png")).tolist() == [[65535, 32768], [1, 1]]


def test_unusable_depth_images_are_refused(tmp_path):
    media.write_png(tmp_path / "grey.png", torch.rand(4, 4))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    for name, words in (("grey.png", "does not say"), ("broken.png", "cannot be read"), ("none.png", "cannot be read")):
        with pytest.raises(DataError, match=words):
            media.read_depth_png(tmp_path / name)


def test_normal_colors_point_outward():
    camera = Camera(33, 33)
    axis = torch.linspace(-1, 1, 33)
    bump = 1 - 0.05 * torch.exp(-2 * (axis[None, :] ** 2 + axis[:, None] ** 2))
    colors = media.normal_colors(normals_from_depth(bump[None], camera))[0]
    plane = media.normal_colors(normals_from_depth(torch.ones(1, 33, 33), camera))[0]
    torch.testing.assert_close(plane[:, 16, 16], torch.tensor([0.5, 0.5, 1.0]))
    assert colors[0, 16, 24] > 0.6 > 0.4 > colors[0, 16, 8]
    assert colors[1, 8, 16] > 0.6 > 0.4 > colors[1, 24, 16]


def test_colorize_runs_from_dark_to_bright_and_bears_bad_values():
    image = media.colorize(torch.linspace(2, 5, 50)[None], 2, 5)
    brightness = (image * torch.tensor([0.3, 0.6, 0.1])[:, None, None]).sum(0)[0]
    assert (brightness.diff() > 0).all()
    torch.testing.assert_close(image[:, 0, 0], torch.tensor(media.COLOR_STOPS[0]))
    torch.testing.assert_close(image[:, 0, -1], torch.tensor(media.COLOR_STOPS[-1]))
    assert media.colorize(torch.tensor([[float("nan"), 1.0]]), 1, 1).isfinite().all()


def test_image_grid_places_images_row_by_row():
    images = [torch.full((3, 2, 2), value) for value in (0.1, 0.2, 0.3)]
    sheet = media.image_grid(images, columns=2, size=4, gap_px=1, background=1.0)
    assert sheet.shape == (3, 11, 11)
    assert [round(float(sheet[0, y, x]), 3) for y, x in ((2, 2), (2, 7), (7, 2), (7, 7), (0, 0))] == [
        0.1,
        0.2,
        0.3,
        1,
        1,
    ]
    with pytest.raises(ShapeError):
        media.image_grid([], 2, 4)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".mp4", 0.06), (".gif", 0.02), (".png", 0.003)])
def test_animation_keeps_frames_in_order(tmp_path, suffix, tolerance):
    levels = torch.tensor([0.2, 0.5, 0.9, 0.7])
    frames = levels[:, None, None, None].expand(4, 3, 33, 47)
    path = tmp_path / f"a{suffix}"
    media.write_animation(path, frames, 10)
    assert list(tmp_path.iterdir()) == [path]
    read = np.stack([np.asarray(frame)[..., :3] for frame in iio.imiter(path)])
    assert read.shape == ((4, 34, 48, 3) if suffix == ".mp4" else (4, 33, 47, 3))
    np.testing.assert_allclose(read.mean((1, 2, 3)) / 255, levels, atol=tolerance)


def test_gif_and_png_loop_for_ever(tmp_path):
    frames = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for suffix in (".gif", ".png"):
        media.write_animation(tmp_path / f"a{suffix}", frames, 20)
        with Image.open(tmp_path / f"a{suffix}") as image:
            assert image.info["loop"] == 0
            assert image.info["duration"] == pytest.approx(50)


def test_animation_refuses_what_it_cannot_write(tmp_path):
    with pytest.raises(ConfigError, match="mp4"):
        media.write_animation(tmp_path / "a.avi", torch.rand(2, 3, 4, 4))
    for shape in ((0, 3, 4, 4), (3, 4, 4), (2, 1, 4, 4)):
        with pytest.raises(ShapeError):
            media.write_animation(tmp_path / "a.gif", torch.rand(shape))
    assert not list(tmp_path.iterdir())
