"""`scr3d describe`: what it prints and draws, for every kind of structure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scr3d.causal import Attention, Order, StructureKind
from scr3d.cli import main
from scr3d.data.dataset import Dataset
from scr3d.data.store import ArraySpec, Store, StoreInfo, StoreWriter
from scr3d.describe import count_parameters, describe, describe_model, graph_weights, recipe_differences
from scr3d.errors import DataError
from scr3d.files import write_json
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder, save_model
from scr3d.models.io import shipped_model
from scr3d.serialization import to_json
from scr3d.training.config import TrainConfig, recipe_defaults

SMALL = ModelConfig(size=32, width=4, order="VDLA")
SHIPPED = shipped_model() / "model.json"
EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.png"))[:3]


def saved(folder: Path, config: ModelConfig, **provenance: object) -> PhotoGeometricAutoencoder:
    torch.manual_seed(0)
    model = PhotoGeometricAutoencoder(config)
    save_model(folder, model, {"images_seen": 640, "validation": {"mad_deg": 12.5}} | provenance)
    return model.eval()


def printed(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """What the command prints, with every run of white space as one blank."""
    main(["describe", *map(str, args)])
    return " ".join(capsys.readouterr().out.split())


def error_line(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["describe", *map(str, args)])
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Warp")]
    assert len(lines) == 1, lines
    return lines[0]


def arrows(folder: Path) -> set[str]:
    return set(re.findall(r"graph1-edge-(\w-\w)", (folder / "graph.svg").read_text(encoding="utf-8")))


class BrightnessStructure(nn.Module):
    """Weights from the embeddings, one graph for every image: view -> depth by the first number of view's."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", Order.parse("VDLA").mask())

    def forward(self, embeddings: Tensor) -> Tensor:
        weights = torch.zeros(len(embeddings), 4, 4)
        weights[:, 1, 0] = embeddings[:, 0, 0]
        return weights


def make_store(folder: Path, count: int) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    info = StoreInfo(32, count, {"image": ArraySpec("uint8", (32, 32, 3))}, source={"generator": "noise"})
    StoreWriter(folder, info).append({"image": pixels})
    return folder


def test_the_shipped_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--out", tmp_path)
    assert "the model that comes with scr3d" in text
    assert "dense, order ADLV (albedo → depth → light → view)" in text
    assert "view depth light albedo view · 1 1 1 depth · · · 1 light · 1 · 1 albedo · · · ·" in text
    assert "mixing additive" in text
    assert "image size 64 x 64 pixels" in text
    assert f"fingerprint {json.loads(SHIPPED.read_text())['provenance']['data']}" in text
    assert f"images seen {json.loads(SHIPPED.read_text())['provenance']['images_seen']:,}" in text
    assert "smoothness 2 (not 12)" in text
    assert f"mad deg {json.loads(SHIPPED.read_text())['provenance']['validation']['mad_deg']:.5g}" in text
    assert arrows(tmp_path) == {"A-D", "A-L", "A-V", "D-L", "D-V", "L-V"}
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_an_independent_model_has_no_arrows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path / "m", replace(SMALL, structure=StructureKind.INDEPENDENT, order=None, split=False))
    text = printed(capsys, tmp_path / "m", "--out", tmp_path / "out", "--format", "svg")
    assert arrows(tmp_path / "out") == set()
    assert not (tmp_path / "out" / "graph.png").exists()
    assert "independent: no factor causes another, one encoder-decoder for each (Wu et al.)" in text
    assert "view · · · · depth · · · ·" in text
    assert "recipe not recorded" in text


def test_the_same_model_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        main(["describe", "--out", str(tmp_path / name)])
    for picture in ("graph.png", "graph.svg"):
        assert (tmp_path / "a" / picture).read_bytes() == (tmp_path / "b" / picture).read_bytes()


def test_json_holds_parameters_and_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = saved(tmp_path / "m", SMALL, validation={"mad_deg": 12.5, "slope": float("nan")})
    main(["describe", str(tmp_path / "m"), "--json", "--out", str(tmp_path / "out")])
    record = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert record["parameters"]["all"] == sum(p.numel() for p in model.parameters())
    assert record["parameters"] == count_parameters(model)
    assert record["parameters"]["encoders"] == sum(p.numel() for p in model.encoders.parameters())
    assert record["training"]["images_seen"] == 640
    assert record["validation"] == {"mad_deg": 12.5, "slope": None}
    assert record["weights"]["mean"] == Order.parse("VDLA").mask().tolist()
    assert record["pictures"] == [(tmp_path / "out" / f"graph.{kind}").as_posix() for kind in ("png", "svg")]


