import json
import shutil

import numpy as np
import pytest
from PIL import Image

from scr3d.data import folder
from scr3d.data.folder import export_store, import_folder, read_depth_codes, resize_depth_codes
from scr3d.data.images import write_png8, write_png16
from scr3d.data.layout import find_pairs, split_by_hash
from scr3d.data.store import ArraySpec, Store, StoreInfo, StoreWriter
from scr3d.errors import DataError

SIZE = 16


def random_image(seed, height=SIZE, width=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def random_codes(seed, size=SIZE):
    rng = np.random.default_rng(seed)
    return (rng.integers(1, 65536, (size, size)) * rng.integers(0, 2, (size, size))).astype(np.uint16)


def paper_layout(root, count=4, split="train", names=("syn_image_{}.png", "syn_depth_{}.png")):
    (root / split / "image").mkdir(parents=True)
    (root / split / "depth").mkdir()
    for index in range(count):
        write_png8(root / split / "image" / names[0].format(index), random_image(index))
        write_png16(root / split / "depth" / names[1].format(index), random_codes(index))
    return root


def photos(root, count):
    root.mkdir(parents=True)
    for index in range(count):
        write_png8(root / f"{index:03d}.png", random_image(index))
    return root


def refused(root, out, size=SIZE, split="train"):
    """The message of a refusal, which must leave nothing behind."""
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(DataError) as error:
        import_folder(root, out, size, split, progress=False)
    assert "\n" not in str(error.value)
    assert sorted(out.parent.rglob("*")) == before
    return str(error.value)


@pytest.mark.parametrize("names", [("syn_image_{}.png", "syn_depth_{}.png"), ("{}.png", "{}.png")])
def test_papers_layout_is_read_exactly(tmp_path, names):
    report = import_folder(paper_layout(tmp_path / "bfm", names=names), tmp_path / "out", SIZE, progress=False)
    assert (report.folder, report.imported, report.skipped, report.has_depth) == (tmp_path / "out", 4, (), True)
    store = Store(tmp_path / "out")
    np.testing.assert_array_equal(store.get("image", slice(0, 4)), [random_image(i) for i in range(4)])
    np.testing.assert_array_equal(store.get("depth", slice(0, 4)), [random_codes(i) for i in range(4)])
    assert sorted(path.name for path in store.folder.iterdir()) == ["depth.npy", "image.npy", "store.json"]


def test_export_reads_back_to_the_same_arrays(tmp_path):
    block = {
        "image": np.stack([random_image(i) for i in range(5)]),
        "depth": np.stack([random_codes(i) for i in range(5)]),
    }
    arrays = {name: ArraySpec(str(values.dtype), values.shape[1:]) for name, values in block.items()}
    StoreWriter(tmp_path / "store", StoreInfo(SIZE, 5, arrays)).append(block)
    assert export_store(tmp_path / "store", tmp_path / "root" / "test", progress=False) == 5
    import_folder(tmp_path / "root", tmp_path / "back", SIZE, "test", progress=False)
    store = Store(tmp_path / "back")
    for name, values in block.items():
        np.testing.assert_array_equal(store.get(name, slice(0, 5)), values)
    with pytest.raises(DataError, match="is there already"):
        export_store(tmp_path / "store", tmp_path / "root" / "test", progress=False)


def test_export_without_depth(tmp_path):
    import_folder(photos(tmp_path / "a" / "train", 3), tmp_path / "store", SIZE, progress=False)
    export_store(tmp_path / "store", tmp_path / "out", progress=False)
    assert [path.name for path in tmp_path.joinpath("out").iterdir()] == ["image"]


def test_failed_export_leaves_nothing(tmp_path, monkeypatch):
    import_folder(paper_layout(tmp_path / "bfm"), tmp_path / "store", SIZE, progress=False)

    def fail(path, codes):
        raise OSError("no space left")

    monkeypatch.setattr(folder, "write_png16", fail)
    with pytest.raises(OSError, match="no space"):
        export_store(tmp_path / "store", tmp_path / "out", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bfm", "store"]


def test_eight_bit_depth_spreads_over_the_range(tmp_path):
    grey = np.array([[0, 1], [128, 255]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(tmp_path / "rgb.png")
    for name in ("grey.png", "rgb.png"):
        np.testing.assert_array_equal(read_depth_codes(tmp_path / name), [[0, 257], [128 * 257, 65535]])


def test_colour_image_is_no_depth_map(tmp_path):
    write_png8(tmp_path / "a.png", random_image(0))
    with pytest.raises(DataError, match="is no depth map"):
        read_depth_codes(tmp_path / "a.png")


def test_scaled_depth_does_not_mix_with_background():
    codes = np.zeros((16, 16), np.uint16)
    codes[4:12, 3:13] = 40000
    small = resize_depth_codes(codes, 8)
    assert set(np.unique(small)) == {0, 40000}
    assert (small > 0).sum() == pytest.approx(20, abs=6)


def test_photos_are_cut_square_and_scaled(tmp_path):
    root = tmp_path / "train"
    root.mkdir()
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, 16:48] = [255, 0, 0]
    write_png8(root / "a.png", image)
    import_folder(tmp_path, tmp_path / "out", SIZE, progress=False)
    np.testing.assert_array_equal(
        Store(tmp_path / "out").get("image", np.array([0]))[0], np.full((SIZE, SIZE, 3), [255, 0, 0])
    )


def test_depth_is_cut_and_scaled_as_the_image(tmp_path):
    for name in ("image", "depth"):
        (tmp_path / "bfm" / "train" / name).mkdir(parents=True)
    codes = np.zeros((32, 48), np.uint16)
    codes[:, 8:24] = 30000
    write_png8(tmp_path / "bfm/train/image/a.png", np.repeat(codes[..., None] // 256, 3, axis=2).astype(np.uint8))
    write_png16(tmp_path / "bfm/train/depth/a.png", codes)
    import_folder(tmp_path / "bfm", tmp_path / "out", SIZE, progress=False)
    store = Store(tmp_path / "out")
    image, depth = (store.get(name, np.array([0]))[0] for name in ("image", "depth"))
    np.testing.assert_array_equal(depth > 0, image[..., 0] > 58)
    assert (depth > 0).mean() == 0.5


def test_bad_files_are_skipped_and_named(tmp_path):
    root = photos(tmp_path / "mixed" / "train", 3)
    (root / "broken.png").write_bytes((root / "000.png").read_bytes()[:200])
    (root / "empty.jpg").touch()
    write_png8(root / "tiny.png", random_image(0, 3, 40))
    (root / "notes.txt").write_text("no image")
    report = import_folder(tmp_path / "mixed", tmp_path / "out", SIZE, progress=False)
    assert report.imported == 3
    reasons = dict(report.skipped)
    assert set(reasons) == {"train/broken.png", "train/empty.jpg", "train/tiny.png"}
    assert "truncated" in reasons["train/broken.png"]
    assert "empty" in reasons["train/empty.jpg"]
    assert "40x3 pixels" in reasons["train/tiny.png"]
    assert str(tmp_path) not in "".join(reasons.values())
    recorded = json.loads((tmp_path / "out" / "store.json").read_text())["source"]["skipped"]
    assert recorded == [list(entry) for entry in report.skipped]


def test_unreadable_depth_skips_its_image(tmp_path):
    root = paper_layout(tmp_path / "bfm")
    (root / "train/depth/syn_depth_1.png").write_bytes(b"nothing")
    report = import_folder(root, tmp_path / "out", SIZE, progress=False)
    assert [name for name, _ in report.skipped] == ["train/image/syn_image_1.png"]
    np.testing.assert_array_equal(Store(tmp_path / "out").get("depth", np.array([1]))[0], random_codes(2))


def test_refusals_of_depth(tmp_path):
    out = tmp_path / "out"
    root = paper_layout(tmp_path / "bfm")
    (root / "train/depth/syn_depth_2.png").unlink()
    assert "1 of the 4 images" in refused(root, out)
    assert "syn_image_2.png" in refused(root, out)
    write_png16(root / "train/depth/syn_depth_2.png", random_codes(0, 8))
    assert "has 8x8 pixels, its image syn_image_2.png has 16x16" in refused(root, out)
    root = paper_layout(tmp_path / "other", names=("a{}.png", "b{}.png"))
    assert "4 of the 4 images" in refused(root, out)


def test_refusals_of_folders(tmp_path):
    out = tmp_path / "out"
    assert "missing" in refused(tmp_path / "nowhere", out)
    (tmp_path / "file").touch()
    assert "a file" in refused(tmp_path / "file", out)
    (tmp_path / "empty").mkdir()
    assert "has no images" in refused(tmp_path / "empty", out)
    photos(tmp_path / "deep" / "person", 2)
    assert "2 images lie in folders below it" in refused(tmp_path / "deep", out)
    photos(tmp_path / "split" / "train", 2)
    assert "no folder val" in refused(tmp_path / "split", out, split="val")
    assert "no split 'dev'" in refused(tmp_path / "split", out, split="dev")
    assert "at least 8 pixels" in refused(tmp_path / "split", out, size=4)
    photos(tmp_path / "two", 2)
    assert "expected at least 3" in refused(tmp_path / "two", out)
    (tmp_path / "bad" / "train").mkdir(parents=True)
    (tmp_path / "bad" / "train" / "a.png").write_bytes(b"nothing")
    assert "none of the 1 images" in refused(tmp_path / "bad", out)


def test_taken_folders_are_not_overwritten(tmp_path):
    root = tmp_path / "photos"
    photos(root / "train", 3)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "letter.txt").write_text("dear")
    assert "is there already" in refused(root, precious)
    with pytest.raises(DataError, match="is there already"):
        import_folder(root, precious, SIZE, replace=True, progress=False)
    assert (precious / "letter.txt").read_text() == "dear"
    import_folder(root, tmp_path / "out", SIZE, progress=False)
    assert "is there already" in refused(root, tmp_path / "out")
    import_folder(root, tmp_path / "out", 32, replace=True, progress=False)
    assert Store(tmp_path / "out").size == 32


def test_subfolders_are_read_on_request(tmp_path):
    photos(tmp_path / "faces" / "ann", 20)
    for index in range(20):
        (tmp_path / "faces" / "bob").mkdir(exist_ok=True)
        write_png8(tmp_path / "faces" / "bob" / f"{index}.png", random_image(100 + index))
    counts = [
        import_folder(tmp_path / "faces", tmp_path / split, SIZE, split, recursive=True, progress=False).imported
        for split in ("train", "val", "test")
    ]
    assert sum(counts) == 40


def test_image_folder_without_splits(tmp_path):
    photos(tmp_path / "set" / "image", 6)
    shutil.copytree(tmp_path / "set" / "image", tmp_path / "set" / "depth")
    pairs, by_hash = find_pairs(tmp_path / "set", "train")
    assert by_hash
    assert all(pair.depth.name == pair.image.name and pair.depth.parent.name == "depth" for pair in pairs)


def test_splits_are_disjoint_and_follow_content(tmp_path):
    root = photos(tmp_path / "photos", 60)
    shutil.copy(root / "007.png", root / "copy of 007.png")
    samples = {}
    for split in ("train", "val", "test"):
        import_folder(root, tmp_path / split, SIZE, split, progress=False)
        store = Store(tmp_path / split)
        samples[split] = [image.tobytes() for image in store.get("image", slice(0, len(store)))]
    assert sum(map(len, samples.values())) == 61
    assert len(set(samples["train"])) >= 48
    sets = [set(values) for values in samples.values()]
    assert not sets[0] & sets[1]
    assert not sets[0] & sets[2]
    assert not sets[1] & sets[2]


def test_shares_of_large_folders():
    rng = np.random.default_rng(0)
    keys = [rng.bytes(16) for _ in range(20000)]
    members = split_by_hash(keys)
    for split, share in (("train", 0.9), ("val", 0.05), ("test", 0.05)):
        assert members.count(split) / len(keys) == pytest.approx(share, abs=0.006)
    assert split_by_hash(keys[:10000]) == members[:10000]


@pytest.mark.parametrize("count", [3, 4, 10, 30])
def test_small_folders_get_every_split(count):
    members = split_by_hash([bytes([index, 0, 0, 0, 0, 0, 0, 0]) for index in range(count)])
    assert set(members) == {"train", "val", "test"}
    assert members.count("train") >= count * 0.8 - 2
