"""Heads as photographs show them: other pictures of the same truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scr3d.data.dataset import open_dataset
from scr3d.data.heads import HeadsConfig, generate, sample
from scr3d.data.heads.draws import SPLIT_CODES, Stream
from scr3d.data.heads.photo_like import photo_like
from scr3d.data.heads.samples import store_info
from scr3d.errors import ConfigError, DataError
from scr3d.training.batches import mirror_some

COUNT = 48
PHOTO = HeadsConfig(split="val", size=32, look="photo")
PLAIN = HeadsConfig(split="val", size=32)


@pytest.fixture(scope="module")
def pair():
    indices = np.arange(COUNT)
    return sample(PLAIN, indices), sample(PHOTO, indices)


def test_only_the_image_changes(pair) -> None:
    plain, photo = pair
    for name in ("depth", "foreground", "albedo", "normal", "light_slopes"):
        assert (getattr(plain, name) == getattr(photo, name)).all()
    changed = (plain.image - photo.image).abs().mean((1, 2, 3))
    assert (changed > 0.005).all()  # every photo
    assert changed.mean() < 0.25  # and still the same picture
    both = np.corrcoef(plain.image.mean(1).flatten(1).numpy(), photo.image.mean(1).flatten(1).numpy())
    own = np.diag(both[:COUNT, COUNT:])
    assert np.median(own) > 0.6


def test_a_photo_depends_on_its_number_alone(pair) -> None:
    some = np.array([31, 5, 17])
    assert (sample(PHOTO, some).image == pair[1].image[some]).all()
    other = sample(HeadsConfig(split="val", size=32, look="photo", seed=1), some)
    assert (other.image != pair[1].image[some]).any()


def test_everything_that_is_promised_occurs(pair) -> None:
    photos = pair[1].image.numpy()
    grey = np.abs(photos - photos.mean(1, keepdims=True)).max((1, 2, 3)) < 0.06  # JPEG may tint a grey picture
    assert 0.1 < grey.mean() < 0.6
    # A photo's edge that is continued: outer columns or rows that hardly differ (noise and JPEG aside).
    rows = np.abs(np.diff(photos[:, :, :2], axis=2)).mean((1, 2, 3))
    columns = np.abs(np.diff(photos[:, :, :, :2], axis=3)).mean((1, 2, 3))
    assert min(np.quantile(rows, 0.1), np.quantile(columns, 0.1)) < 0.02
    sharpness = np.abs(np.diff(photos, axis=3)).mean((1, 2, 3))
    assert np.quantile(sharpness, 0.9) > 1.4 * np.quantile(sharpness, 0.1)


def test_hair_glasses_and_beards_lie_before_the_head() -> None:
    """On a white head before white nothing else can be dark."""
    size, count = 64, 200
    white = np.full((count, size, size, 3), 255, np.uint8)
    row, column = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    head = np.repeat(((column / 0.6) ** 2 + (row / 0.8) ** 2 < 1)[None], count, 0)
    made, targets = (
        pictures / 255 for pictures in photo_like(white, head, np.zeros(count), 0, "train", np.arange(count))
    )

    def darkness(pictures: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        dark = pictures.mean(-1) < 0.6 * pictures.max((1, 2, 3))[:, None, None]
        parts = slice(8, 20), slice(28, 36), slice(48, 56)
        return dark, [dark[:, rows, 20:44].mean((1, 2)) for rows in parts]

    dark, (brow, middle, chin) = darkness(made)
    # The target has the beards, and nothing that stands before the head.
    _, (brow_left, middle_left, chin_left) = darkness(targets)
    assert brow_left.max() == middle_left.max() == 0
    assert 0.02 < (chin_left > 0.1).mean() <= (chin > 0.1).mean()
    for share in ((brow > 0.15).mean(), (middle > 0.04).mean(), (chin > 0.1).mean()):
        assert 0.02 < share < 0.7
    assert (dark.mean((1, 2)) < 0.002).mean() > 0.1  # some show the bare head


def test_an_empty_frame_is_left_alone_but_for_the_camera() -> None:
    image = np.full((1, 32, 32, 3), 128, np.uint8)
    for made in photo_like(image, np.zeros((1, 32, 32), bool), np.zeros(1), 0, "train", np.array([3])):
        assert made.shape == image.shape
        assert made.dtype == np.uint8


def test_a_target_has_the_photos_colours_and_the_heads_sharpness(pair) -> None:
    plain, photo = pair
    assert plain.target is None
    assert photo.target is not None
    channels = photo.target.mean((2, 3)), photo.image.mean((2, 3))
    assert (channels[0] - channels[1]).abs().mean() < 0.06
    assert (channels[0] - plain.image.mean((2, 3))).abs().mean() > 0.06
    grey = (photo.target - photo.target.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 1 / 255
    assert 0.1 < grey.float().mean() < 0.6
    detail = [picture.diff(dim=3).abs().mean((1, 2, 3)) for picture in (photo.target, plain.image)]
    ratio = detail[0] / detail[1]
    assert 0.5 < ratio.median() < 1.5


def test_a_data_set_hands_targets_on_to_training(tmp_path: Path) -> None:
    generate(HeadsConfig(split="val", size=32, count=8, look="photo"), tmp_path, progress=lambda *_: None)
    batch = open_dataset(tmp_path, "val", 32, tmp_path / "cache").batch(np.arange(8))
    made = sample(HeadsConfig(split="val", size=32, look="photo"), np.arange(8))
    assert batch.target is not None
    torch.testing.assert_close(batch.target, made.target)
    assert batch.explained is batch.target
    assert torch.equal(batch[2:4].explained, batch.target[2:4])
    mirrored = mirror_some(batch, seed=0, step=1)
    turned = (mirrored.image != batch.image).flatten(1).any(1)
    assert 0 < turned.sum() < 8
    expected = torch.where(turned.view(-1, 1, 1, 1), batch.target.flip(-1), batch.target)
    assert torch.equal(mirrored.explained, expected)


def test_the_benchmark_is_described_as_before() -> None:
    """Sets that were made before there was another look can still be gone on with, and have the same fingerprint."""
    assert "look" not in store_info(PLAIN).source
    assert store_info(PHOTO).source["look"] == "photo"
    keys = {2 * code + stream for code in SPLIT_CODES.values() for stream in Stream}
    assert len(keys) == len(SPLIT_CODES) * len(Stream)


def test_another_look_is_refused_and_a_set_of_one_is_not_gone_on_with_as_another(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="plain or photo, got 'sepia'"):
        HeadsConfig(look="sepia")  # type: ignore[arg-type]
    generate(HeadsConfig(split="val", size=16, count=4, look="photo"), tmp_path, progress=lambda *_: None)
    with pytest.raises(DataError, match="choose another folder or remove this one"):
        generate(HeadsConfig(split="val", size=16, count=4), tmp_path, progress=lambda *_: None)
