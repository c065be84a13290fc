"""The model that comes with the package: small, loadable, and better than no learning on heads it has not seen."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from scr3d.data.heads import HeadsConfig, sample
from scr3d.metrics import depth_scores
from scr3d.models import load_model, shipped_model

ROOT = Path(__file__).parent.parent
LIMIT_BYTES = 10_000_000


@pytest.fixture(scope="module")
def record() -> dict:
    return json.loads((ROOT / "results" / "shipped-model" / "scores.json").read_text())


def test_is_small() -> None:
    assert sum(path.stat().st_size for path in shipped_model().iterdir()) < LIMIT_BYTES


def test_fresh_heads_score_like_the_recorded_test_split(record: dict) -> None:
    model = load_model()
    heads = sample(HeadsConfig(split="test", size=model.config.size), np.arange(500, 564))
    with torch.no_grad():
        seen = model.reconstruct(heads.image)
    scores = depth_scores(seen.view_depth, seen.mask, heads.depth, heads.foreground, model.camera, model.depth_range)
    row = record["rows"]["model"]
    assert 100 * float(scores.side.mean()) == pytest.approx(row["side_e2"]["mean"], rel=0.15)
    assert float(scores.mad_deg.mean()) == pytest.approx(row["mad_deg"]["mean"], rel=0.1)
    assert float(scores.coverage.mean()) > 0.95


def test_the_record_belongs_to_the_shipped_weights(record: dict) -> None:
    description = json.loads((shipped_model() / "model.json").read_text())
    assert record["model"] == description
    assert record["rows"]["model"]["side_e2"]["mean"] < record["rows"]["average depth"]["side_e2"]["mean"]
    assert record["rows"]["model"]["mad_deg"]["mean"] < record["rows"]["average depth"]["mad_deg"]["mean"]


def test_the_pages_show_the_recorded_scores(record: dict) -> None:
    row = record["rows"]["model"]
    cell = f"{row['side_e2']['mean']:.3f} ± {row['side_e2']['std']:.3f} | {row['mad_deg']['mean']:.3f}"
    for page in ("README.md", "docs/model-card.md"):
        assert cell in (ROOT / page).read_text()


def test_the_scores_by_group_are_those_of_the_record(record: dict) -> None:
    groups = json.loads((ROOT / "results" / "shipped-model" / "groups.json").read_text())["groups"]
    for name, row in record["groups"].items():
        found = groups.get(name) or groups[f"mostly {name}"]
        assert found["heads"] == row["count"]
        assert (found["side_e2"], found["mad_deg"]) == pytest.approx((row["side_e2"], row["mad_deg"]), rel=1e-4)
    sys.path.insert(0, str(ROOT / "tools"))
    from group_table import table

    assert table() in (ROOT / "docs" / "responsible-use.md").read_text()
