"""Messages about memory: what they say, and that following them works, under a real limit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scr3d.errors import MemoryLimitError
from scr3d.memory import available_bytes, limits
from scr3d.out_of_memory import SHARE, Need, Work, advice, advised, is_out_of_memory, measure_need, peak_bytes

UNDER_A_LIMIT = """
import resource, sys
import torch.profiler
from scr3d.cli import main
from scr3d.memory import address_space_bytes
from scr3d.rendering._kernels import start_warp

start_warp()  # its libraries take address space of their own
limit = address_space_bytes() + int(sys.argv[1]) * 10**6
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
main(sys.argv[2:])
"""
MIB = 2**20


def work(need: Need | None = None, batch_size: int = 64, option: str = "--batch-size") -> Work:
    def measured() -> Need:
        if need is None:
            raise MemoryError
        return need

    return Work("a step", batch_size, option, measured, "buy memory")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
            True,
        ),
        (RuntimeError("the sizes of tensors must match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_is_lack_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_real_lack_of_memory_is_known_as_such() -> None:
    with pytest.raises(MemoryLimitError, match="--batch-size"), advised(work(Need(0, 1e8), 10**9)):
        torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="something else"), advised(work()):
        raise RuntimeError("something else")


@pytest.mark.parametrize(
    ("need", "free", "text"),
    [
        (
            Need(1e8, 1e8),
            int(5e9),
            "out of memory: a step of 64 images takes about 6.5 GB, 5.0 GB were free; --batch-size 32 fits",
        ),
        (
            Need(0, 1e9),
            int(1e9),
            "out of memory: a step of 64 images takes about 64.0 GB, 1.0 GB were free; buy memory",
        ),
        (Need(0, 1e6), int(1e9), "which others may have taken meanwhile; --batch-size 32 fits"),
        (Need(0, 1e9), None, "takes 64.0 GB; --batch-size 32 fits"),
        (None, int(1e9), "out of memory: a step of 64 images does not fit, nor does one of 8; buy memory"),
    ],
)
def test_what_is_said(need: Need | None, free: int | None, text: str) -> None:
    assert advice(work(need), free).endswith(text)
    assert "\n" not in advice(work(need), free)


def test_peaks_are_counted() -> None:
    def twice() -> None:
        for _ in range(2):
            torch.empty(10 * MIB, dtype=torch.uint8)

    assert 10 * MIB <= peak_bytes(twice) < 10.1 * MIB


def test_needs_are_those_of_the_images() -> None:
    need = measure_need(lambda images: torch.empty((50 + 3 * images) * MIB, dtype=torch.uint8), fixed_bytes=MIB)
    assert need.image_bytes == pytest.approx(3 * MIB, rel=0.01)
    assert need.fixed_bytes == pytest.approx(51 * MIB, rel=0.01)
    assert need.fitting(need.of(100) / SHARE) == pytest.approx(100, abs=1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limits of other systems are not known")
def test_limits_of_the_machine_and_the_shell() -> None:
    assert available_bytes() == min(free for _, free in limits())
    script = "ulimit -v 8000000; exec $0 -c 'from scr3d.memory import limits; print(dict(limits())[\"ulimit -v\"])'"
    done = subprocess.run(["bash", "-c", script, sys.executable], capture_output=True, text=True)
    assert 5e9 < int(done.stdout) < 8.192e9


def under_a_limit(megabytes: int, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", UNDER_A_LIMIT, str(megabytes), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def many_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from scr3d.data.heads import HeadsConfig, generate

    root = tmp_path_factory.mktemp("heads")
    for split, count in (("train", 1024), ("val", 16), ("test", 1024)):
        generate(HeadsConfig(split=split, count=count, size=32), root, progress=lambda done, count: None)
    return root


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not keep to the limit")
def test_a_training_that_follows_the_advice_fits(many_heads: Path, tmp_path: Path) -> None:
    options = ["train", "--data", many_heads, "--size", 32, "--order", "ADLV", "--threads", 1, "--images", 1024]
    failed = under_a_limit(1300, *options, "--out", tmp_path / "first", "--batch-size", 1024)
    assert failed.returncode == 2, failed.stderr
    assert "warning: a step of 1024 images is likely to need" in failed.stdout
    line = failed.stderr.strip().splitlines()[-1]
    found = re.search(
        r"takes about [\d.]+ [GM]B, [\d.]+ [GM]B were free; in another --out, --batch-size (\d+) fits$", line
    )
    assert found is not None, failed.stderr
    batch = int(found[1])
    assert 64 < batch < 1024
    done = under_a_limit(1300, *options, "--out", tmp_path / "second", "--batch-size", batch)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not keep to the limit")
def test_an_evaluation_that_follows_the_advice_fits(many_heads: Path, tmp_path: Path) -> None:
    from scr3d.models import ModelConfig, PhotoGeometricAutoencoder
    from scr3d.models.io import save_model

    save_model(tmp_path / "model", PhotoGeometricAutoencoder(ModelConfig(size=32, order="ADLV")), {})
    options = ["evaluate", tmp_path / "model", "--data", many_heads, "--threads", 1, "--out", tmp_path / "scores"]
    failed = under_a_limit(450, *options, "--batch-size", 1024)
    assert failed.returncode == 2, failed.stderr
    found = re.search(r"--batch-size (\d+) fits$", failed.stderr.strip())
    assert found is not None, failed.stderr
    done = under_a_limit(450, *options, "--batch-size", found[1])
    assert done.returncode == 0, done.stderr
