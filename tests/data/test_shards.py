"""Shards: written without loss, read anywhere in any order, shuffled the same for everybody, refused when damaged."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image

from scr3d.cli import main
from scr3d.data.dataset import open_dataset
from scr3d.data.shard_files import Shard, ShardCache, location_of, pieces, scan
from scr3d.data.shard_writer import PLAN, write_shards
from scr3d.data.shards import MANIFEST, ShardedStore, list_shards, shard_batch_indices
from scr3d.data.store import Store
from scr3d.errors import DataError
from scr3d.models import ModelConfig, load_model
from scr3d.training.config import OptimiserConfig, TrainConfig
from scr3d.training.trainer import Trainer, train


@pytest.fixture(scope="module")
def shards(heads: Path, tmp_path_factory) -> Path:
    """The heads in shards of ten: five for training, the last with eight samples."""
    out = tmp_path_factory.mktemp("shards") / "heads"
    assert write_shards(heads, out, 10) == {"train": 5, "val": 3}
    return out


@pytest.fixture
def server(shards: Path):
    """The shards on a real HTTP server; yields its address and what has been asked for."""
    asked: Counter[str] = Counter()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            if self.command == "GET":
                asked[self.path] += 1

    serving = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(shards)))
    Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}", asked
    serving.shutdown()


def test_every_quantity_comes_back_bit_for_bit(heads: Path, shards: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        store, sharded = Store(heads / split), ShardedStore(shards, split, 32, ShardCache(tmp_path))
        assert (len(sharded), sharded.size, set(sharded.arrays)) == (len(store), store.size, set(store.arrays))
        order = np.random.default_rng(0).permutation(len(store))
        for name in store.arrays:
            np.testing.assert_array_equal(sharded.get(name, order), store.get(name, order), strict=True)
            np.testing.assert_array_equal(sharded.get(name, slice(3, 9)), store.get(name, slice(3, 9)), strict=True)


def test_webdataset_reads_what_is_written(heads: Path, shards: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    pattern = str(shards / "train-{000000..000004}.tar")
    samples = list(webdataset.WebDataset(pattern, shardshuffle=False))
    store = Store(heads / "train")
    assert [sample["__key__"] for sample in samples] == [f"{number:08d}" for number in range(len(store))]
    for number in (0, 17, 47):
        image = np.asarray(Image.open(io.BytesIO(samples[number]["image.png"])))
        np.testing.assert_array_equal(image, store.arrays["image"][number])


def test_shards_that_webdataset_writes_are_read_as_photos(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    colours = [(200, 10, 10), (10, 200, 10), (10, 10, 200)]
    for split in ("train", "val"):
        with webdataset.TarWriter(str(tmp_path / f"{split}-0.tar")) as writer:
            for number, colour in enumerate(colours):
                picture = Image.new("RGB", (90, 60), colour)
                writer.write({"__key__": f"a/{number}", "jpg": picture, "json": {"number": number}})
    data = open_dataset(tmp_path / "{train,val}-0.tar", "train", 32, tmp_path / "cache")
    image = data.batch(np.array([2, 0])).image
    assert image.shape == (2, 3, 32, 32)
    expected = torch.tensor([colours[2], colours[0]]) / 255
    torch.testing.assert_close(image.mean(dim=(2, 3)), expected, atol=0.02, rtol=0)
    assert not data.has_truth


def test_writing_goes_on_where_it_was_interrupted_and_gives_the_same_bytes(
    heads: Path, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "again"
    write_shards(heads, out, 10)
    (out / "train-000002.tar").unlink()
    (out / MANIFEST).rename(out / PLAN)
    kept = (out / "train-000001.tar").stat().st_mtime_ns
    write_shards(heads, out, 10)
    assert (out / "train-000001.tar").stat().st_mtime_ns == kept
    assert not (out / PLAN).exists()
    for path in shards.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name


def test_other_shards_and_other_folders_are_refused(heads: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds other shards"):
        write_shards(heads, shards, 7)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="is there already"):
        write_shards(heads, tmp_path, 7)
    with pytest.raises(DataError, match="holds no data stores"):
        write_shards(tmp_path, tmp_path / "out", 7)


@pytest.mark.parametrize("window", [1, 3, 8])
def test_every_epoch_shows_every_sample_once_and_few_shards_at_a_time(window: int) -> None:
    counts = np.array([10, 3, 8, 10, 1, 10, 6])
    total, batch = int(counts.sum()), 4
    shard_of = np.repeat(np.arange(len(counts)), counts)
    row = np.concatenate([shard_batch_indices(counts, batch, 5, step, window) for step in range(3 * total // batch)])
    epochs = [row[start : start + total] for start in range(0, 3 * total - batch, total)]
    for epoch in epochs[:2]:
        assert sorted(epoch) == list(range(total))
        for one in range(len(counts)):
            first, last = np.flatnonzero(shard_of[epoch] == one)[[0, -1]]
            assert len(set(shard_of[epoch[first : last + 1]])) <= window
    assert list(epochs[0]) != list(epochs[1])
    other = np.concatenate([shard_batch_indices(counts, batch, 6, step, window) for step in range(total // batch)])
    assert list(other) != list(row[: len(other)])


def test_the_order_does_not_depend_on_how_it_is_cut_into_batches() -> None:
    counts = np.array([10, 3, 8])
    whole = shard_batch_indices(counts, 60, 1, 0, 2)
    parts = np.concatenate([shard_batch_indices(counts, 12, 1, step, 2) for step in range(5)])
    np.testing.assert_array_equal(whole, parts)


def config(data: Path | str, out: Path) -> TrainConfig:
    model = ModelConfig(size=32, width=4, order="ADLV")
    options = {"images": 4 * 6, "validate_every": 4 * 1000, "validation_images": 8, "threads": 1}
    return TrainConfig(Path(data), out, model, optimiser=OptimiserConfig(batch_size=4), **options)


def test_a_run_on_shards_goes_on_to_the_same_result(shards: Path, tmp_path: Path) -> None:
    train(config(shards, tmp_path / "whole"))
    begun = Trainer(config(shards, tmp_path / "begun"))
    for _ in range(3):
        begun.train_step()
    begun.save()
    pattern = shards / "{train,val}-{000000..000004}.tar"
    with pytest.raises(DataError, match="missing"):
        open_dataset(pattern, "train", 32, tmp_path / "cache")
    train(config(shards, tmp_path / "begun"))
    whole, parts = (load_model(tmp_path / name / "last").state_dict() for name in ("whole", "begun"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_shards_on_a_server_are_fetched_once_into_a_bounded_cache(server, shards: Path, tmp_path: Path) -> None:
    address, asked = server
    size = max(path.stat().st_size for path in shards.glob("*.tar"))
    cache = ShardCache(tmp_path, limit_bytes=2 * size)
    store = ShardedStore(Path(address), "train", 32, cache)  # a path has only one slash behind http:
    local = ShardedStore(shards, "train", 32, ShardCache(tmp_path / "other"))
    order = np.arange(len(store))
    np.testing.assert_array_equal(store.get("image", order), local.get("image", order))
    assert {path: count for path, count in asked.items() if path.endswith(".tar")} == {
        f"/train-00000{number}.tar": 1 for number in range(5)
    }
    assert sum(path.stat().st_size for path in tmp_path.glob("*.tar")) <= cache.limit_bytes
    np.testing.assert_array_equal(store.get("image", order[:10]), local.get("image", order[:10]))
    assert asked["/train-000000.tar"] == 2  # it had to make room
    assert store.info.source["shards"] == local.info.source["shards"]


def test_what_a_server_does_not_have_is_refused(server, tmp_path: Path) -> None:
    address, _ = server
    with pytest.raises(DataError, match=r"has no shards\.json"):
        list_shards(f"{address}/elsewhere", "train")
    with pytest.raises(DataError, match=r"missing-0\.tar is missing"):
        open_dataset(f"{address}/train/missing-0.tar", "train", 32, tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        open_dataset("nothing://host/train-0.tar", "train", 32, tmp_path)


def test_a_place_keeps_its_slashes() -> None:
    assert location_of(Path("s3://bucket/a/b")) == "s3://bucket/a/b"
    assert location_of("https://host/x/") == "https://host/x"
    assert location_of(Path("/data/x")) == "/data/x"
    assert location_of(Path("data/x")) == "data/x"
    assert pieces("http://host/{train,val}-{08..10}.tar") == [
        f"http://host/{split}-{number}.tar" for split in ("train", "val") for number in ("08", "09", "10")
    ]


def test_other_sizes_and_missing_splits_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds images of 32 pixels, 64 are asked for"):
        open_dataset(shards, "train", 64, tmp_path)
    with pytest.raises(DataError, match="none of the split 'test'"):
        open_dataset(shards, "test", 32, tmp_path)
    with pytest.raises(DataError, match="names no shard of the split 'val'"):
        open_dataset(shards / "train-{000000..000001}.tar", "val", 32, tmp_path)


def damaged_copies(shards: Path, folder: Path):
    """A set of shards that is damaged in one way each, and what is said about it."""

    def copy(name: str) -> Path:
        target = folder / name
        target.mkdir()
        for path in shards.iterdir():
            (target / path.name).write_bytes(path.read_bytes())
        return target

    short = copy("short") / "train-000001.tar"
    short.write_bytes(short.read_bytes()[: short.stat().st_size // 2])
    noise = copy("noise") / "train-000001.tar"
    noise.write_bytes(np.random.default_rng(0).bytes(5000))
    gone = copy("gone") / "train-000001.tar"
    gone.unlink()
    flipped = copy("flipped") / "train-000001.tar"
    start, size = Shard(str(flipped), ShardCache(folder / "index")).index[3]["image.png"]
    content = bytearray(flipped.read_bytes())
    content[start : start + size] = bytes(size)
    flipped.write_bytes(content)
    fewer = copy("fewer")
    listed = json.loads((fewer / MANIFEST).read_text())
    listed["splits"]["train"]["shards"][1]["samples"] = 11
    (fewer / MANIFEST).write_text(json.dumps(listed))
    return short.parent, noise.parent, gone.parent, flipped.parent, fewer


def test_damaged_shards_are_refused_by_name(shards: Path, tmp_path: Path) -> None:
    for folder in damaged_copies(shards, tmp_path):
        store = ShardedStore(folder, "train", 32, ShardCache(folder / "cache"))
        with pytest.raises(DataError, match=r"train-000001\.tar") as error:
            store.get("image", np.arange(len(store)))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_mutated_shard_or_list_is_read_or_refused_and_nothing_else(shards: Path, tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    whole = {name: (shards / name).read_bytes() for name in ("train-000004.tar", MANIFEST)}
    refused = []
    for number in range(60 if seed == 0 else 2000):
        folder = tmp_path / str(number)
        folder.mkdir()
        content = {name: bytearray(data) for name, data in whole.items()}
        chosen = content[MANIFEST if number % 4 == 0 else "train-000004.tar"]
        for _ in range(random.integers(1, 30)):
            chosen[random.integers(len(chosen))] = random.integers(256)
        if number % 3 == 0:
            del chosen[random.integers(len(chosen)) :]
        for name, data in content.items():
            (folder / name).write_bytes(data)
        try:
            store = ShardedStore(folder, "train", 32, ShardCache(folder / "cache"))
            for name in store.arrays:
                store.get(name, np.arange(len(store) - 8, len(store)))
        except DataError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert not [said for said in refused if "\n" in said]


def test_paths_in_a_list_of_shards_are_refused(shards: Path, tmp_path: Path) -> None:
    listed = json.loads((shards / MANIFEST).read_text())
    listed["splits"]["train"]["shards"][0]["name"] = "../train-000000.tar"
    (tmp_path / MANIFEST).write_text(json.dumps(listed))
    with pytest.raises(DataError, match="damaged"):
        list_shards(tmp_path, "train")


def test_links_and_folders_in_a_tar_file_are_no_samples() -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        folder = tarfile.TarInfo("b.png")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        entry = tarfile.TarInfo("c.PNG")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"abc"))
    samples = scan(content, "here")
    assert [list(sample) for sample in samples] == [["png"]]


def test_an_index_is_made_again_when_its_shard_has_changed(shards: Path, tmp_path: Path) -> None:
    path = tmp_path / "train-0.tar"
    path.write_bytes((shards / "train-000000.tar").read_bytes())
    cache = ShardCache(tmp_path / "cache")
    assert len(Shard(str(path), cache).index) == 10
    path.write_bytes((shards / "train-000004.tar").read_bytes())
    assert len(Shard(str(path), cache).index) == 8
    cache.name(str(path), ".json").write_text("{")
    assert len(Shard(str(path), cache).index) == 8


def test_a_run_notices_shards_that_change(shards: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in shards.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    trainer = Trainer(replace(config(copy, tmp_path / "run"), images=4 * 2))
    (copy / "train-000003.tar").write_bytes(b"other")
    with pytest.raises(DataError, match="has changed while it was trained on"):
        trainer.run()


def test_the_command_writes_shards(heads: Path, tmp_path: Path, capsys) -> None:
    main(["data", "shards", str(heads), "--out", str(tmp_path / "out"), "--shard-images", "24"])
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: 2 shards of train, 1 shards of val\n"
