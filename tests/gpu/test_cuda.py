"""Everything once on a GPU, against the CPU; skipped where there is none."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import scr3d
from scr3d.causal import StructureKind
from scr3d.cli import main
from scr3d.data.heads import HeadsConfig
from scr3d.data.heads.samples import sample
from scr3d.factors import Light, View
from scr3d.fused.dispatch import plain
from scr3d.geometry import Camera, DepthRange
from scr3d.models import ModelConfig, load_model
from scr3d.rendering import light_surface, render
from scr3d.rendering.heightfield import bilinear_by_entries, visible_triangles
from scr3d.training.config import MachineOptions, OptimiserConfig, TrainConfig
from scr3d.training.trainer import Trainer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

CAMERA = Camera(64, 64)
STRUCTURES: dict[str, dict[str, Any]] = {
    "independent": {"structure": StructureKind.INDEPENDENT},
    "dense": {"structure": StructureKind.DENSE, "order": "ADLV"},
    "generic": {"structure": StructureKind.GENERIC},
    "dynamic": {"structure": StructureKind.DYNAMIC, "order": "ADLV"},
}


@pytest.fixture(autouse=True)
def whole_float32() -> Iterator[None]:
    """Products in full float32: by default convolutions on a GPU round their factors to 10 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def surface(images: int = 8) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Smooth heads of a sort: depth, texture, angles and shifts."""
    generator = torch.Generator().manual_seed(0)
    x = torch.linspace(-1, 1, 64)
    width = 0.3 + 0.3 * torch.rand(images, 1, 1, generator=generator)
    depth = 1.05 - 0.12 * (-(x[None, None, :] ** 2 + x[None, :, None] ** 2) / width).exp()
    texture = torch.rand(images, 3, 64, 64, generator=generator)
    turn = 0.3 * torch.randn(images, 3, generator=generator)
    return depth, texture, turn, 0.02 * torch.randn(images, 3, generator=generator)


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found.cpu().double() - wanted.double()).norm() / wanted.double().norm())


def rendered(device: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """An image of a lit surface and the gradient of its sum of squares by everything."""
    depth, texture, turn, shift = (x.to(device, dtype).requires_grad_() for x in surface())
    slopes = torch.full((len(depth), 2), 0.3, device=device, dtype=dtype)
    ones = torch.ones(len(depth), device=device, dtype=dtype)
    _, _, image = light_surface(depth, texture, Light.from_slopes(0.4 * ones, 0.6 * ones, slopes), CAMERA)
    seen = render(depth, View(turn, shift), image, CAMERA, DepthRange(), continued=True)
    weight = torch.linspace(0, 1, seen.image.numel(), device=device, dtype=dtype).view_as(seen.image)
    gradients = torch.autograd.grad(
        (seen.image * weight).sum() + seen.depth.square().sum(), (depth, texture, turn, shift)
    )
    return [seen.image.detach(), seen.depth.detach(), *gradients]


def test_the_renderer_and_its_gradients() -> None:
    with plain():
        wanted = rendered("cpu")
    for name, found, expected in zip(
        ("image", "depth", "d depth", "d texture", "d turn", "d shift"), rendered("cuda"), wanted, strict=True
    ):
        assert found.is_cuda
        assert relative(found, expected) < 5e-3, name  # a few pixels on an occluding edge fall to the other side


def test_visibility_is_the_same_every_time() -> None:
    depth, _, turn, shift = (x.cuda() for x in surface(64))
    first = visible_triangles(depth, View(turn, shift), CAMERA)
    for _ in range(5):
        assert torch.equal(visible_triangles(depth, View(turn, shift), CAMERA), first)
    on_cpu = visible_triangles(depth.cpu(), View(turn.cpu(), shift.cpu()), CAMERA)
    assert (first.cpu() == on_cpu).float().mean() > 0.999


def test_second_derivatives() -> None:
    depth, texture, turn, shift = (x.cuda().requires_grad_() for x in surface(2))
    seen = render(depth, View(turn, shift), texture, CAMERA, DepthRange())
    first = torch.autograd.grad(seen.image.square().sum(), (depth, turn), create_graph=True)
    second = torch.autograd.grad(sum(x.square().sum() for x in first), (depth, texture))
    assert all(bool(x.isfinite().all()) and float(x.abs().sum()) > 0 for x in second)


def test_texture_looked_up_by_entries() -> None:
    _, texture, _, _ = surface(4)
    texture = texture.cuda().requires_grad_()
    pixels = (70 * torch.rand(4, 64, 64, 2, device="cuda") - 3).requires_grad_()
    grid = pixels * (2 / 63) - 1
    wanted = torch.nn.functional.grid_sample(texture, grid, padding_mode="border", align_corners=True)
    found = bilinear_by_entries(texture, pixels)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), (texture, pixels)),
        torch.autograd.grad(wanted.square().sum(), (texture, pixels)),
        strict=True,
    ):
        assert relative(one, other.cpu()) < 1e-3


def test_heads() -> None:
    config = HeadsConfig(split="val", size=32)
    here, there = sample(config, np.arange(32)), sample(config, np.arange(32), "cuda")
    assert (here.image - there.image.cpu()).abs().mean() < 1e-4


def training(heads: Path, out: Path, structure: str = "dense", device: str = "cuda", **changes: Any) -> TrainConfig:
    model = ModelConfig(size=32, width=8, **STRUCTURES[structure])
    options = {"images": 64, "validate_every": 32, "validation_images": 12, "keep_going": True} | changes
    return TrainConfig(
        data=heads, out=out, model=model, optimiser=OptimiserConfig(batch_size=8), device=device, threads=1, **options
    )


@pytest.mark.parametrize("structure", STRUCTURES)
def test_training_begins_as_on_the_cpu(heads: Path, tmp_path: Path, structure: str) -> None:
    """Later losses differ more and more, as rounding is amplified."""
    here, there = (
        Trainer(training(heads, tmp_path / device, structure, device)).train_step() for device in ("cpu", "cuda")
    )
    assert here.keys() == there.keys()
    assert there["total"] == pytest.approx(here["total"], rel=1e-3)
    assert there["gradient"] == pytest.approx(here["gradient"], rel=5e-2)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_run_to_its_end_and_on(heads: Path, tmp_path: Path, precision: str) -> None:
    whole = Trainer(training(heads, tmp_path / "whole", precision=precision)).run()
    Trainer(training(heads, tmp_path / "parts", precision=precision)).run(until=32)
    parts = Trainer(training(heads, tmp_path / "parts", precision=precision))
    assert parts.images_seen == 32
    found = parts.run()
    assert found["reconstruction"] == pytest.approx(whole["reconstruction"], rel=0.05)
    assert math.isfinite(found["side_e2"])
    on_cpu = load_model(tmp_path / "parts" / "last")
    assert all(x.device.type == "cpu" for x in on_cpu.state_dict().values())


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_deterministic_runs_and_their_resumption(heads: Path, tmp_path: Path, cuda_graph: bool) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    machines = MachineOptions(cuda_graph=cuda_graph)

    def weights(name: str) -> dict[str, Tensor]:
        return load_model(tmp_path / name / "last").state_dict()

    try:
        for name in ("whole", "again"):
            Trainer(training(heads, tmp_path / name, deterministic=True), machines).run()
        Trainer(training(heads, tmp_path / "parts", deterministic=True), machines).run(until=32)
        Trainer(training(heads, tmp_path / "parts", deterministic=True), machines).run()
    finally:
        torch.use_deterministic_algorithms(False)
    first = weights("whole")
    for name in ("again", "parts"):
        other = weights(name)
        assert all(torch.equal(first[key], other[key]) for key in first), name


def test_a_settled_graph_in_a_recorded_step(heads: Path, tmp_path: Path) -> None:
    config = training(heads, tmp_path / "run", "generic", images=96)
    config = replace(config, graph=replace(config.graph, inner_steps=1, plain_steps=1))
    Trainer(config).run()
    assert load_model(tmp_path / "run" / "last").structure.settled


def test_reconstruction_and_interventions_as_on_the_cpu(tmp_path: Path) -> None:
    head = sample(HeadsConfig(split="val", size=64), np.arange(1))
    path = tmp_path / "head.png"
    pixels = (head.image[0].movedim(0, -1).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(pixels).resize((128, 128)).save(path)
    here, there = scr3d.load(), scr3d.load(device="cuda")
    first, second = here.reconstruct(path, crop="center"), there.reconstruct(path, crop="center")
    assert relative(second.canonical_depth, first.canonical_depth) < 1e-4
    assert relative(second.albedo, first.albedo) < 1e-3
    lights = {"x": 0.5, "ambient": 0.2, "diffuse": 0.8}
    assert relative(second.relight(**lights), first.relight(**lights)) < 2e-2
    second.export(tmp_path / "head.glb")
    assert (tmp_path / "head.glb").stat().st_size > 1000
    changed = [model.intervene(path, set="view=yaw:20", crop="center") for model in (here, there)]
    assert relative(changed[1].after.image, changed[0].after.image) < 2e-2
    refined = there.reconstruct(path, crop="center", refine=5)
    assert bool(refined.depth.isfinite().all())


def test_commands(heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    common = ["--data", str(heads), "--device", "cuda"]
    main(["train", *common, "--out", str(run), "--order", "ADLV", "--size", "32", "--width", "4", "--images", "64",
          "--batch-size", "8", "--validate-every", "64", "--keep-going"])  # fmt: skip
    main(
        [
            "evaluate",
            str(run),
            "--data",
            str(heads),
            "--split",
            "val",
            "--device",
            "cuda",
            "--out",
            str(tmp_path / "scores"),
        ]
    )
    main(
        [
            "data",
            "heads",
            "--split",
            "val",
            "--count",
            "8",
            "--size",
            "32",
            "--out",
            str(tmp_path / "made"),
            "--device",
            "cuda",
        ]
    )
    main(["doctor", "--device", "cuda"])
    assert torch.cuda.get_device_name() in capsys.readouterr().out


def test_a_batch_too_large_says_what_fits(heads: Path, tmp_path: Path) -> None:
    code = (
        "import sys, torch\n"
        "from scr3d.cli import main\n"
        "free = torch.cuda.mem_get_info()[1]\n"
        "torch.cuda.set_per_process_memory_fraction(3e8 / free)\n"
        "main(sys.argv[1:])\n"
    )
    options = ["train", "--data", str(heads), "--device", "cuda", "--out", str(tmp_path / "run"), "--order", "ADLV",
               "--size", "32", "--images", "8192", "--batch-size", "4096"]  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "--batch-size" in done.stderr


@pytest.mark.slow
def test_torchrun_with_nccl(heads: Path, tmp_path: Path) -> None:
    options = ["train", "--data", str(heads), "--device", "cuda", "--out", str(tmp_path / "run"), "--order", "ADLV",
               "--size", "32", "--width", "4", "--images", "64", "--batch-size", "8", "--keep-going"]  # fmt: skip
    count = str(torch.cuda.device_count())
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        count,
        "-m",
        "scr3d.cli",
    ]
    done = subprocess.run([*launch, *options], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "last").is_dir()


@pytest.mark.parametrize("preset", ["compact", "reference"])
def test_the_step_is_measured_as_on_the_cpu(preset: str, tmp_path: Path) -> None:
    """The benchmark of the step: every structure, in float32 and in bf16, against the GPU's own rates."""
    script = Path(__file__).parents[2] / "benchmarks" / "step.py"
    out = tmp_path / "step.json"
    options = ["--device", "cuda", "--presets", preset, "--sizes", "32", "--batch", "8", "--parts", "0"]
    rounds = ["--repeats", "2", "--reference-repeats", "2", "--out", str(out)]
    subprocess.run([sys.executable, str(script), *options, *rounds], check=True, timeout=900)
    results = json.loads(out.read_text(encoding="utf-8"))["results"]
    precisions = ["float32"] + ["bf16"] * torch.cuda.is_bf16_supported(including_emulation=False)
    names = {f"{preset} 32 {structure} {precision}" for structure in STRUCTURES for precision in precisions}
    assert set(results["steps"]) == names
    for step in results["steps"].values():
        assert 0 < step["of_least"] <= 1
        assert step["images_per_s"] > 0
