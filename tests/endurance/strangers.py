"""Every reader that a file from a stranger can reach, with valid files for it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from scr3d.benchmark.records import Results
from scr3d.data.dataset import Dataset, open_dataset
from scr3d.data.folder import import_folder, read_depth_codes
from scr3d.data.images import read_image, write_png8
from scr3d.data.shard_files import Shard, ShardCache
from scr3d.data.shard_writer import write_shards
from scr3d.data.shards import ShardedStore
from scr3d.data.store import ArraySpec, Store, StoreInfo, StoreWriter
from scr3d.describe import describe
from scr3d.export.outputs import is_output_folder
from scr3d.files import write_json
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder, load_model
from scr3d.models.io import save_model
from scr3d.photos.check import check
from scr3d.photos.options import CropRule, PrepareOptions
from scr3d.photos.prepare import prepare
from scr3d.photos.published import Entry
from scr3d.photos.reading import read_entry
from scr3d.photos.sources import collect, read_boxes
from scr3d.search.config import SearchConfig, Strategy, Task
from scr3d.search.kept import keep_result, kept_result
from scr3d.search.objective import Objective, Outcome
from scr3d.search.study import open_search, search
from scr3d.serialization import to_json
from scr3d.studio.config import UploadLimits
from scr3d.studio.photos import read_upload
from scr3d.studio.runs import RunFolder, candidates, latest_picture
from scr3d.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from scr3d.training.config import OptimiserConfig, TrainConfig
from scr3d.training.trainer import Trainer

SIZE = 32


@dataclass(frozen=True)
class Reader:
    """Something that reads files.

    Attributes:
        make: writes valid files into an empty folder.
        read: reads them; it may write into the second folder.
        damaged: names of the files that strangers may change; all of them, unless given.
        share: of the usual number of damaged files that there is time for.
        forgiving: nothing is refused: what cannot be read is left out, or shown as it was.
        writes: it goes on with what it finds, so the folder is made anew each time.
    """

    make: Callable[[Path], None]
    read: Callable[[Path, Path], object]
    damaged: str = "**/*"
    share: float = 1.0
    forgiving: bool = False
    writes: bool = False


def picture(side: int = 24, channels: int = 3) -> np.ndarray:
    random = np.random.default_rng(side * 10 + channels)
    return random.integers(0, 256, (side, side, channels) if channels > 1 else (side, side), dtype=np.uint8)


def model_config() -> ModelConfig:
    return ModelConfig(size=SIZE, width=4, order="ADLV")


def train_config(folder: Path) -> TrainConfig:
    return TrainConfig(
        data=folder / "data",
        out=folder / "run",
        model=model_config(),
        optimiser=OptimiserConfig(batch_size=2),
        images=8,
        validation_images=2,
        threads=1,
    )


# Images


def make_image(folder: Path, ending: str, array: np.ndarray, **options: Any) -> None:
    mode = options.pop("mode", None)
    image = Image.fromarray(array)
    image = image.convert(mode) if mode else image
    image.save(folder / f"photo.{ending}", **options)


def make_exif_jpeg(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    make_image(folder, "jpg", picture(), exif=exif, dpi=(72, 72))


def make_animation(folder: Path, ending: str) -> None:
    frames = [Image.fromarray(picture(side)).resize((24, 24)) for side in (8, 12, 16)]
    frames[0].save(folder / f"photo.{ending}", save_all=True, append_images=frames[1:], duration=40)


def read_pictures(folder: Path, out: Path) -> None:
    for path in folder.iterdir():
        image = read_image(path)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()


def read_depth(folder: Path, out: Path) -> None:
    for path in folder.iterdir():
        assert read_depth_codes(path).dtype == np.uint16


def read_uploads(folder: Path, out: Path) -> None:
    for path in folder.iterdir():
        read_upload(path.name, path.read_bytes(), UploadLimits())


def make_masked(folder: Path) -> None:
    write_png8(folder / "photo.png", picture())
    write_png8(folder / "mask.png", picture(channels=1))


def read_masked(folder: Path, out: Path) -> None:
    entry = Entry(folder / "photo.png", mask=folder / "mask.png")
    read_entry(entry, CropRule("center"), PrepareOptions(size=SIZE, crop="center"))


def make_layout(folder: Path) -> None:
    for kind in ("image", "depth"):
        (folder / "train" / kind).mkdir(parents=True)
        for number in range(3):
            write_png8(folder / "train" / kind / f"{number}.png", picture(20 + number, 3 if kind == "image" else 1))


def read_layout(folder: Path, out: Path) -> None:
    import_folder(folder, out / "store", SIZE, progress=False)


# Tables of published sets


def make_boxes(folder: Path) -> None:
    write_png8(folder / "a.png", picture())
    lines = ["file,left,top,right,bottom", "a.png,2,2,22,22", "a.png,0,0,24,24", "b.png,1,1,5,5"]
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")


def read_boxed(folder: Path, out: Path) -> None:
    read_boxes(folder / "boxes.csv")
    options = PrepareOptions(size=SIZE, crop=str(folder / "boxes.csv"))
    read_entries(folder, options)


def read_entries(folder: Path, options: PrepareOptions) -> None:
    found = collect(folder, options)
    for entry in found.entries:
        assert entry.image.resolve().is_relative_to(folder.resolve())
        read_entry(entry, found.crop, options)


def read_published(folder: Path, out: Path) -> None:
    read_entries(folder, PrepareOptions(size=SIZE))


def make_aligned(folder: Path) -> None:
    (folder / "img_align_celeba").mkdir()
    for name in ("000001.jpg", "000002.jpg"):
        Image.fromarray(picture()).save(folder / "img_align_celeba" / name)
    (folder / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 1\n")


def make_wild(folder: Path) -> None:
    (folder / "img_celeba").mkdir()
    for name in ("000001.jpg", "000002.jpg"):
        Image.fromarray(picture()).save(folder / "img_celeba" / name)
    (folder / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 1\n")
    lines = ["2", "image_id x_1 y_1 width height", "000001.jpg 2 2 20 20", "000002.jpg 0 0 24 24"]
    (folder / "list_bbox_celeba.txt").write_text("\n".join(lines) + "\n")


def make_cropped(folder: Path) -> None:
    make_wild(folder)
    (folder / "celeba_crop_bbox.txt").write_text("000001.jpg 0 2 2 20 20\n000002.jpg 1 0 0 24 24\n")


def make_cats(folder: Path) -> None:
    (folder / "CAT_00").mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(picture()).save(folder / "CAT_00" / name)
        (folder / "CAT_00" / f"{name}.cat").write_text("9 8 8 16 8 12 14 6 4 4 2 8 3 16 3 20 2 18 4")


# Stores


def make_store(folder: Path) -> None:
    count = 3
    specs = {
        "image": ArraySpec("uint8", (SIZE, SIZE, 3)),
        "mask": ArraySpec("uint8", (SIZE, SIZE)),
        "depth": ArraySpec("uint16", (SIZE, SIZE)),
        "albedo": ArraySpec("uint8", (SIZE, SIZE, 3)),
        "light": ArraySpec("float32", (4,)),
        "view": ArraySpec("float32", (6,)),
        "identity": ArraySpec("int32", ()),
    }
    random = np.random.default_rng(0)
    writer = StoreWriter(folder, StoreInfo(SIZE, count, specs, source={"kind": "a test", "seed": 0}))
    writer.append(
        {name: random.integers(0, 100, (count, *spec.shape)).astype(spec.dtype) for name, spec in specs.items()}
    )


def read_store(folder: Path, out: Path) -> None:
    data = Dataset(Store(folder))
    data.fingerprint()
    data.batch(np.array([0, len(data) - 1]))
    open_dataset(folder, "train", SIZE, out / "cache")


def make_shards(folder: Path) -> None:
    for split in ("train", "val"):
        make_store(folder.parent / "unsharded" / split)
    write_shards(folder.parent / "unsharded", folder, shard_images=2)
    shutil.rmtree(folder.parent / "unsharded")


def make_foreign_shards(folder: Path) -> None:
    make_shards(folder)
    (folder / "shards.json").unlink()


def read_shards(folder: Path, out: Path) -> None:
    for _ in range(2):  # the second time the index is read
        data = Dataset(ShardedStore(folder, "train", SIZE, ShardCache(out / "cache")))
        data.fingerprint()
        data.batch(np.arange(min(4, len(data))))


def read_index(folder: Path, out: Path) -> None:
    """The index of a shard lies in the run's folder."""
    shard = Shard(str(folder / "train-000000.tar"), ShardCache(folder / "cache"))
    for number in range(len(shard.index)):
        shard.read(number, ("image.png",))


