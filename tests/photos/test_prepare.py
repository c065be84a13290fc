import csv
import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from photo_scenes import NAMES, REAL_PHOTO, head, scene
from PIL import Image

from scr3d.data.images import write_png8, write_png16
from scr3d.data.store import Store
from scr3d.errors import ConfigError, DataError
from scr3d.photos import prepare as preparing
from scr3d.photos.options import Kind, PrepareOptions
from scr3d.photos.prepare import prepare

FACES = PrepareOptions(size=32)
SQUARES = PrepareOptions(preset=Kind.OWN, size=32)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def noise(seed, height=40, width=40):
    """A picture of blobs that no other seed's looks like."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def photos(folder, count, **size):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        write_png8(folder / f"{index:03d}.png", noise(index, **size))
    return folder


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """What a person's folder may hold."""
    folder = tmp_path_factory.mktemp("album")
    for index, name in enumerate(NAMES):
        write_png8(folder / f"{name}.png", scene([(head(name, 110), 20 + 10 * index, 60)]))
    write_png8(folder / "two.png", scene([(head("head-01", 100)[:, ::-1], 10, 80), (head("head-25", 120), 180, 60)]))
    shutil.copy(REAL_PHOTO, folder / "portrait.jpg")
    Image.open(REAL_PHOTO).resize((400, 469)).save(folder / "copy of portrait.jpg", quality=60)
    write_png8(folder / "landscape.png", scene([]))
    (folder / "broken.png").write_bytes((folder / "two.png").read_bytes()[:500])
    write_png8(folder / "tiny.png", scene([(head("head-04", 25), 5, 5)], 40, 40))
    (folder / "notes.txt").write_text("no photo")
    return folder


def test_an_album_becomes_a_data_set(album, tmp_path):
    report = prepare(album, tmp_path / "out", PrepareOptions(size=64), progress=False)
    assert report.photos == 14
    assert sum(report.samples.values()) == 11
    assert all(report.samples.values())
    skipped = {row["file"]: row["reason"] for row in rows(tmp_path / "out" / "skipped.csv")}
    assert skipped["copy of portrait.jpg"] == "duplicate"
    assert skipped["landscape.png"] == "no face found"
    assert skipped["broken.png"] == "unreadable"
    assert skipped["tiny.png"] in ("too small", "no face found")
    assert len(skipped) == 4
    assert "1 duplicate" in report.table()
    samples = rows(tmp_path / "out" / "samples.csv")
    assert sum(row["file"] == "two.png" for row in samples) == 2
    assert len({row["split"] for row in samples if row["file"] == "two.png"}) == 1
    for row in samples:
        assert abs(float(row["yaw_deg"])) < 70
        store = Store(tmp_path / "out" / row["split"])
        assert store.size == 64
        assert "mask" not in store
    place = next(row for row in samples if row["file"] == "head-08.png")
    assert float(place["center_x"]) == pytest.approx(20 + 30 + 55, abs=12)
    assert float(place["side"]) == pytest.approx(110, rel=0.12)
    sheet = Image.open(tmp_path / "out" / "contact-sheet.png")
    assert sheet.size == (11 * 64, 64)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        ["contact-sheet.png", "prepare.json", "samples.csv", "skipped.csv", "test", "train", "val"]
    )
    # The same command again has nothing to do, another one is refused.
    before = (tmp_path / "out" / "train" / "image.npy").stat().st_mtime_ns
    assert prepare(album, tmp_path / "out", PrepareOptions(size=64), progress=False) == report
    assert (tmp_path / "out" / "train" / "image.npy").stat().st_mtime_ns == before
    with pytest.raises(DataError, match=r"other options \(options\)"):
        prepare(album, tmp_path / "out", FACES, progress=False)


