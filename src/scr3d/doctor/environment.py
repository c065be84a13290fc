"""The environment variables that change what scr3d does, its own and those of the libraries below it."""

from __future__ import annotations

import os

from scr3d.doctor.findings import Finding

OWN = {
    "SCR3D_OFFLINE": "1: nothing is fetched from or sent to other machines; the same as `scr3d --offline`",
    "OMP_NUM_THREADS": "CPU threads where `--threads` does not say; also kept in the processes of `--processes`",
    "CUBLAS_WORKSPACE_CONFIG": "set by `--deterministic` unless it is set already",
    "TORCHELASTIC_RESTART_COUNT": "set by torchrun: which attempt this is",
    "LOCAL_WORLD_SIZE": "set by torchrun: processes on this machine",
    "WORLD_SIZE": "set by torchrun: processes on all machines",
    "SLURM_NTASKS": "set by Slurm: processes on all machines",
    "SLURM_NNODES": "set by Slurm: machines",
}
"""What the program itself reads or sets, and what it means."""
OF_LIBRARIES = {
    "CUDA_VISIBLE_DEVICES": "which GPUs are seen",
    "MASTER_ADDR": "several machines: address of the first (torch.distributed)",
    "MASTER_PORT": "several machines: port on the first",
    "NODE_RANK": "several machines: number of this one",
    "MKL_NUM_THREADS": "CPU threads of MKL; scr3d sets torch's number itself",
    "PYTORCH_CUDA_ALLOC_CONF": "how PyTorch takes memory on a GPU",
    "WARP_CACHE_PATH": "folder of compiled kernels; by default `~/.cache/warp`",
    "IMAGEIO_FFMPEG_EXE": "another FFmpeg than the one that comes with imageio-ffmpeg",
    "HF_HOME": "folder of models from the Hugging Face hub",
    "HF_HUB_OFFLINE": "1: models of the hub come from this machine alone; set by `--offline`",
    "HF_TOKEN": "token of the Hugging Face hub",
    "MPLCONFIGDIR": "where Matplotlib keeps its settings and its list of fonts",
    "HTTPS_PROXY": "proxy for shards at `https://` addresses and for the hub",
    "NO_COLOR": "no colours on the terminal (Rich)",
    "TMPDIR": "folder of temporary files",
}
"""What the libraries read that people of this program set."""
SECRET = frozenset({"HF_TOKEN", "HTTPS_PROXY"})
"""Values that are not shown."""


def findings() -> list[Finding]:
    """The variables that are set."""
    found = [
        Finding(f"environment: {name}", "set" if name in SECRET else os.environ[name])
        for name in (*OWN, *OF_LIBRARIES)
        if name in os.environ
    ]
    return found or [Finding("environment: variables", "none that matters is set")]
