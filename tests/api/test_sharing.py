"""Giving models away: folders with a card, and a hub that is a real server on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import TOKEN, Hub, serve
from safetensors.torch import load_file

import scr3d
from scr3d.cli import main
from scr3d.errors import CheckpointError, ConfigError, OfflineError
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder, load_model
from scr3d.models.hub import is_hub_name, split_name, written_name

yaml = pytest.importorskip("yaml")
HEAD = Path(__file__).parents[2] / "examples" / "head-01.png"
FILES = ["README.md", "model.json", "weights.safetensors"]
PROVENANCE = {
    "version": "0.1.0",
    "images_seen": 1234,
    "validation": {"side_e2": 0.51, "mad_deg": 12.8, "coverage": 1.0},
    "training": {"data": "/home/someone/photos", "out": "/home/someone/runs/x", "start_from": "/home/someone/first"},
}


def own_model() -> scr3d.Model:
    torch.manual_seed(0)
    network = PhotoGeometricAutoencoder(ModelConfig(size=32, width=4, order="VDLA")).eval()
    return scr3d.Model(network, "mine", PROVENANCE)


def same_weights(one: scr3d.Model, other: scr3d.Model) -> bool:
    state = other.network.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.network.state_dict().items())


def test_a_saved_model_is_a_model_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = own_model()
    folder = model.save_pretrained(tmp_path / "new" / "heads", license="mit")
    assert sorted(path.name for path in folder.iterdir()) == FILES
    for loaded in (scr3d.Model.from_pretrained(folder), scr3d.load(str(folder))):
        assert same_weights(model, loaded)
        assert loaded.name == str(folder)
        assert loaded.provenance["validation"] == PROVENANCE["validation"]
    assert load_model(folder).config == model.config
    main(["describe", str(folder), "--json"])
    assert json.loads(capsys.readouterr().out)["structure"]["order"] == "VDLA"


def test_a_copy_of_the_shipped_model_still_finds_faces(tmp_path: Path) -> None:
    copy = scr3d.load(scr3d.load().save_pretrained(tmp_path / "copy"))
    assert copy.reconstruct(HEAD).sample.origin["kind"] == "face"
    assert copy.reconstruct(HEAD, crop="center").sample.origin["kind"] == "center"
    assert own_model().reconstruct(HEAD).sample.origin["kind"] == "center"
    assert "finds the face" in (tmp_path / "copy" / "README.md").read_text()
    options = [
        "reconstruct",
        str(HEAD),
        "--model",
        str(tmp_path / "copy"),
        "--only",
        "depth",
        "--out",
        str(tmp_path / "out"),
    ]
    main(options)
    assert json.loads((tmp_path / "out" / HEAD.stem / "factors.json").read_text())["crop"]["kind"] == "face"


def test_the_card_has_metadata_and_tells_what_is_known(tmp_path: Path) -> None:
    text = (own_model().save_pretrained(tmp_path / "heads", license="cc-by-4.0") / "README.md").read_text()
    _, metadata, card = text.split("---\n", 2)
    assert yaml.safe_load(metadata)["license"] == "cc-by-4.0"
    assert yaml.safe_load(metadata)["library_name"] == "scr3d"
    for words in ("dense, VDLA", "compact, width 4", "32 x 32", "1,234", "| SIDE (x 1e-2) | 0.510 |", '"heads"'):
        assert words in card
    none = scr3d.Model(own_model().network).save_pretrained(tmp_path / "bare") / "README.md"
    assert "license" not in none.read_text()
    assert "None are recorded" in none.read_text()


def test_paths_of_the_machine_of_training_stay_there(tmp_path: Path) -> None:
    folder = own_model().save_pretrained(tmp_path / "heads")
    assert "someone" not in "".join(path.read_text() for path in folder.iterdir() if path.suffix != ".safetensors")
    assert json.loads((folder / "model.json").read_text())["provenance"]["training"] == {"start_from": "first"}


def test_own_words_on_the_card_are_kept_and_weights_replaced(tmp_path: Path) -> None:
    folder = own_model().save_pretrained(tmp_path / "heads")
    (folder / "README.md").write_text("my own words")
    own_model().save_pretrained(folder, half=True)
    assert (folder / "README.md").read_text() == "my own words"
    assert {value.dtype for value in load_file(folder / "weights.safetensors").values()} == {torch.float16}
    assert [path.name for path in tmp_path.iterdir()] == ["heads"]


def test_folders_with_other_things_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"holds more than a model \(thesis.txt\)"):
        own_model().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        own_model().save_pretrained(tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", ["hf://me/heads", Path("hf://me/heads"), "hf:/me/heads"])
def test_names_on_the_hub_begin_with_hf(name: str | Path) -> None:
    assert is_hub_name(name)
    assert written_name(name) == "hf://me/heads"
    assert split_name(name) == ("me/heads", None)
    assert split_name(f"{name}@v1.0") == ("me/heads", "v1.0")


@pytest.mark.parametrize("name", ["hf://heads", "hf://me/heads/more", "hf://../heads", "hf://me/he ads", "hf://"])
def test_other_names_on_the_hub_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="owner/name"):
        scr3d.load(name)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    constants = pytest.importorskip("huggingface_hub.constants")
    hub, server = serve()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    yield hub
    server.shutdown()
    server.server_close()


def test_a_folder_is_never_looked_for_on_the_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own_model().push_to_hub("runs/mine", token=TOKEN)
    hub.requests.clear()
    for call in (scr3d.load, scr3d.Model.from_pretrained):
        with pytest.raises(CheckpointError, match=r"runs/mine holds no model: .* is written hf://runs/mine") as found:
            call("runs/mine")
        assert "\n" not in str(found.value)
    with pytest.raises(ConfigError, match="a revision and a token belong to hf://"):
        scr3d.Model.from_pretrained("runs/mine", revision="main")
    own_model().save_pretrained("runs/mine")
    assert scr3d.Model.from_pretrained("runs/mine").name == "runs/mine"
    assert hub.requests == []


def test_through_the_hub_and_back(hub: Hub, tmp_path: Path) -> None:
    model = own_model()
    address = model.push_to_hub("me/heads", license="mit", private=False, token=TOKEN)
    assert address.startswith(f"{hub.url}/me/heads/commit/")
    files = hub.files("me/heads")
    assert files is not None
    assert sorted(files) == FILES
    assert 'from_pretrained("hf://me/heads")' in files["README.md"].decode()
    assert "PUT object" in hub.requests  # the weights, by way of LFS
    loaded = scr3d.Model.from_pretrained("hf://me/heads")
    assert loaded.name == "hf://me/heads"
    assert same_weights(model, loaded)
    # A second version; the first by its commit. What is in the cache is not fetched again.
    with torch.no_grad():
        model.network.light_decoder.output.weight.add_(1)
    model.push_to_hub("hf://me/heads", token=TOKEN)
    assert same_weights(model, scr3d.load("hf://me/heads"))
    hub.requests.clear()
    first = hub.commits["me/heads"][1][0]
    assert same_weights(own_model(), scr3d.Model.from_pretrained("hf://me/heads", revision=first))
    assert hub.requests == []


def test_commands_take_names_on_the_hub(
    hub: Hub, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own_model().push_to_hub("me/heads", token=TOKEN)
    main(["evaluate", "hf://me/heads", "--data", str(heads), "--split", "val", "--limit", "4"])
    assert (tmp_path / "evaluation" / "val" / "scores.json").is_file()
    options = ["--model", "hf://me/heads", "--out", str(tmp_path / "out"), "--only", "arrays"]
    main(["reconstruct", str(HEAD), *options])
    assert json.loads((tmp_path / "out" / "head-01" / "factors.json").read_text())["model"] == "hf://me/heads"
    main(["describe", "hf://me/heads"])
    assert "VDLA" in capsys.readouterr().out


def test_refusals_of_the_hub_are_one_line(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_model().push_to_hub("me/heads-private", token=TOKEN)
    hub.commits["me/other"] = [("1" * 40, {"notes.txt": b""})]
    for call, message in (
        (lambda: scr3d.load("hf://me/none"), "there is no model hf://me/none, or it is private"),
        (lambda: scr3d.load("hf://me/heads-private"), "or it is private"),
        (lambda: scr3d.load("hf://me/other@v7"), "does not have this revision"),
        (lambda: scr3d.load("hf://me/other"), "hf://me/other holds no model"),
        (lambda: own_model().push_to_hub("me/new"), "hf://me/new"),
        (lambda: own_model().push_to_hub("heads", token=TOKEN), "owner/name"),
        (lambda: own_model().push_to_hub("me/heads@v1", token=TOKEN), "branch='v1'"),
    ):
        with pytest.raises((CheckpointError, ConfigError), match=message) as found:
            call()
        assert "\n" not in str(found.value)
    assert scr3d.Model.from_pretrained("hf://me/heads-private", token=TOKEN).size == 32


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "SCR3D_OFFLINE"])
def test_offline_what_was_fetched_is_used_and_the_rest_refused(hub: Hub, tmp_path: Path, variable: str) -> None:
    own_model().push_to_hub("me/heads", token=TOKEN)
    scr3d.load("hf://me/heads")
    hub.requests.clear()
    code = "import scr3d, sys; print(scr3d.load('hf://me/heads')); scr3d.load('hf://me/none')"
    places = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "cache"), variable: "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **places})
    assert done.stdout.splitlines()[-1] == "Model(name='hf://me/heads', size=32)"
    assert "hf://me/none is not on this machine yet" in done.stderr.splitlines()[-1]
    assert hub.requests == []


def test_a_hub_that_does_not_answer_is_one_line(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(CheckpointError, match="not on this machine yet, and the hub cannot be reached"):
        scr3d.load("hf://me/heads")
    with pytest.raises(CheckpointError, match=r"the hub does not do it for hf://me/heads: .*refused"):
        own_model().push_to_hub("me/heads", token=TOKEN)
    monkeypatch.setenv("SCR3D_OFFLINE", "1")
    with pytest.raises(OfflineError, match="uploading to hf://me/heads needs the network"):
        own_model().push_to_hub("me/heads", token=TOKEN)


def test_a_missing_extra_is_one_line() -> None:
    code = """
import sys
sys.modules["huggingface_hub"] = None
from scr3d.cli import main
main(["describe", "hf://me/heads"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("huggingface_hub: pip install 'scr3d[hub]'")
