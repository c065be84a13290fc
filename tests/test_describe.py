"""`scr3d describe`: what it prints and draws, for every kind of structure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scr3d.causal import Attention, Order, StructureKind
from scr3d.cli import main
from scr3d.describe import count_parameters, describe, graph_weights
from scr3d.errors import DataError
from scr3d.files import write_json
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder, save_model

SMALL = ModelConfig(size=32, width=4, order="VDLA")
EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.png"))[:3]


def saved(folder: Path, config: ModelConfig) -> PhotoGeometricAutoencoder:
    torch.manual_seed(0)
    model = PhotoGeometricAutoencoder(config)
    save_model(folder, model, {"images_seen": 640, "validation": {"mad_deg": 12.5}})
    return model.eval()


def arrows(folder: Path) -> set[str]:
    return set(re.findall(r"graph1-edge-(\w-\w)", (folder / "graph.svg").read_text(encoding="utf-8")))


def test_the_shipped_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["describe", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "kind dense" in printed or "kind: dense" in printed
    assert "ADLV" in printed
    assert arrows(tmp_path) == {"A-D", "A-L", "A-V", "D-L", "D-V", "L-V"}
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_an_independent_model_has_no_arrows(tmp_path: Path) -> None:
    saved(tmp_path / "m", replace(SMALL, structure=StructureKind.INDEPENDENT, order=None, split=False))
    main(["describe", str(tmp_path / "m"), "--out", str(tmp_path / "out")])
    assert arrows(tmp_path / "out") == set()
    assert describe(tmp_path / "m").record["structure"]["networks"] == "not split (Wu et al.)"


def test_the_same_model_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        main(["describe", "--out", str(tmp_path / name)])
    for picture in ("graph.png", "graph.svg"):
        assert (tmp_path / "a" / picture).read_bytes() == (tmp_path / "b" / picture).read_bytes()


def test_json_holds_parameters_and_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = saved(tmp_path / "m", SMALL)
    main(["describe", str(tmp_path / "m"), "--json"])
    record = json.loads(capsys.readouterr().out)
    assert record["parameters"]["all"] == sum(p.numel() for p in model.parameters())
    assert record["parameters"] == count_parameters(model)
    assert record["training"]["images seen"] == 640
    assert record["validation"] == {"mad_deg": 12.5}
    assert record["weights"]["albedo from"] == {"view": 1.0, "depth": 1.0, "light": 1.0}


def test_a_dynamic_model_is_summed_up_over_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = saved(tmp_path / "m", replace(SMALL, structure=StructureKind.DYNAMIC, attention=Attention.COSINE))
    main(["describe", str(tmp_path / "m"), "--out", str(tmp_path / "out")])
    assert "give images" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    main(["describe", str(tmp_path / "m"), "--out", str(tmp_path / "out"), "--images", *map(str, EXAMPLES)])
    assert len(arrows(tmp_path / "out")) == 6
    image = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean, spread = graph_weights(model, [image[:2], image[2:]])
    weights = model.structure(model.encode(image)).detach()
    torch.testing.assert_close(mean, weights.mean(0))
    assert spread is not None
    torch.testing.assert_close(spread, weights.std(0, correction=0))
    with pytest.raises(DataError, match="--images or --data"):
        graph_weights(model, [])


def test_a_learned_graph_is_shown_before_and_after(tmp_path: Path) -> None:
    model = saved(tmp_path, replace(SMALL, structure=StructureKind.GENERIC, order=None))
    learned = model.structure.learned_weights().detach()
    model.structure.settle(0.3)
    final = model.structure.final_weights
    write_json(
        tmp_path / "graph.json",
        {
            "learned": learned.tolist(),
            "penalty": 0.01,
            "settled": True,
            "projected": final.tolist(),
            "edges": ["V>D"],
        },
    )
    found = describe(tmp_path)
    found.draw(tmp_path / "graph.svg")
    drawn = (tmp_path / "graph.svg").read_text(encoding="utf-8")
    assert len(set(re.findall(r"graph1-edge-\w-\w", drawn))) == 12
    assert len(set(re.findall(r"graph2-edge-\w-\w", drawn))) == int((final != 0).sum())
    assert found.record["learned graph"]["penalty"] == 0.01
    assert "has cycles" in found.panels[0].note


def test_scores_of_an_evaluation_are_shown(tmp_path: Path) -> None:
    saved(tmp_path / "run" / "best", SMALL)
    row = {name: {"mean": value} for name, value in (("side_e2", 0.6), ("mad_deg", 14.0), ("coverage", 1.0))}
    write_json_at(tmp_path / "run" / "evaluation" / "test" / "scores.json", {"rows": {"model": row}})
    assert describe(tmp_path / "run").record["evaluation"]["test"]["model: side_e2"] == 0.6


def write_json_at(path: Path, record: dict) -> None:
    path.parent.mkdir(parents=True)
    write_json(path, record)


def test_no_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["describe", str(tmp_path / "nothing")])
    assert "holds no model" in capsys.readouterr().err


def test_every_order_has_its_arrows(tmp_path: Path) -> None:
    for order in ("LADV", "DVAL"):
        saved(tmp_path / order, replace(SMALL, order=order))
        main(["describe", str(tmp_path / order), "--out", str(tmp_path / f"{order}-out")])
        expected = {f"{a}-{b}" for i, a in enumerate(order) for b in order[i + 1 :]}
        assert arrows(tmp_path / f"{order}-out") == expected
        assert str(Order.parse(order)) == order
