import json
from dataclasses import replace
from pathlib import Path

import pytest

from scr3d.causal import MixingKind
from scr3d.errors import ConfigError
from scr3d.geometry import DepthRange
from scr3d.models import ModelConfig, Preset
from scr3d.serialization import from_json, to_json
from scr3d.training.config import TrainConfig

MODEL = ModelConfig(preset=Preset.REFERENCE, size=128, mixing=MixingKind.CONCAT, depth_range=DepthRange(0.8, 1.3))
RUN = TrainConfig(data=Path("photos") / "mine", out=Path("run"), model=MODEL, vgg16_file=None, seed=7)


@pytest.mark.parametrize("value", [MODEL, RUN, replace(RUN, vgg16_file=Path("vgg.pth"), start_from=Path("a"))])
def test_configurations_survive_a_json_file(value):
    text = json.dumps(to_json(value))
    assert from_json(type(value), json.loads(text), "text") == value


def test_json_holds_plain_values():
    record = to_json(RUN)
    assert record["data"] == "photos/mine"
    assert record["model"]["preset"] == "reference"
    assert record["model"]["depth_range"] == {"near": 0.8, "far": 1.3, "border_share": 0.7}
    assert record["vgg16_file"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(colour="red"), "colour"),
        (lambda d: d.update(size="wide"), "size"),
        (lambda d: d.update(size=48), "size"),
        (lambda d: d.update(preset="huge"), "preset"),
        (lambda d: d.update(mixing=None), "mixing"),
        (lambda d: d.update(depth_range=3), "depth_range"),
        (lambda d: d["depth_range"].update(middle=1), "middle"),
    ],
)
def test_other_values_are_refused_by_name(change, words):
    record = to_json(MODEL)
    change(record)
    with pytest.raises(ConfigError) as error:
        from_json(ModelConfig, record, "run/config.json")
    message = str(error.value)
    assert "run/config.json" in message
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("value", [None, [], 3, "text"])
def test_what_is_no_record_is_refused(value):
    with pytest.raises(ConfigError, match=r"x\.json is no ModelConfig"):
        from_json(ModelConfig, value, "x.json")


@pytest.mark.parametrize("name", ["data", "seed", "model.start_taper", "model.depth_range.border_share"])
def test_a_record_without_a_field_is_refused(name):
    """Whether the field has a default or not: today's may be another than that of the version that wrote."""
    record = to_json(RUN)
    *above, last = name.split(".")
    inner = record
    for key in above:
        inner = inner[key]
    del inner[last]
    with pytest.raises(ConfigError, match=last):
        from_json(TrainConfig, record, "x.json")
