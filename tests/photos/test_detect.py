import math

import numpy as np
import pytest
import torch
from photo_scenes import head, scene
from PIL import Image
from torch.nn import functional

from scr3d.errors import CheckpointError, ShapeError
from scr3d.photos import detect, mtcnn
from scr3d.photos.crop import face_angles_deg
from scr3d.photos.detect import BLACK, cut_windows, find_all_faces, find_faces, summed_area_table, suppress


def test_a_real_face_and_its_landmarks_are_found(real_photo):
    (face,) = find_faces(real_photo)
    assert face.score > 0.99
    left, top, right, bottom = face.box
    assert (left, top, right, bottom) == pytest.approx((178, 119, 353, 338), abs=15)
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    # Read off the photo by eye.
    for point, expected in zip(
        (left_eye, right_eye, nose, left_mouth, right_mouth),
        ((226, 202), (306, 198), (270, 250), (236, 286), (302, 282)),
        strict=True,
    ):
        assert np.linalg.norm(point - expected) < 12


def test_faces_come_largest_first_at_their_places():
    faces = find_faces(scene([(head("head-01", 80), 20, 120), (head("head-04", 140), 170, 50)]))
    assert len(faces) == 2
    assert faces[0].height > faces[1].height
    assert 170 < faces[0].landmarks[2][0] < 310
    assert 20 < faces[1].landmarks[2][0] < 100


@pytest.mark.parametrize("angle_deg", [-20, 20])
def test_a_turned_photo_turns_the_landmarks(real_photo, angle_deg):
    turned = Image.fromarray(np.uint8(real_photo * 255)).rotate(angle_deg, Image.Resampling.BICUBIC)
    (straight,), (face,) = find_faces(real_photo), find_faces(np.asarray(turned, np.float32) / 255)
    slopes = [math.degrees(math.atan2(*(f.landmarks[1] - f.landmarks[0])[::-1])) for f in (straight, face)]
    assert slopes[1] - slopes[0] == pytest.approx(-angle_deg, abs=4)


def test_yaw_of_heads_is_read_from_landmarks(heads):
    from scr3d.data.store import Store

    store = Store(heads / "val")
    found, true = [], []
    for index in range(len(store)):
        image = store.arrays["image"][index].astype(np.float32) / 255
        faces = find_faces(np.kron(image, np.ones((3, 3, 1), np.float32)))
        if faces:
            found.append(face_angles_deg(faces[0])[0])
            true.append(math.degrees(store.arrays["view"][index][1]))
    assert len(found) >= 0.9 * len(store)
    assert np.corrcoef(found, true)[0, 1] > 0.9


def test_nothing_is_found_where_nothing_is():
    noise = np.random.default_rng(0).random((150, 200, 3), dtype=np.float32)
    for picture in (noise, np.zeros_like(noise), scene([])):
        assert find_faces(picture) == []


@pytest.mark.parametrize("shape", [(5, 300, 3), (1, 1, 3), (11, 11, 3)])
def test_pictures_too_small_for_a_face_have_none(shape):
    assert find_faces(np.full(shape, 0.5, np.float32)) == []


@pytest.mark.slow
def test_size_of_the_photo_does_not_matter(real_photo):
    large = np.asarray(
        Image.fromarray(np.uint8(real_photo * 255)).resize((1792, 2100), Image.Resampling.BICUBIC), np.float32
    )
    (small,), (big,) = find_faces(real_photo), find_faces(large / 255)
    np.testing.assert_allclose(big.landmarks / 3.5, small.landmarks, atol=8)


def test_boxes_give_way_to_better_ones():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [2, 2, 5, 5]])
    scores = torch.tensor([0.8, 0.9, 0.7, 0.95])
    assert suppress(boxes, scores, 0.5).tolist() == [3, 1, 2]
    assert suppress(boxes, scores, 0.5, of_smaller=True).tolist() == [3, 2]
    assert suppress(boxes[:0], scores[:0], 0.5).tolist() == []


