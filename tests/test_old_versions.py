"""Files of every version, kept in tests/old as their own programs wrote them: they load, or the version is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scr3d.errors import CheckpointError, ConfigError
from scr3d.models import ModelConfig, load_model, save_model
from scr3d.models.io import read_description
from scr3d.models.migration import STEPS, VERSION
from scr3d.serialization import to_json
from scr3d.training import checkpoint, run_file
from scr3d.training.config import TrainConfig

OLD = Path(__file__).parent / "old"


@pytest.mark.parametrize("version", range(1, VERSION + 1))
@torch.no_grad()
def test_a_model_of_every_version_computes_what_its_own_program_computed(version: int) -> None:
    expected = load_file(OLD / f"model-{version}.safetensors")
    found = load_model(OLD / f"model-{version}").reconstruct(expected["image"])
    assert expected["depth"].std() > 0.001
    close = {"rtol": 0, "atol": 2e-5}
    torch.testing.assert_close(found.factors.canonical_depth, expected["depth"], **close)
    torch.testing.assert_close(found.factors.view.rotation_rad, expected["rotation_rad"], **close)
    torch.testing.assert_close(found.canonical_image, expected["canonical_image"], **close)
    # Behind an edge of the surface, rounding can move a pixel from one triangle to the next.
    assert (found.image - expected["reconstruction"]).abs().quantile(0.98) < 1e-3


def test_the_newest_kept_model_has_all_options_of_today() -> None:
    """An option that is added without a new version would make older models unreadable."""
    kept = json.loads((OLD / f"model-{VERSION}" / "model.json").read_text())
    assert (kept["version"], set(kept["model"])) == (VERSION, set(to_json(ModelConfig())))
    assert set(STEPS) == set(range(1, VERSION))


def test_an_old_model_is_written_as_a_new_one(tmp_path: Path) -> None:
    model = load_model(OLD / "model-1")
    save_model(tmp_path / "model", model, {})
    assert json.loads((tmp_path / "model" / "model.json").read_text())["version"] == VERSION
    assert load_model(tmp_path / "model").config == model.config
    assert (model.config.outline_range, model.config.start_taper) == (0, 1)  # not today's defaults


def test_a_model_that_does_not_say_enough_is_refused_with_its_version() -> None:
    with pytest.raises(CheckpointError, match=r"model-1-early.*version 1 .*train it again"):
        read_description(OLD / "model-1-early")


@pytest.mark.parametrize("version", [0, VERSION + 1, "2", None, []])
def test_versions_that_there_are_not_are_refused(tmp_path: Path, version: object) -> None:
    folder = shutil.copytree(OLD / f"model-{VERSION}", tmp_path / "model")
    described = json.loads((folder / "model.json").read_text()) | {"version": version}
    (folder / "model.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match=rf"1 to {VERSION}"):
        load_model(folder)


def test_runs_of_this_version_and_the_last_go_on_and_an_older_one_is_refused() -> None:
    assert run_file.read_run_file(OLD / "run-3" / run_file.NAME).graph.graph_gradient == "differences"
    before = run_file.read_run_file(OLD / "run-2" / run_file.NAME)
    assert (before.data, before.graph.graph_gradient) == (Path("heads"), "autograd")
    with pytest.raises(ConfigError, match=r"plain_steps.*run of version 1 cannot go on.*best/ and last/") as error:
        run_file.read_run_file(OLD / "run-1" / run_file.NAME)
    assert "\n" not in str(error.value)


def test_the_newest_kept_run_has_all_options_of_today() -> None:
    kept = json.loads((OLD / f"run-{run_file.VERSION}" / run_file.NAME).read_text())
    assert (kept.pop("format"), kept.pop("version")) == (run_file.FORMAT, run_file.VERSION)
    assert _names(kept) == _names(to_json(TrainConfig(data=Path(), out=Path())))


def test_checkpoints_of_a_run_load_or_are_refused_with_their_version() -> None:
    kept = checkpoint.load_checkpoint(OLD / f"checkpoint-{checkpoint.VERSION}")
    assert kept.state["step"] == 7
    assert kept.tensors["model"]["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    for version in range(1, checkpoint.VERSION):
        with pytest.raises(CheckpointError, match=f"of version {version}, this program reads {checkpoint.VERSION}"):
            checkpoint.load_checkpoint(OLD / f"checkpoint-{version}")


def _names(record: dict, above: str = "") -> set[str]:
    found = set()
    for name, value in record.items():
        found |= _names(value, f"{above}{name}.") if isinstance(value, dict) else {above + name}
    return found
