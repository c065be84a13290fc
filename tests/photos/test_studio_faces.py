"""Faces of photos in the studio: found, framed and kept as photos of their own."""

from __future__ import annotations

import numpy as np
import pytest
from photo_scenes import EXAMPLES, REAL_PHOTO, head, scene

from scr3d.data.images import to_uint8
from scr3d.photos.crop import Crop
from scr3d.studio.app import with_faces
from scr3d.studio.config import UploadLimits
from scr3d.studio.faces import MOST_FACES, add_faces, faces_of, is_same_square
from scr3d.studio.library import ModelLibrary, name_models
from scr3d.studio.photos import Photo, read_file, synthetic_head
from scr3d.studio.workbench import Workbench

pytest.importorskip("viser")


@pytest.fixture(scope="module")
def group() -> Photo:
    return Photo("group", to_uint8(scene([(head("head-01", 100), 10, 80), (head("head-25", 130), 170, 60)])))


def test_each_face_is_a_square_photo_the_largest_first(group: Photo) -> None:
    found = faces_of(group)
    assert [face.name for face in found] == ["group, face 1", "group, face 2"]
    for face, (left, top, side) in zip(found, ((170, 60, 130), (10, 80, 100)), strict=True):
        assert face.pixels.shape[0] == face.pixels.shape[1]
        assert side * 0.7 < len(face.pixels) < side * 1.3
        inner = group.pixels[top : top + side, left : left + side].reshape(-1, 3).astype(float)
        np.testing.assert_allclose(face.pixels.reshape(-1, 3).mean(0), inner.mean(0), atol=15)


def test_framed_photos_and_heads_with_truth_are_left_alone() -> None:
    assert faces_of(read_file(EXAMPLES / "head-04.png", UploadLimits())) == []
    assert faces_of(synthetic_head(0, 3)) == []


def test_a_real_photo_is_framed_closer() -> None:
    photo = read_file(REAL_PHOTO, UploadLimits())
    (face,) = faces_of(photo)
    assert len(face.pixels) < 0.8 * min(photo.pixels.shape[:2])


def test_faces_outlive_the_photos_before_them(group: Photo) -> None:
    bench = Workbench(ModelLibrary(name_models(())), ())
    whole = bench.add(group)
    found = add_faces(bench, whole)
    assert list(bench.photos) == [whole.label, found[1].label, found[0].label]
    assert len(found) == 2 <= MOST_FACES


def test_a_photo_given_at_the_start_comes_after_its_faces(group: Photo) -> None:
    alone = synthetic_head(0, 3)
    assert [photo.name for photo in with_faces([group, alone])] == [
        "group, face 1",
        "group, face 2",
        "group",
        alone.name,
    ]


@pytest.mark.parametrize(
    ("other", "same"),
    [(Crop(50, 52, 100), True), (Crop(50, 50, 70), False), (Crop(50, 50, 130), False), (Crop(50, 80, 100), False)],
)
def test_squares_that_frame_about_the_same(other: Crop, same: bool) -> None:
    assert is_same_square(Crop(50, 50, 100), other) is same
    assert is_same_square(other, Crop(50, 50, 100)) is same
