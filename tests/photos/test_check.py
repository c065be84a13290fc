"""The readiness report: it must say so where a set cannot be learned from."""

import re

import numpy as np
import pytest
from PIL import Image, ImageFilter

from scr3d.data.store import ArraySpec, StoreInfo, StoreWriter
from scr3d.errors import ConfigError, DataError
from scr3d.photos.check import check
from scr3d.photos.quality import measure
from scr3d.photos.readiness import Level


@pytest.fixture(scope="module")
def images():
    """Blobs that no face finder takes for a face."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (600, 12, 12, 3), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(one).resize((32, 32), Image.Resampling.BICUBIC)) for one in small]
    return np.stack(large)


def write(folder, arrays, yaw_deg=None, **splits):
    """Stores of the given numbers of samples, cut out of the arrays one after the other."""
    splits, start = splits or {"train": 560, "val": 20, "test": 20}, 0
    rows = ["split,index,yaw_deg"]
    for split, count in splits.items():
        block = {name: values[start : start + count] for name, values in arrays.items()}
        specs = {name: ArraySpec(str(values.dtype), values.shape[1:]) for name, values in block.items()}
        StoreWriter(folder / split, StoreInfo(32, count, specs)).append(block)
        if yaw_deg is not None:
            rows += [f"{split},{index},{yaw_deg[start + index]}" for index in range(count)]
        start += count
    if yaw_deg is not None:
        (folder / "samples.csv").write_text("\n".join(rows))
    return folder


def finding(readiness, start):
    (found,) = [one for one in readiness.findings if one.title.startswith(start)]
    return found


@pytest.mark.slow
def test_a_good_set_is_ready(images, tmp_path):
    many = np.tile(images, (10, 1, 1, 1))
    many = (many.astype(int) + np.random.default_rng(1).integers(-90, 91, (len(many), 1, 1, 3))).clip(0, 255)
    yaw_deg = np.random.default_rng(0).normal(0, 20, len(many))
    folder = write(tmp_path, {"image": many.astype(np.uint8)}, yaw_deg, train=5200, val=400, test=400)
    readiness = check(folder, limit=300, progress=False)
    assert finding(readiness, "number").level is Level.FINE
    views = finding(readiness, "viewpoints")
    assert views.level is Level.FINE
    assert "turn by 20 degrees" in views.title or "turn by 19 degrees" in views.title
    assert Level.STOP not in {one.level for one in readiness.findings}


@pytest.mark.parametrize(("spread_deg", "level"), [(2.0, Level.STOP), (7.0, Level.WARNING), (20.0, Level.FINE)])
def test_a_set_seen_from_the_front_cannot_work(images, tmp_path, spread_deg, level):
    yaw_deg = np.random.default_rng(0).normal(0, spread_deg, 600)
    readiness = check(write(tmp_path, {"image": images}, yaw_deg), progress=False)
    assert finding(readiness, "viewpoints").level is level
    if level is Level.STOP:
        assert "cannot work" in finding(readiness, "viewpoints").text
        assert readiness.verdict.startswith("Not ready")


def test_views_of_heads_are_found_in_the_images(heads):
    readiness = check(heads, heads / "report.html", progress=False)
    assert readiness.page.is_file()
    views = finding(readiness, "viewpoints")
    assert 10 < float(re.search(r"turn by (\d+)", views.title)[1]) < 35
    assert finding(readiness, "number").level is not Level.FINE  # 48 heads


def test_views_of_other_objects_are_said_to_be_unknown(images, tmp_path):
    readiness = check(write(tmp_path, {"image": images}), limit=20, progress=False)
    assert finding(readiness, "viewpoints").title == "viewpoints: unknown"
    assert "from different sides" in finding(readiness, "viewpoints").text


def test_what_is_wrong_with_images_is_named_and_shown(images, tmp_path):
    bad = images.copy()
    bad[:180] = bad[:180] // 10
    bad[180:400] = [np.asarray(Image.fromarray(one).filter(ImageFilter.GaussianBlur(3))) for one in bad[180:400]]
    bad[400:500] = bad[400:500].mean(axis=3, keepdims=True).astype(np.uint8)
    bad[540:560] = bad[520:540]
    readiness = check(write(tmp_path, {"image": bad}, np.full(600, 3.0)), progress=False)
    dark = finding(readiness, "dark images")
    assert dark.level is Level.WARNING
    assert set(dark.examples) <= set(range(180))
    assert "32%" in dark.title
    blurred = finding(readiness, "blurred")
    assert blurred.level in (Level.ADVICE, Level.WARNING)
    assert set(blurred.examples) & set(range(180, 400))
    assert finding(readiness, "grey").level is Level.ADVICE
    assert finding(readiness, "duplicates").title.startswith("duplicates: 20 of 600")
    page = readiness.page.read_text("utf-8")
    assert page.count("data:image/png;base64,") >= 4
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert readiness.text().count("\n") >= 9


def test_copies_in_two_splits_are_a_leak(images, tmp_path):
    readiness = check(write(tmp_path, {"image": np.concatenate([images[:580], images[:20]])}), progress=False)
    leak = finding(readiness, "duplicates")
    assert leak.level is Level.WARNING
    assert "20 are in several splits" in leak.text


def test_black_backgrounds_are_a_trap_unless_masked(images, tmp_path):
    framed = images.copy()
    framed[:, :6] = framed[:, -6:] = 0
    framed[:, :, :6] = framed[:, :, -6:] = 0
    readiness = check(write(tmp_path / "a", {"image": framed}), limit=50, progress=False)
    assert finding(readiness, "background").level is Level.WARNING
    masks = (framed.sum(axis=3) > 0).astype(np.uint8) * 255
    readiness = check(write(tmp_path / "b", {"image": framed, "mask": masks}), limit=50, progress=False)
    assert finding(readiness, "background").level is Level.FINE
    assert finding(readiness, "masks").level is Level.FINE
    readiness = check(write(tmp_path / "c", {"image": framed, "mask": masks * 0}), limit=50, progress=False)
    assert "exchanged" in finding(readiness, "masks").text


def test_measures_of_known_images():
    black, white = np.zeros((1, 32, 32, 3), np.uint8), np.full((1, 32, 32, 3), 255, np.uint8)
    red = np.zeros((1, 32, 32, 3), np.uint8)
    red[..., 0] = 255
    quality = measure(np.concatenate([black, white, red]))
    np.testing.assert_allclose(quality.brightness, [0, 1, 0.299], atol=1e-6)
    np.testing.assert_allclose(quality.clipped, [1, 1, 0])
    np.testing.assert_allclose(quality.colorfulness, [0, 0, 1])
    np.testing.assert_allclose(quality.rim_color, [[0, 0, 0], [1, 1, 1], [1, 0, 0]])
    np.testing.assert_allclose(quality.sharpness, 0, atol=1e-5)


def test_refusals(images, tmp_path):
    with pytest.raises(DataError, match="no data to train on"):
        check(tmp_path, progress=False)
    write(tmp_path, {"image": images}, train=10)
    with pytest.raises(ConfigError, match="--limit"):
        check(tmp_path, limit=0, progress=False)
    readiness = check(tmp_path, limit=5, progress=False)
    assert "val and test is missing" in finding(readiness, "number").text