@pytest.mark.slow
def test_threads_change_nothing(tmp_path):
    photos(tmp_path / "in", 70)
    for threads in (1, 3):
        prepare(tmp_path / "in", tmp_path / str(threads), SQUARES, threads=threads, progress=False)
    for split in ("train", "val", "test"):
        one, other = (Store(tmp_path / str(threads) / split) for threads in (1, 3))
        np.testing.assert_array_equal(one.arrays["image"], other.arrays["image"])
    assert (tmp_path / "1" / "samples.csv").read_text() == (tmp_path / "3" / "samples.csv").read_text()


def test_duplicates_do_not_leak_between_splits(tmp_path):
    photos(tmp_path / "in", 50)
    for index in range(25):
        raster = Image.fromarray(noise(index)).resize((56, 56))
        raster.save(tmp_path / "in" / f"copy-{index}.jpg", quality=70)
    report = prepare(tmp_path / "in", tmp_path / "out", SQUARES, progress=False)
    assert report.skipped == {"duplicate": 25}
    # The larger one of each pair stays.
    kept = {row["file"] for row in rows(tmp_path / "out" / "samples.csv")}
    assert {f"copy-{index}.jpg" for index in range(25)} <= kept
    options = PrepareOptions(preset=Kind.OWN, size=32, keep_duplicates=True)
    report = prepare(tmp_path / "in", tmp_path / "kept", options, progress=False)
    assert sum(report.samples.values()) == 75
    split = {row["file"]: row["split"] for row in rows(tmp_path / "kept" / "samples.csv")}
    assert all(split[f"copy-{index}.jpg"] == split[f"{index:03d}.png"] for index in range(25))
    assert len(set(split.values())) == 3


def test_folders_stay_together_on_request(tmp_path):
    for person in range(12):
        folder = tmp_path / "in" / f"person-{person}"
        folder.mkdir(parents=True)
        for index in range(5):
            write_png8(folder / f"{index}.png", noise(100 * person + index))
    options = PrepareOptions(preset=Kind.OWN, size=32, together=True)
    prepare(tmp_path / "in", tmp_path / "out", options, progress=False)
    of_person = {}
    for row in rows(tmp_path / "out" / "samples.csv"):
        of_person.setdefault(row["file"].split("/")[0], set()).add(row["split"])
    assert len(of_person) == 12
    assert all(len(splits) == 1 for splits in of_person.values())


def test_masks_come_from_alpha_or_a_folder(tmp_path):
    (tmp_path / "alpha").mkdir()
    mask = np.zeros((40, 40), np.uint8)
    mask[8:32, 12:28] = 255
    for index in range(6):
        rgba = np.concatenate([noise(index), mask[..., None]], axis=2)
        write_png8(tmp_path / "alpha" / f"{index}.png", rgba)
        (tmp_path / "plain" / "masks").mkdir(parents=True, exist_ok=True)
        write_png8(tmp_path / "plain" / f"{index}.png", noise(index))
        write_png8(tmp_path / "plain" / "masks" / f"{index}.png", mask)
    prepare(tmp_path / "alpha", tmp_path / "a", SQUARES, progress=False)
    options = PrepareOptions(preset=Kind.OWN, size=32, masks=tmp_path / "plain" / "masks")
    report = prepare(tmp_path / "plain", tmp_path / "b", options, progress=False)
    assert report.masked
    assert sum(report.samples.values()) == 6
    for name in "ab":
        stored = Store(tmp_path / name / "train").arrays["mask"][0]
        assert stored[16, 16] == 255
        assert stored[2, 2] == 0
        assert stored.mean() / 255 == pytest.approx(24 * 16 / 1600, abs=0.02)
    image = Store(tmp_path / "a" / "train").arrays["image"][0]
    assert (image[1, 1] == 255).all()  # transparent pixels show white
    (tmp_path / "plain" / "masks" / "3.png").unlink()
    with pytest.raises(DataError, match=r"1 of the 6 photos have no mask .* 3\.png"):
        prepare(tmp_path / "plain", tmp_path / "c", options, progress=False)


