import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from scr3d.data import joining
from scr3d.data.dataset import Dataset
from scr3d.data.joining import join
from scr3d.data.store import ArraySpec, Store, StoreInfo, StoreWriter
from scr3d.errors import ConfigError, DataError

SIZE = 4
FACES = {"options": {"crop": "face"}}


def make(folder, seed, count, extra=(), split="train", size=SIZE, source=FACES):
    """A set of noise with some further quantities."""
    generator = np.random.default_rng(seed)
    forms = {
        "image": ArraySpec("uint8", (size, size, 3)),
        "target": ArraySpec("uint8", (size, size, 3)),
        "mask": ArraySpec("uint8", (size, size)),
        "depth": ArraySpec("uint16", (size, size)),
        "sex": ArraySpec("float32", ()),
    }
    arrays = {name: forms[name] for name in ("image", *extra)}
    content = {
        name: generator.integers(1, 200, (count, *spec.shape)).astype(spec.dtype) for name, spec in arrays.items()
    }
    StoreWriter(folder / split, StoreInfo(size, count, arrays, source=source)).append(content)
    return content


def test_samples_of_all_sets_follow_one_another(tmp_path):
    first = make(tmp_path / "a", 1, 5, ("depth", "sex"))
    second = make(tmp_path / "b", 2, 3, ("depth",))
    make(tmp_path / "b", 3, 2, ("depth",), "val")
    assert join([tmp_path / "a", tmp_path / "b"], tmp_path / "c") == {"train": 8, "val": 2}
    store = Store(tmp_path / "c" / "train")
    assert set(store.arrays) == {"image", "depth"}
    for name in store.arrays:
        np.testing.assert_array_equal(store.arrays[name], np.concatenate([first[name], second[name]]))
    assert [part["samples"] for part in store.info.source["joined"]] == [5, 3]
    assert Dataset(store).crop == "face"


def test_missing_targets_are_the_images_and_missing_masks_the_frame(tmp_path):
    plain = make(tmp_path / "plain", 1, 4)
    covered = make(tmp_path / "covered", 2, 3, ("target", "mask"))
    join([tmp_path / "plain", tmp_path / "covered"], tmp_path / "out")
    batch = Dataset(Store(tmp_path / "out" / "train")).batch(np.arange(7))
    pixels = [torch.from_numpy(values).permute(0, 3, 1, 2) / 255 for values in (plain["image"], covered["target"])]
    torch.testing.assert_close(batch.explained, torch.cat(pixels))
    assert bool((batch.mask[:4] == 1).all())
    torch.testing.assert_close(batch.mask[4:], torch.from_numpy(covered["mask"]) / 255)


def test_the_fingerprint_does_not_depend_on_where_the_parts_lay(tmp_path):
    fingerprints = set()
    for place in ("here", "there"):
        for name in ("a", "b"):
            make(tmp_path / place / name, 1, 2, source={"kind": "photos", "folder": f"/{place}/{name}", "set": name})
        join([tmp_path / place / "a", tmp_path / place / "b"], tmp_path / place / "c")
        fingerprints.add(Dataset(Store(tmp_path / place / "c" / "train")).fingerprint())
    assert len(fingerprints) == 1


def test_one_set_that_shows_no_faces_makes_the_crop_unknown(tmp_path):
    make(tmp_path / "a", 1, 2)
    make(tmp_path / "b", 2, 2, source={"kind": "photos", "options": {"crop": "center"}})
    join([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert Dataset(Store(tmp_path / "c" / "train")).crop == "center"


def test_an_interrupted_joining_goes_on(tmp_path, monkeypatch):
    first, second = make(tmp_path / "a", 1, 5), make(tmp_path / "b", 2, 4)
    monkeypatch.setattr(joining, "BLOCK", 2)
    whole = StoreWriter.append
    blocks = []

    def breaks(self, block):
        if len(blocks) == 3:
            raise KeyboardInterrupt
        blocks.append(len(block["image"]))
        whole(self, block)

    monkeypatch.setattr(StoreWriter, "append", breaks)
    with pytest.raises(KeyboardInterrupt):
        join([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert blocks == [2, 2, 1]
    with pytest.raises(DataError, match="unfinished: 5 of 9"):
        Store(tmp_path / "c" / "train")
    monkeypatch.setattr(StoreWriter, "append", whole)
    assert join([tmp_path / "a", tmp_path / "b"], tmp_path / "c") == {"train": 9}
    images = Store(tmp_path / "c" / "train").arrays["image"]
    np.testing.assert_array_equal(images, np.concatenate([first["image"], second["image"]]))


def test_what_cannot_be_joined_is_refused(tmp_path):
    make(tmp_path / "a", 1, 5)
    make(tmp_path / "large", 1, 5, size=8)
    with pytest.raises(ConfigError, match="at least two data sets; got 1"):
        join([tmp_path / "a"], tmp_path / "c")
    with pytest.raises(DataError, match=r"different sizes .*a/train 4, .*large/train 8 pixels"):
        join([tmp_path / "a", tmp_path / "large"], tmp_path / "c")
    with pytest.raises(DataError, match="nothing holds no data stores"):
        join([tmp_path / "a", tmp_path / "nothing"], tmp_path / "c")
    join([tmp_path / "a", tmp_path / "a"], tmp_path / "c")
    make(tmp_path / "b", 2, 5, source={"seed": 2})
    with pytest.raises(DataError, match="already holds another data set"):
        join([tmp_path / "a", tmp_path / "b"], tmp_path / "c")


def test_the_command_joins(tmp_path):
    make(tmp_path / "a", 1, 5)
    make(tmp_path / "b", 2, 4, split="val")
    command = ["data", "join", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c")]
    done = subprocess.run([sys.executable, "-m", "scr3d.cli", *command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{tmp_path / 'c'}: 5 samples of train, 4 samples of val"
    assert json.loads((tmp_path / "c" / "val" / "store.json").read_text())["done"] == 4
