import math

import numpy as np
import pytest
from photo_scenes import head, scene

from scr3d.data.images import center_square, resize
from scr3d.errors import DataError
from scr3d.photos.crop import Crop, box_crop, center_crop, cut, face_crop
from scr3d.photos.detect import Face, find_faces


def ramps(height, width):
    """A picture whose values are the coordinates of its pixels' middles."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + 0.5
    return np.stack([x, y, 0 * x], axis=2)


def at(crop, size):
    """Where the middles of a crop's pixels lie in the photo."""
    steps = (np.arange(size) + 0.5) / size
    corners = crop.corners
    return (
        corners[0] + steps[None, :, None] * (corners[1] - corners[0]) + steps[:, None, None] * (corners[3] - corners[0])
    )


@pytest.mark.parametrize(("height", "width"), [(40, 60), (61, 40), (33, 33)])
def test_the_middle_square_is_that_of_plain_scaling(height, width):
    image = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    for size in (16, 33):
        np.testing.assert_array_equal(cut(image, center_crop(width, height), size), resize(center_square(image), size))


@pytest.mark.parametrize("roll_deg", [0.0, 7.0, -30.0, 90.0, 180.0])
@pytest.mark.parametrize("side", [30.0, 64.5, 130.0])
def test_a_crop_takes_every_pixel_from_its_place(roll_deg, side):
    crop = Crop(101.3, 118.7, side, math.radians(roll_deg))
    seen = cut(ramps(240, 200), crop, 32)[..., :2]
    inner = slice(2, -2)  # at the rim the filter has fewer pixels
    np.testing.assert_allclose(seen[inner, inner], at(crop, 32)[inner, inner], atol=0.25)


def test_beyond_the_photo_the_edge_goes_on():
    image = np.zeros((20, 20, 3), np.float32)
    image[:, 0] = [1, 0, 0]
    crop = Crop(0, 10, 20)
    assert crop.share_beyond(20, 20) == 0.5
    seen = cut(image, crop, 20)
    np.testing.assert_array_equal(seen[:, :11], np.broadcast_to([1, 0, 0], (20, 11, 3)))
    assert (seen[:, 11:] == 0).all()
    assert Crop(10, 10, 20).share_beyond(20, 20) == 0
    far = cut(image, Crop(-500, -500, 10), 8)
    np.testing.assert_array_equal(far, np.broadcast_to([1, 0, 0], (8, 8, 3)))


def test_scaling_down_is_antialiased():
    stripes = np.zeros((256, 256), np.float32)
    stripes[::2] = 1
    for roll_deg in (0, 20):
        seen = cut(stripes, Crop(128.3, 128, 160, math.radians(roll_deg)), 20)
        np.testing.assert_allclose(seen, 0.5, atol=0.06)


def test_boxes_become_squares_around_the_same_middle():
    assert box_crop(10, 20, 30, 60) == Crop(20, 40, 40)


def test_heads_are_framed_as_they_were_rendered(heads):
    from scr3d.data.store import Store

    store, side, off = Store(heads / "val"), [], []
    for index in range(12):
        image = store.arrays["image"][index].astype(np.float32) / 255
        for face in find_faces(scene([(resize(image, 160), 60, 40)]))[:1]:
            crop = face_crop(face)
            side.append(crop.side / 160)
            off.append(np.hypot(crop.center_x - 140, crop.center_y - 120) / 160)
    assert len(side) >= 10
    assert np.mean(side) == pytest.approx(1, abs=0.05)
    assert np.mean(off) < 0.06


def test_a_turned_face_is_set_upright(real_photo):
    from PIL import Image

    turned = Image.fromarray(np.uint8(real_photo * 255)).rotate(20, Image.Resampling.BICUBIC)
    image = np.asarray(turned, np.float32) / 255
    square = cut(image, face_crop(find_faces(image)[0]), 128)
    (face,) = find_faces(square)
    left_eye, right_eye = face.landmarks[:2]
    assert abs(math.degrees(math.atan2(*(right_eye - left_eye)[::-1]))) < 5
    assert face.landmarks[:, 0].mean() == pytest.approx(64, abs=8)


def test_landmarks_without_extent_are_no_face():
    with pytest.raises(DataError, match="fall together"):
        face_crop(Face(1.0, np.array([0.0, 0, 1, 1]), np.zeros((5, 2))))


@pytest.mark.parametrize("side", [0.0, -3.0, math.nan])
def test_squares_without_extent_are_no_crop(side):
    with pytest.raises(DataError, match="positive side"):
        cut(head(), Crop(10, 10, side), 8)