def test_depth_goes_with_its_image(tmp_path):
    codes = np.zeros((40, 48), np.uint16)
    codes[10:30, 14:34] = 30000
    for split, first in (("train", 0), ("val", 10), ("test", 20)):
        for kind in ("image", "depth"):
            (tmp_path / "in" / split / kind).mkdir(parents=True)
        for index in range(first, first + 3):
            write_png8(tmp_path / "in" / split / "image" / f"image_{index}.png", noise(index, 40, 48))
            write_png16(tmp_path / "in" / split / "depth" / f"depth_{index}.png", codes)
    report = prepare(tmp_path / "in", tmp_path / "out", FACES, progress=False)
    assert report.samples == {"train": 3, "val": 3, "test": 3}
    depth = Store(tmp_path / "out" / "val").arrays["depth"]
    assert (depth > 0).mean(axis=(1, 2)) == pytest.approx(0.25, abs=0.03)
    with pytest.raises(DataError, match="cannot be turned upright"):
        prepare(tmp_path / "in", tmp_path / "no", PrepareOptions(crop="face"), progress=False)


def test_boxes_and_fixed_squares(tmp_path):
    photos(tmp_path / "in", 6, height=60, width=80)
    lines = [
        "file,left,top,right,bottom",
        *(f"{i:03d}.png,{10 + i},20,{42 + i},52" for i in range(5)),
        "000.png,0,0,32,32",
    ]
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    options = PrepareOptions(preset=Kind.OWN, size=32, crop=str(tmp_path / "boxes.csv"))
    report = prepare(tmp_path / "in", tmp_path / "boxed", options, progress=False)
    assert sum(report.samples.values()) == 6
    assert report.skipped == {"listed, but missing": 1}
    row = next(row for row in rows(tmp_path / "boxed" / "samples.csv") if row["file"] == "003.png")
    image = Store(tmp_path / "boxed" / row["split"]).arrays["image"][int(row["index"])]
    np.testing.assert_array_equal(image, noise(3, 60, 80)[20:52, 13:45])
    fixed = PrepareOptions(preset=Kind.OWN, size=32, crop="4,6,32")
    prepare(tmp_path / "in", tmp_path / "fixed", fixed, progress=False)
    row = rows(tmp_path / "fixed" / "samples.csv")[0]
    image = Store(tmp_path / "fixed" / row["split"]).arrays["image"][0]
    np.testing.assert_array_equal(image, noise(int(row["file"][:3]), 60, 80)[6:38, 4:36])
    square = PrepareOptions(preset=Kind.OWN, size=32, crop="none")
    with pytest.raises(DataError, match="6 not square"):
        prepare(tmp_path / "in", tmp_path / "none", square, progress=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,left,top,right\na,1,2,3\n", "expected file,left,top,right,bottom"),
        ("file,left,top,right,bottom\na,1,2,x,4\n", "line 2: expected four numbers"),
        ("file,left,top,right,bottom\na,9,2,3,4\n", "line 2: the box of 'a' has no extent"),
    ],
)
def test_tables_of_boxes_are_checked(tmp_path, text, message):
    photos(tmp_path / "in", 3)
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        prepare(tmp_path / "in", tmp_path / "out", PrepareOptions(crop=str(tmp_path / "boxes.csv")), progress=False)


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    photos(tmp_path / "in", 150)
    whole = prepare(tmp_path / "in", tmp_path / "whole", SQUARES, progress=False)
    read = []

    def stop_later(entry, rule, options):
        read.append(entry)
        if len(read) == 140:
            raise KeyboardInterrupt
        return read_entry(entry, rule, options)

    read_entry = preparing.read_entry
    monkeypatch.setattr(preparing, "read_entry", stop_later)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "in", tmp_path / "out", SQUARES, threads=1, progress=False)
    done = len(list((tmp_path / "out" / "parts").glob("*.npz")))
    assert done in (2, 3)  # the last, short block may have been read before the others were stopped
    assert not (tmp_path / "out" / "train").exists()
    read.clear()
    report = prepare(tmp_path / "in", tmp_path / "out", SQUARES, threads=1, progress=False)
    assert len(read) in (150 - 2 * 64, 64)
    assert report.samples == whole.samples
    for name in ("samples.csv", "train/image.npy", "test/image.npy"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_a_killed_process_goes_on(tmp_path):
    photos(tmp_path / "in", 600, height=300, width=300)
    command = [
        sys.executable,
        "-m",
        "scr3d.cli",
        "data",
        "prepare",
        str(tmp_path / "in"),
        "--out",
        str(tmp_path / "out"),
    ]
    command += ["--preset", "own", "--size", "32", "--threads", "1"]
    process = subprocess.Popen(command)
    parts = tmp_path / "out" / "parts"
    while not (parts.is_dir() and len(list(parts.glob("*.npz"))) >= 2) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    subprocess.run(command, check=True)
    prepare(tmp_path / "in", tmp_path / "whole", SQUARES, progress=False)
    for name in ("samples.csv", "train/image.npy", "val/image.npy"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_photos(tmp_path):
    peaks = []
    for count in (300, 3000):
        folder = photos(tmp_path / str(count), count)
        code = f"""
import resource
from scr3d.photos.options import PrepareOptions, Kind
from scr3d.photos.prepare import prepare
options = PrepareOptions(preset=Kind.OWN, size=64, min_share=0.1)
prepare({str(folder)!r}, {str(tmp_path / f"out-{count}")!r}, options, threads=1, progress=False)
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) * 1024)
    # The images of 2,700 more photos are 45 MB with their masks; pages of the written files may count.
    assert peaks[1] - peaks[0] < 20e6 + 2700 * 64 * 64 * 3


def test_nothing_usable_is_one_line(tmp_path):
    (tmp_path / "in").mkdir()
    write_png8(tmp_path / "in" / "a.png", scene([]))
    with pytest.raises(DataError, match=r"none of the 1 photos .* \(1 no face found\); take --crop center") as caught:
        prepare(tmp_path / "in", tmp_path / "out", FACES, progress=False)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="missing"):
        prepare(tmp_path / "nowhere", tmp_path / "out2", FACES, progress=False)
    photos(tmp_path / "two", 2)
    with pytest.raises(DataError, match="at least 3"):
        prepare(tmp_path / "two", tmp_path / "out3", SQUARES, progress=False)
    with pytest.raises(DataError, match="own pictures would count"):
        prepare(tmp_path / "two", tmp_path / "two" / "out", SQUARES, progress=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear")
    with pytest.raises(DataError, match="is there already"):
        prepare(tmp_path / "two", tmp_path / "mine", SQUARES, progress=False)
    assert (tmp_path / "mine" / "diary.txt").read_text() == "dear"


def test_other_photos_are_not_mixed_in(tmp_path):
    photos(tmp_path / "in", 5)
    prepare(tmp_path / "in", tmp_path / "out", SQUARES, progress=False)
    record = json.loads((tmp_path / "out" / "prepare.json").read_text())
    assert record["samples"]["train"] == 3
    write_png8(tmp_path / "in" / "new.png", noise(99))
    with pytest.raises(DataError, match=r"other photos .*\(listing\)"):
        prepare(tmp_path / "in", tmp_path / "out", SQUARES, progress=False)


@pytest.mark.parametrize(
    "wrong", [{"size": 48}, {"crop": "left"}, {"crop": "center:0"}, {"max_beyond": 1.0}, {"min_share": 0.0}]
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        PrepareOptions(**wrong)


def test_pixels_are_those_of_the_photo(tmp_path):
    photos(tmp_path / "in", 4, height=32, width=32)
    prepare(tmp_path / "in", tmp_path / "out", SQUARES, progress=False)
    for row in rows(tmp_path / "out" / "samples.csv"):
        stored = Store(tmp_path / "out" / row["split"]).arrays["image"][int(row["index"])]
        np.testing.assert_array_equal(stored, noise(int(row["file"][:3]), 32, 32))
