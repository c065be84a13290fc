"""Evaluation: baselines and factor errors in closed form, groups, and what is written."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from scr3d.baselines import average_depth, null_depth
from scr3d.causal import StructureKind
from scr3d.data.dataset import Dataset
from scr3d.data.store import ArraySpec, Store, StoreInfo, StoreWriter, decode_depth
from scr3d.errors import DataError
from scr3d.evaluation import EvaluateConfig, aligned, evaluate, light_angles
from scr3d.geometry.camera import DepthRange
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder, save_model


def make_store(folder: Path, count: int, depth: bool = True) -> Path:
    rng = np.random.default_rng(0)
    arrays = {"image": ArraySpec("uint8", (32, 32, 3))}
    block = {"image": rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)}
    if depth:
        arrays |= {"depth": ArraySpec("uint16", (32, 32)), "sex": ArraySpec("float32", ())}
        codes = rng.integers(20000, 40000, (count, 32, 32)).astype(np.uint16)
        codes[:, :8] = 0
        codes[0, 8:12] = 0
        block |= {"depth": codes, "sex": np.arange(count, dtype=np.float32) % 2}
    StoreWriter(folder, StoreInfo(32, count, arrays)).append(block)
    return folder


def make_model(folder: Path) -> Path:
    torch.manual_seed(0)
    config = ModelConfig(size=32, width=4, structure=StructureKind.INDEPENDENT)
    save_model(folder, PhotoGeometricAutoencoder(config), {})
    return folder


def test_average_depth_by_hand(tmp_path: Path) -> None:
    data = Dataset(Store(make_store(tmp_path / "train", 3)))
    average = average_depth(data)
    depth = decode_depth(data.store.get("depth", slice(None)), DepthRange())
    assert average[0, 0] == pytest.approx(DepthRange().border)
    assert average[9, 5] == pytest.approx(float(depth[1:, 9, 5].mean()), abs=1e-6)
    assert average[20, 5] == pytest.approx(float(depth[:, 20, 5].mean()), abs=1e-6)


def test_average_depth_without_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no true depth"):
        average_depth(Dataset(Store(make_store(tmp_path, 2, depth=False))))


def test_null_depth_is_a_plane() -> None:
    assert torch.equal(null_depth(8), torch.ones(8, 8))


def test_alignment_removes_sign_and_offset_only() -> None:
    true = torch.tensor([0.1, -0.3, 0.2, 0.5])
    torch.testing.assert_close(aligned(-true + 0.7, true), torch.zeros(4), atol=1e-6, rtol=0)
    assert aligned(0.5 * true, true).abs().mean() > 0.05


def test_light_angles() -> None:
    angles = light_angles(torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, -2.0, 2.0]]))
    expected = torch.tensor([[0.0, 0.0], [math.pi / 4, 0.0], [0.0, -math.pi / 4]])
    torch.testing.assert_close(angles, expected)


def test_evaluation_writes_rows_groups_and_images(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("test", 6)):
        make_store(tmp_path / "data" / split, count)
    result = evaluate(make_model(tmp_path / "model"), EvaluateConfig(data=tmp_path / "data", out=tmp_path / "out"))
    rows = result.record["rows"]
    assert set(rows) == {"model", "untrained start", "null depth", "average depth"}
    assert rows["null depth"]["coverage"]["mean"] == 1
    assert rows["model"]["strict_side_e2"]["mean"] >= rows["model"]["side_e2"]["mean"] - 1e-6
    assert {name: row["count"] for name, row in result.record["groups"].items()} == {"female": 3, "male": 3}
    assert len((tmp_path / "out" / "scores.csv").read_text().splitlines()) == 7
    assert "average depth" in (tmp_path / "out" / "table.txt").read_text()


def test_evaluation_without_truth_reports_the_reconstruction(tmp_path: Path) -> None:
    make_store(tmp_path / "data" / "test", 3, depth=False)
    result = evaluate(make_model(tmp_path / "model"), EvaluateConfig(data=tmp_path / "data", out=tmp_path / "out"))
    assert result.record["rows"] == {}
    assert 0 < result.record["image"]["mean absolute error of the reconstruction"] < 1
