import json

import pytest
import torch
from torch import nn

from scr3d.errors import CheckpointError
from scr3d.training.checkpoint import (
    KEPT,
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    optimiser_tensors,
    prune_checkpoints,
    restore_optimiser,
    save_checkpoint,
)


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    return model.to(memory_format=torch.channels_last)


def take_step(model: nn.Module, optimiser: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimiser.zero_grad()
    model(torch.randn(5, 3, 8, 8, generator=generator)).square().sum().backward()
    optimiser.step()


@pytest.fixture
def checkpoint():
    tensors = {"weight": torch.randn(3, 4), "count": torch.tensor(7), "codes": torch.arange(5, dtype=torch.uint8)}
    state = {"step": 12, "best_loss": 0.1 + 0.2, "config": {"rate": 1e-3}, "note": None}
    return Checkpoint(state, {"model": tensors, "optimiser": {}})


@pytest.fixture
def folder(checkpoint, tmp_path):
    save_checkpoint(tmp_path / "checkpoints" / "000000012", checkpoint)
    return tmp_path / "checkpoints" / "000000012"


def test_what_is_saved_is_loaded(checkpoint, folder):
    loaded = load_checkpoint(folder)
    assert loaded.state == checkpoint.state
    assert set(loaded.tensors) == {"model", "optimiser"}
    for name, value in checkpoint.tensors["model"].items():
        found = loaded.tensors["model"][name]
        assert found.dtype == value.dtype
        assert torch.equal(found, value)


def test_saving_again_replaces(checkpoint, folder):
    save_checkpoint(folder, Checkpoint({"step": 13}, {}))
    assert load_checkpoint(folder).state == {"step": 13}
    assert [path.name for path in folder.parent.iterdir()] == ["000000012"]


def test_an_error_while_saving_leaves_the_old_checkpoint(checkpoint, folder):
    with pytest.raises(TypeError):
        save_checkpoint(folder, Checkpoint({"step": object()}, {"model": {"weight": torch.ones(2)}}))
    assert load_checkpoint(folder).state == checkpoint.state
    assert list_checkpoints(folder.parent.parent) == [folder]


def test_views_and_shared_memory_are_saved_by_value(tmp_path):
    whole = torch.arange(12.0).view(3, 4)
    save_checkpoint(tmp_path / "1", Checkpoint({}, {"model": {"row": whole[1], "turned": whole.T}}))
    tensors = load_checkpoint(tmp_path / "1").tensors["model"]
    assert torch.equal(tensors["row"], whole[1])
    assert torch.equal(tensors["turned"], whole.T)


def flip_a_bit(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def edit(folder, change):
    path = folder / "state.json"
    state = json.loads(path.read_text())
    change(state)
    path.write_text(json.dumps(state))


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        cut,
        lambda f: (f / "model.safetensors").unlink(),
        lambda f: (f / "state.json").unlink(),
        lambda f: (f / "state.json").write_text("{"),
        lambda f: (f / "state.json").write_bytes(b"\xff\xfe"),
        lambda f: (f / "state.json").write_text("[]"),
        lambda f: (f / "state.json").write_text("3"),
        lambda f: edit(f, lambda s: s.update(version=99)),
        lambda f: edit(f, lambda s: s.pop("version")),
        lambda f: edit(f, lambda s: s.pop("sha256")),
        lambda f: edit(f, lambda s: s.update(sha256=[])),
        lambda f: edit(f, lambda s: s.update(step=13)),
        lambda f: edit(f, lambda s: s["config"].update(rate=2e-3)),
        lambda f: edit(f, lambda s: s["sha256"].update(other="0")),
        lambda f: edit(f, lambda s: s["sha256"].update({"../../secret": "0"})),
    ],
)
def test_damaged_checkpoints_are_refused(folder, damage):
    damage(folder)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_checkpoint_from_before_the_digest_of_its_state_is_read(checkpoint, folder):
    edit(folder, lambda s: s["sha256"].pop("state"))
    assert load_checkpoint(folder).state == checkpoint.state


def test_the_newest_checkpoints_are_listed_last_and_kept(tmp_path):
    for step in (5, 100, 20, 3):
        save_checkpoint(tmp_path / "checkpoints" / f"{step:09d}", Checkpoint({"step": step}, {}))
    (tmp_path / "checkpoints" / ".partial-000000200").mkdir()
    (tmp_path / "checkpoints" / "notes.txt").write_text("mine")
    assert [int(path.name) for path in list_checkpoints(tmp_path)] == [3, 5, 20, 100]
    prune_checkpoints(tmp_path)
    left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert left == ["000000020", "000000100", "notes.txt"]
    assert KEPT == 2


def test_a_run_without_checkpoints(tmp_path):
    assert list_checkpoints(tmp_path) == []
    prune_checkpoints(tmp_path)


def test_an_optimiser_goes_on_exactly_as_if_nothing_had_happened(tmp_path):
    def optimiser_of(model):
        return torch.optim.Adam(model.parameters(), lr=1e-2)

    model = network()
    optimiser = optimiser_of(model)
    for seed in range(3):
        take_step(model, optimiser, seed)
    tensors = {"model": dict(model.state_dict()), "optimiser": optimiser_tensors(model, optimiser)}
    save_checkpoint(tmp_path / "3", Checkpoint({}, tensors))
    loaded = load_checkpoint(tmp_path / "3")

    resumed = network()
    resumed.load_state_dict(loaded.tensors["model"])
    resumed_optimiser = optimiser_of(resumed)
    restore_optimiser(resumed, resumed_optimiser, loaded.tensors["optimiser"])
    for seed in range(3, 6):
        take_step(model, optimiser, seed)
        take_step(resumed, resumed_optimiser, seed)
    for expected, found in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(expected, found)


def test_restored_moments_have_the_memory_format_of_their_weights():
    model = network()
    optimiser = torch.optim.Adam(model.parameters())
    take_step(model, optimiser, 0)
    tensors = {name: value.contiguous() for name, value in optimiser_tensors(model, optimiser).items()}
    fresh = torch.optim.Adam(model.parameters())
    restore_optimiser(model, fresh, tensors)
    weight = model[0].weight
    assert fresh.state[weight]["exp_avg"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "tensors",
    [
        {"9.weight|exp_avg": torch.zeros(2)},
        {"9.weight|step": torch.tensor(1.0)},
        {"0.weight|exp_avg": torch.zeros(4, 3, 5, 5)},
        {"0.weight|exp_avg": torch.tensor(1.0)},
        {"0.weight|step": torch.zeros(2)},
        {"0.weight|momentum": torch.tensor(1.0)},
    ],
)
def test_the_state_of_another_model_is_refused(tensors):
    model = network()
    with pytest.raises(CheckpointError, match="the model has not"):
        restore_optimiser(model, torch.optim.Adam(model.parameters()), tensors)


@pytest.mark.parametrize("quantity", ["step", "exp_avg", "exp_avg_sq"])
def test_half_a_state_is_refused(quantity):
    model = network()
    optimiser = torch.optim.Adam(model.parameters())
    take_step(model, optimiser, 0)
    tensors = optimiser_tensors(model, optimiser)
    del tensors[f"0.weight|{quantity}"]
    with pytest.raises(CheckpointError, match=r"the optimiser state of 0\.weight is not whole"):
        restore_optimiser(model, torch.optim.Adam(model.parameters()), tensors)