def test_weights_of_any_structure_with_a_graph_per_image(tmp_path: Path) -> None:
    model = PhotoGeometricAutoencoder(SMALL).eval()
    model.structure = BrightnessStructure()
    image = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        values = model.encode(image)[:, 0, 0]
    found = describe_model(model, [image[:2], image[2:]])
    weights = found.record["weights"]
    assert weights["images"] == 5
    assert weights["mean"][1][0] == pytest.approx(float(values.mean()), rel=1e-5)
    assert weights["spread"][1][0] == pytest.approx(float(values.std(correction=0)), rel=1e-4)
    assert np.count_nonzero(weights["mean"]) == 1
    found.draw(tmp_path / "graph.svg")
    assert arrows(tmp_path) == {"V-D"}
    drawn = (tmp_path / "graph.svg").read_text(encoding="utf-8")
    assert "mean ± standard deviation over 5 images" in drawn
    assert describe_model(model).record["weights"] is None


def test_a_dynamic_model_is_summed_up_over_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = saved(tmp_path / "m", replace(SMALL, structure=StructureKind.DYNAMIC, attention=Attention.COSINE))
    text = printed(capsys, tmp_path / "m", "--out", tmp_path / "possible")
    assert "give images with --images or --data" in text
    assert "dynamic (cosine): a graph for every image, order VDLA" in text
    assert len(arrows(tmp_path / "possible")) == 6
    assert "possible edges" in (tmp_path / "possible" / "graph.svg").read_text(encoding="utf-8")
    text = printed(capsys, tmp_path / "m", "--out", tmp_path / "out", "--images", *EXAMPLES)
    assert "mean ± standard deviation over 3 images" in text
    assert len(arrows(tmp_path / "out")) == 6
    store = make_store(tmp_path / "data" / "val", 7)
    main(["describe", str(tmp_path / "m"), "--json", "--data", str(store.parent), "--count", "5"])
    record = json.loads(capsys.readouterr().out)
    image = Dataset(Store(store)).batch(np.arange(5)).image
    weights = model.structure(model.encode(image)).detach()
    np.testing.assert_allclose(record["weights"]["mean"], weights.mean(0), atol=1e-5)
    np.testing.assert_allclose(record["weights"]["spread"], weights.std(0, correction=0), atol=1e-5)
    with pytest.raises(DataError, match="--images or --data"):
        graph_weights(model, [])


def graph_record(model: PhotoGeometricAutoencoder, settled: bool) -> dict:
    model.structure.settle(0.3)
    return {
        "learned": model.structure.learned_weights().tolist(),
        "penalty": 0.01,
        "settled": settled,
        "projected": model.structure.final_weights.tolist(),
        "edges": ["V>D"],
    }


