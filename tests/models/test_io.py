import json

import pytest
import torch

from scr3d.errors import CheckpointError
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder, load_model, save_model
from scr3d.models.io import find_model, read_description

CONFIG = ModelConfig(size=32, width=4, order="ADLV")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return PhotoGeometricAutoencoder(CONFIG).eval()


@pytest.fixture
def folder(model, tmp_path):
    save_model(tmp_path / "model", model, {"images_seen": 12, "scores": {"side": 0.5}})
    return tmp_path / "model"


@torch.no_grad()
def test_a_loaded_model_computes_the_same(model, folder):
    loaded = load_model(folder)
    assert loaded.config == CONFIG
    assert not loaded.training
    image = torch.rand(2, 3, 32, 32)
    expected, found = model.reconstruct(image), loaded.reconstruct(image)
    torch.testing.assert_close(found.factors.canonical_depth, expected.factors.canonical_depth, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.factors.view.rotation_rad, expected.factors.view.rotation_rad, rtol=0, atol=1e-5)
    assert read_description(folder)["provenance"]["scores"] == {"side": 0.5}


def test_half_precision_halves_the_file(model, folder, tmp_path):
    save_model(tmp_path / "half", model, {}, half=True)
    full, half = ((f / "weights.safetensors").stat().st_size for f in (folder, tmp_path / "half"))
    assert 0.45 < half / full < 0.6
    for name, value in load_model(tmp_path / "half").state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-3, atol=1e-4)


def test_a_run_folder_stands_for_its_best_model(model, tmp_path):
    save_model(tmp_path / "run" / "best", model, {})
    assert find_model(tmp_path / "run") == tmp_path / "run" / "best"
    assert load_model(str(tmp_path / "run")).config == CONFIG


def test_saving_replaces_the_old_model_and_leaves_nothing_else(folder, tmp_path):
    other = PhotoGeometricAutoencoder(ModelConfig(size=32, width=8, order="VDLA"))
    save_model(folder, other, {})
    assert load_model(folder).config == other.config
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "weights.safetensors"]


def cut(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def scramble(folder):
    (folder / "weights.safetensors").write_bytes(b"\xff" * 1000)


def empty(folder):
    (folder / "weights.safetensors").write_bytes(b"")


def remove_weights(folder):
    (folder / "weights.safetensors").unlink()


def break_json(folder):
    path = folder / "model.json"
    path.write_text(path.read_text()[:-20])


def not_text(folder):
    (folder / "model.json").write_bytes(b"\xff\xfe\x00")


def edit(folder, change):
    path = folder / "model.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        scramble,
        empty,
        remove_weights,
        break_json,
        not_text,
        lambda f: (f / "model.json").write_text("[]"),
        lambda f: (f / "model.json").write_text("3"),
        lambda f: edit(f, lambda d: d.update(version=99)),
        lambda f: edit(f, lambda d: d.update(format="other")),
        lambda f: edit(f, lambda d: d.pop("version")),
        lambda f: edit(f, lambda d: d.pop("model")),
        lambda f: edit(f, lambda d: d.update(model=None)),
        lambda f: edit(f, lambda d: d["model"].update(width=8)),
        lambda f: edit(f, lambda d: d["model"].update(size=33)),
        lambda f: edit(f, lambda d: d["model"].update(size="large")),
        lambda f: edit(f, lambda d: d["model"].update(unknown=1)),
        lambda f: edit(f, lambda d: d["model"].update(order="VDLL")),
        lambda f: edit(f, lambda d: d["model"].update(preset="huge")),
        lambda f: edit(f, lambda d: d["model"].pop("size")),
    ],
)
def test_damaged_models_are_refused(folder, damage):
    damage(folder)
    with pytest.raises(CheckpointError) as error:
        load_model(folder)
    message = str(error.value)
    assert str(folder) in message
    assert "\n" not in message


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no model"):
        load_model(tmp_path / "nowhere")