def make_index(folder: Path) -> None:
    make_shards(folder)
    read_index(folder, folder)


def make_prepared(folder: Path) -> None:
    make_store(folder / "train")
    rows = [["split", "index", "yaw_deg"], ["train", "0", "3.0"], ["train", "1", "-4.0"], ["train", "2", ""]]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    (folder / "samples.csv").write_text(text.getvalue())


def read_prepared(folder: Path, out: Path) -> None:
    check(folder, out / "check.html", progress=False)


def make_preparation(folder: Path) -> None:
    """A preparation that was interrupted when all was read."""
    for name in ("a", "b", "c", "d"):
        (folder / "photos").mkdir(exist_ok=True)
        write_png8(folder / "photos" / f"{name}.png", np.rot90(picture(40 + ord(name))))
    prepare(folder / "photos", folder / "set", preparation(), progress=False, threads=1)
    finished = json.loads((folder / "set" / "prepare.json").read_text())
    prepared = prepare_without_end(folder, finished["settings"])
    (folder / "set" / "prepare.json").unlink()
    assert prepared


def preparation() -> PrepareOptions:
    return PrepareOptions(size=SIZE, crop="center")


def prepare_without_end(folder: Path, settings: dict[str, Any]) -> list[Path]:
    from scr3d.photos.parts import Parts

    collection = collect(folder / "photos", preparation())
    parts = Parts(folder / "set" / "parts", len(collection.entries))
    parts.folder.mkdir()
    write_json(parts.folder / "settings.json", settings)
    for number, block in enumerate(parts.blocks):
        parts.write(number, [read_entry(collection.entries[n], collection.crop, preparation()) for n in block])
    return list(parts.folder.iterdir())