def test_a_learned_graph_is_shown_before_and_after(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = saved(tmp_path, replace(SMALL, structure=StructureKind.GENERIC, order=None))
    learned = graph_record(model, settled=True)
    write_json(tmp_path / "graph.json", learned)
    text = printed(capsys, tmp_path, "--out", tmp_path / "out")
    assert "the graph has cycles" in text
    assert "graph as learned (penalty on cycles 0.01)" in text
    drawn = (tmp_path / "out" / "graph.svg").read_text(encoding="utf-8")
    assert len(set(re.findall(r"graph1-edge-\w-\w", drawn))) == 12
    assert len(set(re.findall(r"graph2-edge-\w-\w", drawn))) == np.count_nonzero(learned["projected"]) < 12
    assert "as learned, with cycles" in drawn
    assert describe(tmp_path).record["learned_graph"] == learned


def test_the_graph_in_use_is_marked_or_drawn_by_itself(tmp_path: Path) -> None:
    config = replace(SMALL, structure=StructureKind.GENERIC, order=None)
    model = saved(tmp_path / "a" / "best", config)
    learned = graph_record(model, settled=True)
    write_json(tmp_path / "a" / "graph.json", learned)
    save_model(tmp_path / "a" / "best", model, {})
    assert [panel.title for panel in describe(tmp_path / "a").panels] == [
        "as learned, with cycles",
        "final graph, in use",
    ]
    with torch.no_grad():
        model.structure.final_weights.mul_(0.1)[3, 0] = 5.0
    save_model(tmp_path / "a" / "best", model, {})
    assert [panel.title for panel in describe(tmp_path / "a").panels][1:] == ["as learned, with cycles", "final graph"]


def test_scores_of_an_evaluation_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path / "run" / "best", SMALL)
    values = (("side_e2", 0.6), ("mad_deg", 14.25), ("coverage", 1.0))
    row = {name: {"mean": value, "std": 0.125, "images": 9} for name, value in values}
    folder = tmp_path / "run" / "evaluation" / "test"
    folder.mkdir(parents=True)
    write_json(folder / "scores.json", {"rows": {"model": row}, "images": 9})
    assert "evaluation test on 9 images" in (text := printed(capsys, tmp_path / "run"))
    assert "model 0.600 ± 0.125 14.250 ± 0.125 1.000 ± 0.125" in text


def test_the_recipe_is_named_with_its_differences() -> None:
    network, recipe, optimiser = recipe_defaults("paper")
    config = TrainConfig(data=Path("d"), out=Path("o"), model=network, recipe=recipe, optimiser=optimiser)
    model = PhotoGeometricAutoencoder(replace(network, size=32, width=4, order="VDLA"))
    assert recipe_differences(model, to_json(config)) == ("paper", {})
    changed = to_json(replace(config, optimiser=replace(optimiser, rate=0.5), seed=3))
    assert recipe_differences(model, changed) == (
        "paper",
        {"rate": {"value": 0.5, "default": optimiser.rate}, "seed": {"value": 3, "default": 0}},
    )
    assert recipe_differences(model, {}) == (None, {})


def test_the_source_of_unchanged_data_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fingerprint = Dataset(Store(make_store(tmp_path / "data" / "train", 3))).fingerprint()
    training = {"data": str(tmp_path / "data")}
    saved(tmp_path / "same", SMALL, data=fingerprint, training=training)
    saved(tmp_path / "other", SMALL, data="0" * 32, training=training)
    assert "generator noise, count 3" in printed(capsys, tmp_path / "same")
    assert "generator noise" not in printed(capsys, tmp_path / "other")


def test_bad_input_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, learned = tmp_path / "m", tmp_path / "learned"
    saved(model, SMALL)
    saved(learned, replace(SMALL, structure=StructureKind.GENERIC, order=None))
    (tmp_path / "photo.png").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    assert "holds no model" in error_line(capsys, tmp_path / "nothing")
    assert "give one of them" in error_line(capsys, model, "--images", EXAMPLES[0], "--data", tmp_path)
    assert "at least 1; got 0" in error_line(capsys, model, "--data", tmp_path, "--count", "0")
    assert "photo.png is damaged" in error_line(capsys, model, "--images", tmp_path / "photo.png")
    assert "there are none in" in error_line(capsys, model, "--images", tmp_path / "empty")
    assert "choose another --out" in error_line(capsys, model, "--out", tmp_path / "photo.png")
    for content in ("{", "[]", '{"learned": [[1]], "projected": [[1]], "penalty": 0}'):
        (learned / "graph.json").write_text(content, encoding="utf-8")
        assert "is no learned graph" in error_line(capsys, learned)
    (model / "evaluation" / "test").mkdir(parents=True)
    (model / "evaluation" / "test" / "scores.json").write_text('{"rows": 3}', encoding="utf-8")
    assert "is no result of scr3d evaluate" in error_line(capsys, model)


def test_every_order_has_its_arrows(tmp_path: Path) -> None:
    for order in ("LADV", "DVAL"):
        saved(tmp_path / order, replace(SMALL, order=order))
        main(["describe", str(tmp_path / order), "--out", str(tmp_path / f"{order}-out")])
        expected = {f"{a}-{b}" for i, a in enumerate(order) for b in order[i + 1 :]}
        assert arrows(tmp_path / f"{order}-out") == expected