def test_boxes_of_other_owners_do_not_meet():
    generator = torch.Generator().manual_seed(0)
    corner, size = torch.rand(60, 2, generator=generator) * 20, torch.rand(60, 2, generator=generator) * 20
    boxes, scores = torch.cat([corner, corner + size], dim=1), torch.rand(60, generator=generator)
    owners = torch.randint(0, 4, (60,), generator=generator)
    expected = []
    for owner in range(4):
        own = (owners == owner).nonzero()[:, 0]
        expected += own[suppress(boxes[own], scores[own], 0.3)].tolist()
    assert suppress(boxes, scores, 0.3, owners=owners).tolist() == expected
    assert 4 < len(expected) < 60


def test_windows_are_means_over_areas():
    generator = torch.Generator().manual_seed(0)
    photos = torch.rand(2, 30, 40, 3, generator=generator) * 2 - 1
    boxes = torch.tensor(
        [[3.0, 2, 27, 26], [-7, -9, 12, 10], [20, 15, 53, 48], [5.4, 5.6, 9.2, 9.7], [38, 28, 38, 28], [-9, -9, -2, -2]]
    )
    owners = torch.tensor([0, 1, 1, 0, 1, 0])
    windows = cut_windows(summed_area_table(photos), boxes, owners, 24)
    for window, box, owner in zip(windows, boxes.round().long().tolist(), owners.tolist(), strict=True):
        left, top, right, bottom = box
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        around = functional.pad(photos[owner].movedim(-1, 0), (60, 60, 60, 60), value=BLACK)
        part = around[None, :, top + 60 : bottom + 60, left + 60 : right + 60]
        expected = functional.interpolate(part, size=(24, 24), mode="area")[0]
        torch.testing.assert_close(window, expected, atol=1e-6, rtol=0)


def test_photos_are_searched_together_as_one_by_one(real_photo, monkeypatch):
    crowd = scene([(head("head-01", 80), 20, 120), (head("head-04", 140), 170, 50)])
    nothing = np.full_like(crowd, 0.5)
    photos = [crowd, real_photo, nothing, crowd[:, ::-1], np.zeros((5, 5, 3), np.float32), real_photo, crowd]
    expected = [find_faces(photo) for photo in photos]
    assert [len(faces) for faces in expected] == [2, 1, 0, 2, 0, 1, 2]
    for pixels in (detect.PIXELS_AT_A_TIME, 2 * crowd.shape[0] * crowd.shape[1], 1):
        monkeypatch.setattr(detect, "PIXELS_AT_A_TIME", pixels)
        found = find_all_faces(photos)
        assert [len(faces) for faces in found] == [len(faces) for faces in expected]
        for faces, alone in zip(found, expected, strict=True):
            for face, other in zip(faces, alone, strict=True):
                assert face.score == pytest.approx(other.score, abs=1e-4)
                np.testing.assert_allclose(face.box, other.box, atol=1e-2)
                np.testing.assert_allclose(face.landmarks, other.landmarks, atol=1e-2)
    assert find_all_faces([]) == []


def test_no_more_windows_than_allowed_go_on(monkeypatch):
    crowd = scene([(head("head-01", 80), 20, 120), (head("head-04", 140), 170, 50)])
    seen = []

    def refine(table, boxes, owners, *others):
        seen.append(owners.tolist())
        return boxes[:0], owners[:0]

    monkeypatch.setattr(detect, "_refine", refine)
    monkeypatch.setattr(detect, "MOST_PROPOSALS", 3)
    assert find_all_faces([crowd, crowd]) == [[], []]
    assert seen == [[0, 0, 0, 1, 1, 1]]


def test_pictures_of_another_shape_are_refused(unchecked):
    with pytest.raises(ShapeError, match="height, width, 3"):
        find_faces(np.zeros((20, 20), np.float32))


def test_a_damaged_weights_file_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / mtcnn.ASSET).write_bytes(b"nothing")
    monkeypatch.setattr(mtcnn, "files", lambda package: tmp_path)
    mtcnn.load_mtcnn.cache_clear()
    try:
        with pytest.raises(CheckpointError, match="install scr3d again") as caught:
            mtcnn.load_mtcnn()
        assert "\n" not in str(caught.value)
    finally:
        mtcnn.load_mtcnn.cache_clear()
