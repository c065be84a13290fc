"""The published sets: tiny trees of their layouts."""

import csv

import numpy as np
import pytest
from photo_scenes import head
from PIL import Image

from scr3d.data.images import to_uint8, write_png8, write_png16
from scr3d.data.store import Store
from scr3d.errors import DataError
from scr3d.photos.crop import face_crop
from scr3d.photos.detect import Face
from scr3d.photos.options import Kind, PrepareOptions
from scr3d.photos.prepare import prepare
from scr3d.photos.published import CELEBA_ALIGNED_CROP, recognise


def noise(seed, height, width):
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def jpeg(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95)


def samples(out):
    with (out / "samples.csv").open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def square(row):
    x, y, side = (float(row[name]) for name in ("center_x", "center_y", "side"))
    return x - side / 2, y - side / 2, side


def test_aligned_celeba(tmp_path):
    lines = []
    for index in range(6):
        jpeg(tmp_path / "in" / "img_align_celeba" / f"{index:06d}.jpg", noise(index, 218, 178))
        lines.append(f"{index:06d}.jpg {index // 2}")
    (tmp_path / "in" / "list_eval_partition.txt").write_text("\n".join([*lines, "999999.jpg 0"]))
    report = prepare(tmp_path / "in", tmp_path / "out", PrepareOptions(), progress=False)
    assert report.layout == "CelebA, aligned"
    assert report.samples == {"train": 2, "val": 2, "test": 2}
    assert report.skipped == {"listed, but missing": 1}
    assert square(samples(tmp_path / "out")["img_align_celeba/000003.jpg"]) == (9, 30, 160)


def test_the_square_of_aligned_celeba_is_that_of_its_landmarks():
    """Means of list_landmarks_align_celeba.txt: eyes at y 111, nose at 135, mouth at 152."""
    landmarks = np.array([[69, 111], [107, 111], [88, 135], [73, 152], [105, 152]], float)
    crop = face_crop(Face(1.0, np.zeros(4), landmarks))
    rule = CELEBA_ALIGNED_CROP
    assert crop.side == pytest.approx(rule.side, abs=3)
    assert crop.center_x == pytest.approx(rule.left + rule.side / 2, abs=3)
    assert crop.center_y == pytest.approx(rule.top + rule.side / 2, abs=3)


def test_celeba_in_the_wild_with_the_papers_boxes(tmp_path):
    lines = []
    for index in range(3):
        jpeg(tmp_path / "in" / "img_celeba" / f"{index:06d}.jpg", noise(index, 200 + index, 300))
        lines.append(f"{index:06d}.jpg {index} {50 + index} -10 120 120")
    (tmp_path / "in" / "celeba_crop_bbox.txt").write_text("\n".join(lines))
    report = prepare(tmp_path / "in", tmp_path / "out", PrepareOptions(), progress=False)
    assert report.samples == {"train": 1, "val": 1, "test": 1}
    row = samples(tmp_path / "out")["img_celeba/000001.jpg"]
    assert row["split"] == "val"
    assert square(row) == (51, -10, 120)
    image = Store(tmp_path / "out" / "val").arrays["image"][0]
    assert abs(image[0].astype(int) - image[4].astype(int)).max() <= 2  # above the photo its edge goes on


def test_celeba_in_the_wild_with_its_own_boxes(tmp_path):
    for index in range(3):
        jpeg(tmp_path / "in" / "img_celeba" / f"{index:06d}.jpg", noise(index, 200, 300))
    boxes = ["3", "image_id x_1 y_1 width height", *(f"{i:06d}.jpg  40   30  80 120" for i in range(3))]
    (tmp_path / "in" / "list_bbox_celeba.txt").write_text("\n".join(boxes))
    (tmp_path / "in" / "list_eval_partition.txt").write_text("\n".join(f"{i:06d}.jpg {i}" for i in range(3)))
    prepare(tmp_path / "in", tmp_path / "out", PrepareOptions(), progress=False)
    assert square(samples(tmp_path / "out")["img_celeba/000002.jpg"]) == (20, 30, 120)


def test_faces_can_be_found_in_celeba_instead(tmp_path):
    picture = np.full((218, 178, 3), 0.5, np.float32)
    for index, name in enumerate(("head-01", "head-04", "head-06")):
        picture[50:178, 20:148] = head(name)
        jpeg(tmp_path / "in" / "img_align_celeba" / f"{index}.jpg", to_uint8(picture))
    (tmp_path / "in" / "list_eval_partition.txt").write_text("0.jpg 0\n1.jpg 1\n2.jpg 2\n")
    prepare(tmp_path / "in", tmp_path / "out", PrepareOptions(crop="face"), progress=False)
    left, top, side = square(samples(tmp_path / "out")["img_align_celeba/0.jpg"])
    assert (left, top, side) == pytest.approx((20, 50, 128), abs=14)


