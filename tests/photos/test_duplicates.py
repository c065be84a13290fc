import io
import itertools

import numpy as np
import pytest
from photo_scenes import NAMES, head
from PIL import Image

from scr3d.photos.duplicates import Groups, close_pairs, group_by_hash, perceptual_hash


def distance(one, other):
    return (one ^ other).bit_count()


def changed(image, quality=60, scale=0.7, brightness=0.9):
    raster = Image.fromarray(np.uint8(image * 255 * brightness))
    raster = raster.resize((round(raster.width * scale), round(raster.height * scale)))
    stream = io.BytesIO()
    raster.save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream), np.float32) / 255


def test_copies_have_close_hashes_and_others_have_not():
    images = [head(name) for name in NAMES]
    hashes = [perceptual_hash(image) for image in images]
    assert max(distance(h, perceptual_hash(changed(image))) for h, image in zip(hashes, images, strict=True)) <= 4
    assert min(distance(one, other) for one, other in itertools.combinations(hashes, 2)) >= 8
    mirrored = perceptual_hash(images[0][:, ::-1])
    assert distance(hashes[0], mirrored) > 4


@pytest.mark.parametrize("limit", [0, 2, 5])
def test_close_pairs_are_those_of_comparing_all(limit):
    random = np.random.default_rng(1)
    hashes = random.integers(0, 2**63, 300, dtype=np.uint64)
    for _ in range(200):
        source, bits = random.integers(300), random.integers(0, 64, random.integers(0, 7))
        flips = np.bitwise_xor.reduce(np.left_shift(np.uint64(1), bits.astype(np.uint64)), initial=np.uint64(0))
        hashes = np.append(hashes, hashes[source] ^ flips)
    expected = {
        (i, j)
        for i, j in itertools.combinations(range(len(hashes)), 2)
        if int(hashes[i] ^ hashes[j]).bit_count() <= limit
    }
    found = {pair for a, b in close_pairs(hashes, limit) for pair in zip(a.tolist(), b.tolist(), strict=True)}
    assert found == expected
    assert len(expected) > 20


def test_groups_join_and_are_named_by_their_first():
    groups = Groups(6)
    for one, other in ((4, 5), (1, 4), (3, 2)):
        groups.join(one, other)
    assert groups.labels().tolist() == [0, 1, 2, 2, 1, 1]
    chain = np.array([0, 0b11, 0b1111, 2**40 - 1], np.uint64)
    assert group_by_hash(chain, 2).labels().tolist() == [0, 0, 0, 3]


def test_many_pictures_are_compared_in_seconds():
    """100,000 pictures: all pairs would be five billion comparisons."""
    hashes = np.random.default_rng(0).integers(0, 2**63, 20_000, dtype=np.uint64)
    hashes = np.concatenate([hashes, hashes[:100] ^ np.uint64(1 << 13)])
    labels = group_by_hash(hashes, 3).labels()
    assert (labels[20_000:] == np.arange(100)).all()
    assert len(np.unique(labels)) == 20_000


def test_many_copies_of_one_picture_take_no_longer():
    hashes = np.concatenate([np.full(30_000, 5, np.uint64), np.full(30_000, 7, np.uint64), np.uint64([2**40 - 1])])
    assert np.unique(group_by_hash(hashes, 1).labels()).tolist() == [0, 60_000]
    assert np.unique(group_by_hash(hashes, 0).labels()).tolist() == [0, 30_000, 60_000]
