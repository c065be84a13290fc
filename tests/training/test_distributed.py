"""Processes that train together: two of them compute what one does on the joined batch, and survive one another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from scr3d.causal import StructureKind
from scr3d.cli import START_AGAIN, USER_ERROR, main
from scr3d.data.dataset import Batch, open_dataset
from scr3d.errors import ConfigError
from scr3d.evaluation import EvaluateConfig, score_model
from scr3d.losses.features import squeezenet_features
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder, load_model
from scr3d.processes import ALONE, Group
from scr3d.training import validation
from scr3d.training.checkpoint import list_checkpoints
from scr3d.training.config import GraphConfig, MachineOptions, OptimiserConfig, TrainConfig
from scr3d.training.fabric import processes
from scr3d.training.graph import GraphLearner
from scr3d.training.joint import JointGradients
from scr3d.training.objective import TrainingObjective, Whole
from scr3d.training.parallel import BatchInParts
from scr3d.training.recipe import RECIPES, Recipe

ALL_TERMS = Recipe(
    rotation_penalty=2.0, light_penalty=1.0, relief_penalty=1.0, relief_start=0, relief_rampup=1, shape_penalty=5.0
)
IMAGES = 5
"""Over two processes: two images for one, three for the other."""
SEEN = 50_000
STEP = 3
TOLERANCE = 1e-9
SINGLE = {"coverage": 1e-6}
"""A share of pixels, counted in single precision."""


@dataclass(frozen=True)
class Case:
    """What is computed by one process and by two."""

    structure: StructureKind
    recipe: Recipe = ALL_TERMS
    masks: bool = False
    threads: int = 1
    graph: GraphConfig | None = None
    ordered: bool = True


CASES = {
    "independent": Case(StructureKind.INDEPENDENT, ordered=False),
    "dense": Case(StructureKind.DENSE),
    "dense, the papers' recipe": Case(StructureKind.DENSE, RECIPES["paper"]),
    "dense, with masks": Case(StructureKind.DENSE, replace(ALL_TERMS, masked=True), masks=True),
    "dense, in threads": Case(StructureKind.DENSE, replace(ALL_TERMS, masked=True), masks=True, threads=2),
    "dynamic": Case(StructureKind.DYNAMIC),
    "generic": Case(StructureKind.GENERIC, graph=GraphConfig(inner_steps=2), ordered=False),
    "generic, masked": Case(StructureKind.GENERIC, RECIPES["paper"], graph=GraphConfig(inner_steps=1)),
    "generic, autograd": Case(
        StructureKind.GENERIC, graph=GraphConfig(inner_steps=2, graph_gradient="autograd"), ordered=False
    ),
    "generic, first order": Case(StructureKind.GENERIC, graph=GraphConfig(graph_gradient="first-order"), ordered=False),
}


def images(seed: int, masks: bool) -> Batch:
    """Very different images and masks, so that means over parts are far from means over the batch."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.1, 1, IMAGES, dtype=torch.float64)[:, None, None, None]
    image = scale * torch.rand(IMAGES, 3, 32, 32, generator=generator, dtype=torch.float64)
    mask = (torch.rand(IMAGES, 32, 32, generator=generator, dtype=torch.float64) < scale[:, 0]).double()
    return Batch(image, None, mask if masks else None)


def compute(case: Case, group: Group) -> dict[str, torch.Tensor]:
    """Loss, logged values, gradients and the weights after one step, in float64."""
    torch.manual_seed(0)
    order = "VDLA" if case.ordered else None
    shape = ModelConfig(size=32, width=4, structure=case.structure, order=order, start_scale=3.0)
    objective = TrainingObjective(
        PhotoGeometricAutoencoder(shape).double(), squeezenet_features().double(), case.recipe
    )
    part = group.part(IMAGES)

    def joint(seed: int) -> Whole:
        return Whole(images(seed, case.masks)[part.chosen], part.across, part.weight)

    optimiser = torch.optim.Adam(
        [p for name, p in objective.model.named_parameters() if not name.startswith("structure.")], lr=1e-3
    )
    if case.graph is not None:
        return outer_step(case, objective, optimiser, joint, group)
    in_parts = BatchInParts(case.threads) if case.threads > 1 else None
    gradients = JointGradients(group, list(objective.model.parameters()), torch.Tensor.backward, in_parts)
    total, values = gradients.of(objective, joint(1), SEEN)
    found = {f"gradient {n}": p.grad.clone() for n, p in objective.model.named_parameters() if p.grad is not None}
    optimiser.step()
    if in_parts is not None:
        in_parts.close()
    return found | {"total": total.detach(), **values} | dict(objective.model.state_dict())