def test_cat_heads(tmp_path):
    for index in range(5):
        image = tmp_path / "in" / f"CAT_0{index % 2}" / f"{index:08d}_000.jpg"
        jpeg(image, noise(index, 300, 400))
        if index < 4:
            points = "100 120 160 120 130 150 80 90 85 40 110 80 150 80 175 40 180 90"
            image.with_name(image.name + ".cat").write_text(f"9 {points} ")
    report = prepare(tmp_path / "in", tmp_path / "out", PrepareOptions(preset=Kind.CAT), progress=False)
    assert report.layout == "cat heads"
    assert sum(report.samples.values()) == 4
    assert report.skipped == {"listed, but missing": 1}
    left, top, side = square(samples(tmp_path / "out")["CAT_00/00000000_000.jpg"])
    assert side == pytest.approx(3.4 * 60)
    assert left + side / 2 == pytest.approx(130)
    assert top < 40 < 150 < top + side  # ears and mouth are inside
    (tmp_path / "in" / "CAT_00" / "00000000_000.jpg.cat").write_text("9 1 2 3")
    with pytest.raises(DataError, match="coordinates of nine points"):
        prepare(tmp_path / "in", tmp_path / "again", PrepareOptions(preset=Kind.CAT), progress=False)


@pytest.mark.parametrize("held_out", [["val"], ["test"]])
def test_afhq(tmp_path, held_out):
    number = 0
    for part, count in (("train", 12), *((name, 2) for name in held_out)):
        for kind in ("cat", "dog", "wild"):
            for _ in range(count):
                jpeg(tmp_path / "in" / part / kind / f"{number}.jpg", noise(number, 64, 64))
                number += 1
    report = prepare(tmp_path / "in", tmp_path / "out", PrepareOptions(preset=Kind.CAT), progress=False)
    assert report.layout == "AFHQ"
    assert sum(report.samples.values()) == number
    assert all(report.samples.values())
    found = samples(tmp_path / "out")
    assert all(row["split"] == held_out[0] for name, row in found.items() if name.startswith(held_out[0]))
    only_cats = prepare(tmp_path / "in" / "train" / "cat", tmp_path / "cats", PrepareOptions(preset=Kind.CAT))
    assert sum(only_cats.samples.values()) == 12


def test_basel_faces_and_cars_are_the_papers_layout(tmp_path):
    for split in ("train", "val", "test"):
        for kind in ("image", "depth"):
            (tmp_path / "in" / split / kind).mkdir(parents=True)
        write_png8(tmp_path / "in" / split / "image" / "syn_image_1.png", noise(len(split), 200, 200))
        write_png16(tmp_path / "in" / split / "depth" / "syn_depth_1.png", np.full((200, 200), 40000, np.uint16))
    assert recognise(tmp_path / "in") is None
    prepare(tmp_path / "in", tmp_path / "faces", PrepareOptions(crop="center:170"), progress=False)
    assert square(samples(tmp_path / "faces")["test/image/syn_image_1.png"]) == (15, 15, 170)
    assert (Store(tmp_path / "faces" / "test").arrays["depth"] == 40000).all()
    options = PrepareOptions(preset=Kind.CAR, crop="8,14,100")
    prepare(tmp_path / "in", tmp_path / "cars", options, progress=False)
    assert square(samples(tmp_path / "cars")["val/image/syn_image_1.png"]) == (8, 14, 100)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list_eval_partition.txt", None, "list_eval_partition.txt is missing"),
        ("list_eval_partition.txt", "000000.jpg 7\n", "damaged in line 1: expected 2 columns"),
        ("list_eval_partition.txt", "000000.jpg\n", "damaged in line 1"),
    ],
)
def test_damaged_tables_are_named(tmp_path, name, text, message):
    jpeg(tmp_path / "in" / "img_align_celeba" / "000000.jpg", noise(0, 218, 178))
    if text is not None:
        (tmp_path / "in" / name).write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        prepare(tmp_path / "in", tmp_path / "out", PrepareOptions(), progress=False)
    assert "\n" not in str(caught.value)


def test_damaged_boxes_are_named(tmp_path):
    jpeg(tmp_path / "in" / "img_celeba" / "0.jpg", noise(0, 50, 50))
    (tmp_path / "in" / "celeba_crop_bbox.txt").write_text("0.jpg 0 1 2 x 4\n")
    with pytest.raises(DataError, match=r"the box of 0\.jpg is '1 2 x 4'"):
        prepare(tmp_path / "in", tmp_path / "out", PrepareOptions(), progress=False)
