"""`scr3d doctor` on whole and on broken installations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from scr3d.cli import main
from scr3d.doctor import compute, content, environment, machine, packages
from scr3d.doctor.findings import Finding, Level, Report
from scr3d.files import read_json
from scr3d.models import load_model, shipped_model

ROOT = Path(__file__).parents[2]


def by_part(findings: list[Finding], part: str) -> Finding:
    (found,) = [finding for finding in findings if finding.part == part]
    return found


def doctor(*args: object, hidden: dict[str, str] | None = None, folder: Path, **variables: str) -> dict:
    """The report of a process of its own, in which some packages raise what is given when they are imported."""
    for name, raised in (hidden or {}).items():
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(raised)
    done = subprocess.run(
        [sys.executable, "-m", "scr3d.cli", "doctor", "--json", *map(str, args)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), **variables},
    )
    assert "Traceback" not in done.stderr, done.stderr
    report = json.loads(done.stdout)
    assert done.returncode == report["exit_code"], done.stderr
    return report


def faults(report: dict) -> dict[str, dict]:
    return {found["part"]: found for found in report["findings"] if found["level"] == "fault"}


def test_a_whole_installation_is_in_order(capsys: pytest.CaptureFixture[str], heads: Path) -> None:
    main(["doctor", "--data", str(heads)])
    text = capsys.readouterr().out
    assert "of the example as expected" in text
    assert "48 images of 32 pixels" in text
    for word in ("instruction sets", "kernel cache", "torch", "warp-lang", "memory", "disk"):
        assert word in text


def test_the_expectation_is_that_of_the_shipped_model() -> None:
    """After another model is shipped: python tools/doctor_expectation.py."""
    assert content._checksum(shipped_model()).level is Level.FINE
    expected = read_json(content.EXPECTATION)["reconstruction"]
    found = content.summary(content.explain_example(load_model()))
    assert found.keys() == expected.keys()
    for name in expected:
        assert np.abs(np.subtract(found[name], expected[name])).max() < content.TOLERANCE
    # A head that is no other: an expectation of constants would say nothing.
    assert np.ptp(expected["canonical_depth"]) > 0.02


@pytest.mark.parametrize(
    ("package", "raised", "part"),
    [
        ("torch", "raise ImportError('libtorch_cpu.so: cannot open shared object file')", "packages: torch"),
        pytest.param("warp", "raise RuntimeError('it is broken')", "packages: warp-lang", marks=pytest.mark.slow),
        pytest.param("numpy", "raise ImportError('no numpy here')", "packages: numpy", marks=pytest.mark.slow),
    ],
)
def test_a_broken_package_is_named_with_what_to_do(package: str, raised: str, part: str, tmp_path: Path) -> None:
    report = doctor(hidden={package: raised}, folder=tmp_path)
    found = faults(report)
    assert report["exit_code"] == 1
    assert raised.split("'")[1] in found[part]["value"]
    assert found[part]["advice"].startswith("pip install --force-reinstall ")
    assert found["model: shipped"]["advice"] == "mend the faults above first"
    assert all(one["advice"] and "\n" not in one["advice"] + one["value"] for one in found.values())


def test_a_missing_package_or_one_of_another_version_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "numpy>=99",
        "no-such-package>=2.1",
        "trimesh>=4.5",
        "viser<1.2,>=1.1; extra == 'studio'",
        "pytest; extra == 'test'",
    ]
    monkeypatch.setattr(packages, "requires", lambda name: [*lines, "nothing-there>=1 ; extra == 'hub'"])
    found = packages.findings()
    assert by_part(found, "packages: no-such-package") == Finding(
        "packages: no-such-package", "missing", Level.FAULT, "pip install 'no-such-package>=2.1'"
    )
    assert by_part(found, "packages: numpy").level is Level.FAULT
    assert "needed is >=99" in by_part(found, "packages: numpy").value
    assert by_part(found, "packages: trimesh").level is Level.FINE
    missing = by_part(found, "extras: hub")
    assert (missing.level, missing.value) == (
        Level.FINE,
        "not installed: nothing-there; for it: pip install 'scr3d[hub]'",
    )
    assert not [finding for finding in found if finding.part == "extras: test"]


def test_everything_that_is_needed_is_looked_at() -> None:
    """What the installation says is what pyproject.toml says."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    matches = [packages.REQUIREMENT.match(line) for line in project["dependencies"]]
    names = [match["name"] for match in matches if match is not None]
    assert len(names) == len(project["dependencies"])
    for name in names:
        assert packages._always(packages.Need(name, "", "")).level is Level.FINE, name