def outer_step(
    case: Case,
    objective: TrainingObjective,
    optimiser: torch.optim.Optimizer,
    joint: Callable[[int], Whole],
    group: Group,
) -> dict[str, torch.Tensor]:
    """One step of the graph, through the steps of the weights."""
    assert case.graph is not None
    clipped = OptimiserConfig(batch_size=IMAGES, weight_decay=0.01, gradient_clip=0.5)
    config = TrainConfig(Path(), Path(), objective.model.config, case.recipe, clipped, case.graph)
    learner = GraphLearner(config, objective.model, group)
    rates = [1e-3] * case.graph.inner_steps
    found = learner.outer_step(
        objective, optimiser, lambda number: (joint(1 + number), SEEN), (joint(9), SEEN), rates, STEP
    )
    assert found.finite
    numbers = {f"hypergradient {i}": g for i, g in enumerate(found.gradients)}
    numbers |= {f"loss {i}": value for i, value in enumerate(found.losses)}
    numbers |= {f"norm {i}": value for i, value in enumerate(found.norms)}
    return numbers | {"held out": found.held_out, "penalty": found.penalty, **objective.model.state_dict()}


def scores(heads: Path, group: Group) -> dict[str, torch.Tensor]:
    """Scalars of a validation and scores of an evaluation, over five blocks of images, the last one smaller."""
    torch.manual_seed(0)
    model = PhotoGeometricAutoencoder(ModelConfig(size=32, width=4, order="VDLA")).eval()
    data = open_dataset(heads, "val", 32, heads / "cache")
    with patch.object(validation, "EVALUATION_BATCH", 5):
        found = validation.validate(model, squeezenet_features(), data, Recipe(), 23, group)
        comparison, errors = score_model(model, data, EvaluateConfig(heads, limit=23), group)
    assert comparison is not None
    numbers = {name: torch.tensor(value) for name, value in found.items()}
    return numbers | {"side of images": comparison.depth.side, "errors of images": errors}


def work(rank: int, folder: Path, heads: Path) -> None:
    """One of two processes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    group = Group(rank, 2)
    found = {name: compute(case, group) for name, case in CASES.items()}
    torch.save(found | {"scores": scores(heads, group)}, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found_by_two(heads: Path, tmp_path_factory) -> list[dict[str, dict[str, torch.Tensor]]]:
    """What each of two real processes has computed."""
    folder = tmp_path_factory.mktemp("two")
    multiprocessing.spawn(work, (folder, heads), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_a_step_of_two_processes_is_that_of_one_on_the_joined_batch(found_by_two, name: str) -> None:
    expected = compute(replace(CASES[name], threads=1), ALONE)
    first, second = (found[name] for found in found_by_two)
    assert set(first) == set(expected)
    for key, value in expected.items():
        assert torch.equal(first[key], second[key]), key
        if value.is_floating_point() and float(value.norm()) > 1e-12:
            error = float((first[key] - value).norm() / value.norm())
            assert error < SINGLE.get(key, TOLERANCE), (key, error)


def test_scores_are_shared_and_have_the_bits_of_one_process(found_by_two, heads: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = scores(heads, ALONE)
    torch.set_num_threads(threads)
    assert len(expected["side of images"]) == 23
    for found in found_by_two:
        assert set(found["scores"]) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(found["scores"][name], value, rtol=0, atol=0, equal_nan=True, msg=name)


def arguments(heads: Path, out: Path, steps: int, **more: object) -> list[str]:
    """`scr3d train` on batches of five images, with a checkpoint every ten steps."""
    options = {
        "data": heads, "out": out, "size": 32, "width": 4, "order": "VDLA", "images": IMAGES * steps,
        "batch-size": IMAGES, "validate-every": IMAGES * 10, "validation-images": 20, "device": "cpu", "threads": 1,
    }  # fmt: skip
    return ["train", *(str(word) for name, value in (options | more).items() for word in (f"--{name}", value))]


def command(starter: Sequence[str], heads: Path, out: Path, steps: int, **more: object) -> subprocess.Popen:
    """Start a run in processes of its own."""
    words = [sys.executable, "-m", *starter, "scr3d.cli", *arguments(heads, out, steps, **more)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def torchrun(*options: str) -> list[str]:
    """The words that start two processes."""
    return ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", *options, "-m"]


def wait_for_checkpoint(run: subprocess.Popen, out: Path, seconds: float = 240) -> None:
    """Wait until a run has written one."""
    end = time.monotonic() + seconds
    while not list_checkpoints(out):
        if run.poll() is not None or time.monotonic() > end:
            run.kill()
            raise AssertionError(f"no checkpoint; code {run.returncode}: {run.communicate()[1]}")
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """Processes that a process has started, oldest first; those that serve their parent as trackers do not count."""
    found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [one for one in found if "scr3d.cli" in Path(f"/proc/{one}/cmdline").read_text()]


def scalars(run: Path) -> list[dict[str, Any]]:
    """Lines of the log of validations."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["group"] == "validation"]


