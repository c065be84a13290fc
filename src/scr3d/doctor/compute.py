"""What computes: PyTorch, Warp, the GPU, and the kernels that are compiled for this machine."""

from __future__ import annotations

import os
from pathlib import Path

from scr3d.doctor.findings import Finding, Level, first_line

DRIVER_FILE = Path("/proc/driver/nvidia/version")
FEW_BYTES = 2**28
"""Disk space that the kernel cache may need."""


def findings(device: str) -> list[Finding]:
    """Threads, GPU and kernels; where torch or Warp cannot be imported, that is said elsewhere."""
    found = []
    try:
        import torch
    except Exception:
        torch = None  # type: ignore[assignment]
    else:
        capability = torch.backends.cpu.get_cpu_capability()
        found.append(Finding("compute: threads", f"{torch.get_num_threads()} on the CPU, kernels for {capability}"))
    try:
        import warp

        from scr3d.rendering._kernels import start_warp

        start_warp()
    except Exception:
        warp = None  # type: ignore[assignment]
    found += _gpu(torch, warp, device)
    return found + (_kernels(warp) if warp is not None else [])


def _gpu(torch: object, warp: object, device: str) -> list[Finding]:
    driver = _driver()
    seen = {"PyTorch": _torch_gpu(torch), "Warp": _warp_gpu(warp)}
    found = [Finding("compute: driver", driver or "no NVIDIA driver")]
    wanted = driver or device.startswith("cuda")
    for name, gpu in seen.items():
        if gpu is None:
            continue
        missing = wanted and not gpu
        level = Level.FINE if not missing else Level.FAULT if device.startswith("cuda") else Level.WARNING
        found.append(
            Finding(
                f"compute: {name} sees", gpu or "no GPU", level, _gpu_advice(name, driver, torch) if missing else ""
            )
        )
    return found


def _gpu_advice(name: str, driver: str, torch: object) -> str:
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides the GPUs: unset it"
    if not driver:
        return "install NVIDIA's driver, or use --device cpu"
    if name == "PyTorch" and getattr(torch.version, "cuda", None) is None:  # type: ignore[attr-defined]
        return "this is PyTorch's build for CPUs: install the one for CUDA, as its page for your system says"
    return f"the driver is older than what this {name} was built for: update it, or use --device cpu"


def _driver() -> str:
    try:
        return DRIVER_FILE.read_text().splitlines()[0].removeprefix("NVRM version:").strip()
    except (OSError, IndexError):
        return ""


def _torch_gpu(torch: object) -> str | None:
    """The GPUs that PyTorch sees, '' for none; None without PyTorch."""
    if torch is None:
        return None
    cuda = torch.cuda  # type: ignore[attr-defined]
    try:
        names = [cuda.get_device_name(number) for number in range(cuda.device_count())] if cuda.is_available() else []
        free = [cuda.mem_get_info(number)[0] for number in range(len(names))]
    except RuntimeError as error:
        return f"a GPU that it cannot use ({first_line(error)})"
    return ", ".join(f"{name} ({bytes_free / 1e9:.1f} GB free)" for name, bytes_free in zip(names, free, strict=True))


def _warp_gpu(warp: object) -> str | None:
    """The GPUs that Warp sees, '' for none; None without Warp."""
    if warp is None:
        return None
    return ", ".join(device.name for device in warp.get_cuda_devices())  # type: ignore[attr-defined]


def _kernels(warp: object) -> list[Finding]:
    """Where compiled kernels are kept. Warp brings its own compiler, so that none is needed on the machine."""
    cache = Path(warp.config.kernel_cache_dir)  # type: ignore[attr-defined]
    part = "compute: kernel cache"
    advice = "set WARP_CACHE_PATH to a folder that can be written to; kernels are compiled at every start otherwise"
    nearest = next((folder for folder in (cache, *cache.parents) if folder.exists()), Path("/"))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return [Finding(part, f"{cache}: cannot be written to", Level.FAULT, advice)]
    own = [folder for folder in cache.glob("wp_scr3d.*") if folder.is_dir()] if cache.is_dir() else []
    size = sum(file.stat().st_size for folder in own for file in folder.rglob("*") if file.is_file())
    compiled = "compiled at the first use, which takes a minute or two"
    if own:
        compiled = f"{len(own)} compiled modules, {size / 1e6:.0f} MB"
    free = os.statvfs(nearest)
    if free.f_bavail * free.f_frsize < FEW_BYTES:
        return [
            Finding(part, f"{cache}: the disk is full", Level.FAULT, "free some space there, or set WARP_CACHE_PATH")
        ]
    return [Finding(part, f"{cache}: {compiled}")]