def read_preparation(folder: Path, out: Path) -> None:
    prepare(folder / "photos", folder / "set", preparation(), progress=False, threads=1)


def make_finished_preparation(folder: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (folder / "photos").mkdir(exist_ok=True)
        write_png8(folder / "photos" / f"{name}.png", np.rot90(picture(40 + ord(name))))
    prepare(folder / "photos", folder / "set", preparation(), progress=False, threads=1)


# Models and runs


def make_model(folder: Path) -> None:
    torch.manual_seed(0)
    provenance = {"version": "0", "images_seen": 8, "validation": {"reconstruction": 1.0}, "data": "0" * 32}
    training = to_json(train_config(Path("somewhere")))
    save_model(folder / "best", PhotoGeometricAutoencoder(model_config()), {**provenance, "training": training})


def read_model_folder(folder: Path, out: Path) -> None:
    model = load_model(folder)
    with torch.no_grad():
        model.reconstruct(torch.full((1, 3, SIZE, SIZE), 0.5))  # of damaged weights that are finite, anything may come


def make_described(folder: Path) -> None:
    torch.manual_seed(0)
    config = replace(model_config(), structure="generic", order=None)
    training = to_json(train_config(Path("somewhere")))
    save_model(folder / "best", PhotoGeometricAutoencoder(config), {"training": training, "data": "0" * 32})
    graph = {"learned": np.eye(4).tolist(), "penalty": 0.1, "settled": True, "projected": np.eye(4).tolist()}
    write_json(folder / "graph.json", {**graph, "edges": ["V>D"]})
    score = {"mean": 1.0, "std": 0.1}
    rows = {"model": {"side_e2": score, "mad_deg": score, "coverage": score}}
    record = {"images": 8, "data": {"fingerprint": "0" * 32, "split": "test"}, "image": {"l1": 0.1}, "rows": rows}
    (folder / "evaluation" / "test").mkdir(parents=True)
    write_json(folder / "evaluation" / "test" / "scores.json", record)


def read_described(folder: Path, out: Path) -> None:
    json.dumps(describe(folder).record, allow_nan=False)


def make_checkpoint(folder: Path) -> None:
    tensors = {"weight": torch.ones(3, 4), "count": torch.tensor(7), "codes": torch.arange(5, dtype=torch.uint8)}
    save_checkpoint(folder / "000000012", Checkpoint({"step": 12, "note": None}, {"model": tensors, "optimiser": {}}))


def read_checkpoint(folder: Path, out: Path) -> None:
    load_checkpoint(folder / "000000012")


def make_run(folder: Path) -> None:
    make_store(folder / "data" / "train")
    make_store(folder / "data" / "val")
    trainer = Trainer(train_config(folder))
    trainer.train_step()
    trainer.save()


def read_run(folder: Path, out: Path) -> None:
    """Of a checkpoint, the digest is made to fit again: strangers can do so too."""
    import hashlib

    for path in folder.glob("run/checkpoints/*/state.json"):
        try:
            state = json.loads(path.read_bytes())
            for file in path.parent.glob("*.safetensors"):
                state["sha256"][file.stem] = hashlib.sha256(file.read_bytes()).hexdigest()
            state["sha256"].pop("state", None)
            path.write_text(json.dumps(state))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass
    trainer = Trainer(train_config(folder))
    trainer.journal.close()
    assert 0 <= trainer.step <= trainer.config.steps
    trainer.train_step()


def make_watched(folder: Path) -> None:
    run = folder / "first"
    (run / "pictures").mkdir(parents=True)
    write_json(run / "config.json", to_json(train_config(Path("somewhere"))))
    lines = [{"images": n, "group": group, "total": 1.0} for n in (4, 8) for group in ("train", "validation")]
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_png8(run / "pictures" / "000000008.png", picture())
    trial = folder / "search" / "trials" / "ADLV-s0"
    trial.mkdir(parents=True)
    write_json(trial / "config.json", to_json(train_config(Path("somewhere"))))
    write_json(trial / "result-000000008.json", {"outcome": {"score": 1.0}})


def read_watched(folder: Path, out: Path) -> None:
    watched = RunFolder(folder)
    for name, path in watched.runs().items():
        state, log = watched.state(name, path), watched.log(path)
        str(state.state)
        for group in list(log.groups):
            log.latest(group)
            for scalar in log.names(group):
                assert np.isfinite(log.curve(group, scalar).values).all()
        latest_picture(path)
    for path in watched.searches().values():
        candidates(path)


def make_output(folder: Path) -> None:
    from scr3d.export import outputs

    write_json(folder / outputs.RECORD, {"format": outputs.FORMAT, "name": "a"})


def read_output(folder: Path, out: Path) -> None:
    is_output_folder(folder)


# Searches and benchmarks


def search_config(folder: Path, storage: str | None = None) -> SearchConfig:
    config = replace(train_config(folder), model=replace(model_config(), order=None))
    return SearchConfig(config, storage=storage, strategy=Strategy.RANDOM, trials=3, heartbeat_s=1.0)


def stand_in(config: SearchConfig, task: Task) -> Outcome:
    return Outcome(1.0 + 0.1 * "VDLA".index(task.name[0]), 0.01, 2)


def nothing_shared(config: SearchConfig) -> dict[str, Outcome]:
    return {}


OBJECTIVE = Objective(stand_in, nothing_shared)


def make_search(folder: Path, storage: str | None = None) -> None:
    for split in ("train", "val"):
        make_store(folder / "data" / split)
    search(search_config(folder, storage and storage.format(folder)), OBJECTIVE)


def read_search(folder: Path, out: Path, storage: str | None = None) -> None:
    """Go on with it, as the same command does."""
    search(search_config(folder, storage and storage.format(folder)), OBJECTIVE)


def make_kept(folder: Path) -> None:
    config = search_config(folder)
    keep_result(config, Task("VDLA", 0, 8), {"data": "0"}, Outcome(1.0, 0.1, 2))


def read_kept(folder: Path, out: Path) -> None:
    found = kept_result(search_config(folder), Task("VDLA", 0, 8), {"data": "0"})
    if found is not None:
        json.dumps(asdict(found), allow_nan=False)


def make_benchmark(folder: Path) -> None:
    from scr3d.benchmark.config import BenchmarkConfig, Stage
    from scr3d.benchmark.records import write_result

    record = json.loads((Path(__file__).parent / "benchmark-record.json").read_text())
    write_result(BenchmarkConfig(protocol="smoke", out=folder).folder, record)
    assert Results.read(folder / "benchmark" / "smoke").stage(Stage(record["stage"]))


def read_benchmark(folder: Path, out: Path) -> None:
    Results.read(folder / "benchmark" / "smoke")


IMAGES: dict[str, Callable[[Path], None]] = {
    "png": partial(make_image, ending="png", array=picture()),
    "png-16-bit": partial(make_image, ending="png", array=np.arange(576, dtype=np.uint16).reshape(24, 24) * 113),
    "png-palette": partial(make_image, ending="png", array=picture(), mode="P", transparency=3),
    "png-transparent": partial(make_image, ending="png", array=picture(channels=4)),
    "jpeg": make_exif_jpeg,
    "jpeg-cmyk": partial(make_image, ending="jpg", array=picture(), mode="CMYK"),
    "jpeg-progressive": partial(make_image, ending="jpg", array=picture(), progressive=True),
    "webp": partial(make_image, ending="webp", array=picture(channels=4)),
    "webp-animated": partial(make_animation, ending="webp"),
    "tiff": partial(make_image, ending="tif", array=picture()),
    "tiff-lzw": partial(make_image, ending="tif", array=picture(), compression="tiff_lzw"),
    "tiff-deflate": partial(make_image, ending="tif", array=picture(), compression="tiff_adobe_deflate"),
    "tiff-float": partial(make_image, ending="tif", array=np.linspace(0, 1, 576, dtype=np.float32).reshape(24, 24)),
    "gif": partial(make_animation, ending="gif"),
    "bmp": partial(make_image, ending="bmp", array=picture()),
    "ppm": partial(make_image, ending="ppm", array=picture()),
    "pgm": partial(make_image, ending="pgm", array=picture(channels=1)),
}
DEPTHS = ("png-16-bit", "pgm")
JOURNAL = "journal:{}/search.log"
READERS: dict[str, Reader] = {
    **{f"image-{name}": Reader(make, read_pictures) for name, make in IMAGES.items()},
    **{f"depth-{name}": Reader(IMAGES[name], read_depth) for name in DEPTHS},
    "upload": Reader(IMAGES["jpeg"], read_uploads),
    "masks": Reader(make_masked, read_masked, forgiving=True),
    "layout": Reader(make_layout, read_layout, share=0.2, forgiving=True),
    "boxes": Reader(make_boxes, read_boxed, "*.csv"),
    "celeba-aligned": Reader(make_aligned, read_published, "*.txt"),
    "celeba-wild": Reader(make_wild, read_published, "*.txt"),
    "celeba-crops": Reader(make_cropped, read_published, "*.txt"),
    "cats": Reader(make_cats, read_published, "**/*.cat"),
    "store": Reader(make_store, read_store),
    "shards": Reader(make_shards, read_shards, share=0.5),
    "shards-of-others": Reader(make_foreign_shards, read_shards, "train-*.tar", share=0.5),
    "shards-index": Reader(make_index, read_index, "cache/*.json", forgiving=True, writes=True),
    "prepared": Reader(make_prepared, read_prepared, "samples.csv", share=0.1),
    "preparation": Reader(make_preparation, read_preparation, "set/parts/*", share=0.1, writes=True),
    "preparation-record": Reader(make_finished_preparation, read_preparation, "set/*.json", writes=True),
    "model": Reader(make_model, read_model_folder, share=0.2),
    "described": Reader(make_described, read_described, "**/*.json", share=0.2),
    "checkpoint": Reader(make_checkpoint, read_checkpoint),
    "run": Reader(make_run, read_run, "run/**/*[ns]", share=0.05, writes=True),
    "watched": Reader(make_watched, read_watched, forgiving=True),
    "output-record": Reader(make_output, read_output, forgiving=True),
    "search-result": Reader(make_kept, read_kept),
    "search-database": Reader(make_search, read_search, "run/search.db", share=0.02, writes=True),
    "search-journal": Reader(
        partial(make_search, storage=JOURNAL),
        partial(read_search, storage=JOURNAL),
        "search.log",
        share=0.02,
        writes=True,
    ),
    "benchmark": Reader(make_benchmark, read_benchmark),
}
__all__ = ["READERS", "Reader", "open_search"]