@pytest.mark.slow
def test_the_same_command_under_torchrun_trains_the_same_model(heads: Path, tmp_path: Path) -> None:
    every_step = {"validate-every": IMAGES}
    main(arguments(heads, tmp_path / "one", 3, **every_step))
    run = command(torchrun(), heads, tmp_path / "two", 3, **every_step)
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors
    one, two = scalars(tmp_path / "one"), scalars(tmp_path / "two")
    assert [line["images"] for line in two] == [line["images"] for line in one] == [5, 10, 15]  # one has written, once
    # In single precision the first steps of Adam, which follow signs of gradients, enlarge any rounding from the second
    # step on: between one thread and two of one process as much as between two processes.
    for name in ("reconstruction", "side_e2", "mad_deg", "coverage"):
        assert two[0][name] == pytest.approx(one[0][name], rel=1e-3), name
        assert two[2][name] == pytest.approx(one[2][name], rel=0.05), name
    assert load_model(tmp_path / "two" / "last").config == load_model(tmp_path / "one" / "last").config


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes of a run in /proc")
def test_a_killed_worker_is_replaced_and_the_run_goes_on_from_its_checkpoint(heads: Path, tmp_path: Path) -> None:
    run = command(torchrun("--max-restarts", "1"), heads, tmp_path / "run", steps=60)
    wait_for_checkpoint(run, tmp_path / "run")
    os.kill(children(run.pid)[-1], signal.SIGKILL)
    _, errors = run.communicate(timeout=400)
    assert run.returncode == 0, errors
    assert "another process of the run has been lost" in errors
    seen = [line["images"] for line in scalars(tmp_path / "run")]
    assert sorted(set(seen)) == [IMAGES * step for step in (10, 20, 30, 40, 50, 60)]
    assert len(seen) <= 7  # it did not begin again; killed between validation and checkpoint, it validates once more


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes of a run in /proc")
def test_a_run_that_loses_a_process_says_so_and_goes_on_with_fewer(heads: Path, tmp_path: Path) -> None:
    run = command([], heads, tmp_path, steps=60, devices=2)
    wait_for_checkpoint(run, tmp_path)
    os.kill(children(run.pid)[-1], signal.SIGKILL)
    _, errors = run.communicate(timeout=300)
    assert run.returncode == START_AGAIN
    lines = [line for line in errors.splitlines() if line.startswith("scr3d: ")]
    assert len(lines) == 1
    assert "another process of the run has been lost" in lines[0]
    assert "the same command goes on" in lines[0]
    assert "Traceback" not in errors
    reached = int(list_checkpoints(tmp_path)[-1].name)
    assert reached >= 10
    main(arguments(heads, tmp_path, steps=60))
    assert scalars(tmp_path)[-1]["images"] == IMAGES * 60


@pytest.mark.slow
def test_a_fault_of_the_user_is_said_once_by_all_processes_together(heads: Path, tmp_path: Path) -> None:
    run = command([], tmp_path / "nothing", tmp_path / "run", steps=2, devices=2)
    _, errors = run.communicate(timeout=300)
    assert run.returncode == USER_ERROR
    assert [line.startswith("scr3d: expected a folder") for line in errors.splitlines() if "scr3d:" in line] == [True]
    assert "Traceback" not in errors


def test_a_started_number_of_processes_and_a_wanted_one_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert processes(MachineOptions()) == (1, 1)
    assert processes(MachineOptions(devices=2, nodes=3)) == (2, 3)
    for name, value in (("TORCHELASTIC_RUN_ID", "1"), ("LOCAL_WORLD_SIZE", "2"), ("WORLD_SIZE", "8")):
        monkeypatch.setenv(name, value)
    assert processes(MachineOptions()) == (2, 4)
    assert processes(MachineOptions(devices=2, nodes=4)) == (2, 4)
    with pytest.raises(ConfigError, match="torchrun has started 2 processes on each of 4 machines"):
        processes(MachineOptions(devices=3))


def test_slurm_says_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    for name, value in (("SLURM_NTASKS", "16"), ("SLURM_NNODES", "2"), ("SLURM_JOB_NAME", "train")):
        monkeypatch.setenv(name, value)
    assert processes(MachineOptions()) == (8, 2)