def test_a_damaged_model_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for file in shipped_model().iterdir():
        (tmp_path / "model" / file.name).write_bytes(file.read_bytes()[:-1000])
    (found,) = content.model_findings(tmp_path / "model", "cpu")
    assert found.level is Level.FAULT
    assert found.advice
    (found,) = content.model_findings(tmp_path, "cpu")
    assert "holds no model" in found.value


def test_another_shipped_model_than_published_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"another")
    assert content._checksum(tmp_path).level is Level.FAULT
    assert content._checksum(tmp_path / "nothing").level is Level.FAULT


def test_wrong_kernels_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_model()
    right = content.summary(content.explain_example(network))
    wrong = {**right, "image": [value + 0.01 for value in right["image"]]}
    monkeypatch.setattr(content, "summary", lambda result: wrong)
    assert "differs by 0.01" in content._reconstruction(network, shipped=True).value
    broken = {**right, "image": [float("nan")]}
    monkeypatch.setattr(content, "summary", lambda result: broken)
    assert content._reconstruction(network, shipped=False).level is Level.FAULT


def test_data_of_every_kind(heads: Path, tmp_path: Path) -> None:
    found = content.data_findings(heads)
    assert [finding.part for finding in found] == ["data: train", "data: val"]
    (one,) = content.data_findings(ROOT / "examples")
    assert one.value.startswith("8 photos")
    main(["data", "shards", str(heads), "--out", str(tmp_path / "shards"), "--shard-images", "20"])
    shards = content.data_findings(tmp_path / "shards")
    assert [finding.value for finding in shards] == [
        "3 shards, 48 images of 32 pixels",
        "2 shards, 24 images of 32 pixels",
    ]
    for broken in (tmp_path / "nothing", tmp_path):
        (one,) = content.data_findings(broken)
        assert one.level is Level.FAULT
        assert one.advice


def test_a_cut_store_is_a_fault(heads: Path, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for file in (heads / "train").iterdir():
        (tmp_path / "train" / file.name).write_bytes(file.read_bytes())
    (only,) = content.data_findings(tmp_path)
    assert only.level is Level.WARNING
    (tmp_path / "train" / "image.npy").write_bytes(b"\x93NUMPY")
    (cut,) = content.data_findings(tmp_path)
    assert cut.level is Level.FAULT


def test_a_gpu_that_is_not_seen_comes_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(compute, "_driver", lambda: "NVIDIA 570.1")
    monkeypatch.setattr(compute, "_torch_gpu", lambda given: "")
    monkeypatch.setattr(compute, "_warp_gpu", lambda given: "")
    monkeypatch.setattr(torch.version, "cuda", None)
    found = compute._gpu(torch, object(), "cpu")
    assert by_part(found, "compute: PyTorch sees").level is Level.WARNING
    assert "PyTorch's build for CPUs" in by_part(found, "compute: PyTorch sees").advice
    assert "update it" in by_part(found, "compute: Warp sees").advice
    assert by_part(compute._gpu(torch, None, "cuda"), "compute: PyTorch sees").level is Level.FAULT
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "hides the GPUs" in by_part(compute._gpu(torch, None, "cuda"), "compute: PyTorch sees").advice


def test_a_kernel_cache_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    warp = type("Warp", (), {"config": type("Config", (), {"kernel_cache_dir": str(file / "warp")})})
    (found,) = compute._kernels(warp)
    assert found.level is Level.FAULT
    assert "WARP_CACHE_PATH" in found.advice


def test_little_memory_and_disk_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "limits", lambda: [("container", 10**9)])
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10**8}))
    monkeypatch.setenv("TMPDIR", "/nothing/there")
    found = machine.findings()
    assert by_part(found, "machine: memory (container)").level is Level.WARNING
    assert by_part(found, "machine: disk (here)").level is Level.WARNING


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    assert by_part(environment.findings(), "environment: HF_TOKEN").value == "set"


def test_warnings_alone_are_no_failure() -> None:
    assert Report((Finding("a: b", "c", Level.WARNING, "do"),)).exit_code == 0
    assert Report((Finding("a: b", "c", Level.FAULT, "do"),)).exit_code == 1
    assert "1 warning" in Report((Finding("a: b", "c", Level.WARNING, "do"),)).text()


def test_the_tool_writes_what_is_compared() -> None:
    specification = spec_from_file_location("doctor_expectation", ROOT / "tools" / "doctor_expectation.py")
    assert specification is not None
    assert specification.loader is not None
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    assert module.EXPECTATION == content.EXPECTATION
