"""The renderer of height fields against other libraries that do the same work, in one run.

    pip install -e . -r benchmarks/peers-requirements.txt      (docs/renderer-peers.md)
    python benchmarks/peers.py [--threads 1] [--repeats 10] [--peers opengl ...] [--out FILE]

The work: which surface each pixel of a turned view sees and how far it is, for many height fields at once. All draw the
same triangles. Times are those of

    build    from new height fields and views to all that is needed before the picture: corners, copies, search trees
    query    the picture itself: depth and mask
    total    both, one after the other

Every field is new in every step of training, so the total is what a step pays. Peers that cannot be loaded are named in
the report with the reason; with --peers they are an error.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
from collections.abc import Callable, Mapping
from typing import Any

# Torch's threads wait for more work in a loop that keeps other threads off their cores for milliseconds, into the time
# of the next renderer. GNU's OpenMP reads this when it is loaded, so it must be set before torch is.
os.environ["GOMP_SPINCOUNT"] = "10000"

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Report, Timing, common_arguments, measure, prepare, run, settings, write_report
from peer_renderers.common import Peer, Task
from scr3d.errors import ConfigError
from scr3d.factors import View
from scr3d.geometry import Camera, DepthRange

OURS = "scr3d_renderer"
PEERS = (
    "opengl", "deodr_raster", "vtk_raster", "warp_bvh", "embreex_rays", "open3d_rays", "mitsuba_rays", "marching",
)  # fmt: skip
"""Modules of peer_renderers."""
TASKS = ((128, 64), (16, 256))
"""Height fields and their size."""
MAX_ROTATION_RAD = 0.5
SAME_DEPTH = 1e-4
"""Depths that differ by less agree."""
SMOOTH = 2e-2
"""From the nearest to the farthest of a pixel and its neighbours, for a frame of 64 pixels: more is an edge."""


def fields(count: int, size: int, seed: int = 0) -> tuple[Tensor, View]:
    """Hilly bumps as large as a head before a plane, and views turned by up to half a radian about each axis."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 1, 8, 8, generator=generator)
    hills = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)[:, 0]
    axis = torch.linspace(-1, 1, size)
    level = 1 - (axis[None, :] / 0.62) ** 2 - (axis[:, None] / 0.84) ** 2
    bump = ((level + (level**2 + 0.03).sqrt()) / 2).sqrt()
    depth = 1 + 0.1 * (0.4 - 1.2 * bump + 0.2 * hills).tanh()
    draw = 2 * torch.rand(count, 6, generator=generator) - 1
    return depth, View(MAX_ROTATION_RAD * draw[:, :3], 0.02 * draw[:, 3:])


def load(names: tuple[str, ...], needed: bool) -> tuple[dict[str, type[Peer]], dict[str, str]]:
    """Classes of the peers, and why others are missing.

    Raises:
        ConfigError: a needed one cannot be loaded.
    """
    found, missing = {}, {}
    for name in names:
        try:
            found[name] = importlib.import_module(f"peer_renderers.{name}").Renderer
        except (ImportError, OSError) as error:  # a library of the system that a package needs is an OSError
            missing[name] = " ".join(str(error).split())
            if needed:
                raise ConfigError(
                    f"peer {name} cannot be loaded ({missing[name]}); install benchmarks/peers-requirements.txt "
                    "or leave it out"
                ) from error
    return found, missing


def use_cores(threads: int) -> None:
    """Keep the process on as many cores: some libraries start a thread per core whatever they are told."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if threads > len(cores):
            raise ConfigError(f"--threads {threads}: this process may use {len(cores)} cores; give at most as many")
        os.sched_setaffinity(0, cores[:threads])


def calls(name: str, peer: Peer, depth: Tensor, view: View) -> dict[str, Callable[[], object]]:
    """What is timed of a peer."""

    def total() -> object:
        peer.build(depth, view)
        return peer.query()

    return {
        f"{name} build": lambda: peer.build(depth, view),
        f"{name} query": peer.query,
        f"{name} total": total,
    }


def agreement(found: tuple[Tensor, Tensor], ours: tuple[Tensor, Tensor]) -> dict[str, float]:
    """How a picture differs from that of scr3d; see `docs/renderer-peers.md`."""
    (depth, mask), (our_depth, our_mask) = found, ours
    outline = spread(our_mask.float()) > 0
    both = mask & our_mask
    size = our_depth.shape[-1]
    smooth = both & (spread(our_depth) < SMOOTH * 64 / size)
    difference = (depth - our_depth).abs()
    return {
        "coverage": share(mask, torch.ones_like(mask)),
        "mask_differs": share(mask != our_mask, torch.ones_like(mask)),
        "mask_differs_off_outline": share((mask != our_mask) & ~outline, torch.ones_like(mask)),
        "depth_differs": share(difference > SAME_DEPTH, both),
        "depth_differs_smooth": share(difference > SAME_DEPTH, smooth),
        "smooth": share(smooth, both),
        "depth_median_difference": float(difference[both].median()),
        "depth_largest_difference_smooth": float(difference[smooth].max()),
    }


def spread(values: Tensor) -> Tensor:
    """Largest minus smallest value among a pixel and its eight neighbours."""
    stacked = F.pad(values[:, None], (1, 1, 1, 1), mode="replicate")
    return (F.max_pool2d(stacked, 3, stride=1) + F.max_pool2d(-stacked, 3, stride=1))[:, 0]


def share(true: Tensor, among: Tensor) -> float:
    """Share of the pixels `among` for which something is true."""
    return float((true & among).sum() / among.sum())


def compare(classes: Mapping[str, type[Peer]], task: Task, repeats: int) -> dict[str, Any]:
    """Times and agreement of all renderers at one size."""
    depth, view = fields(task.count, task.camera.width)
    renderers = {name: found(task) for name, found in classes.items()}
    pictures = {}
    for name, renderer in renderers.items():
        renderer.build(depth, view)
        pictures[name] = tuple(value.clone() for value in renderer.query())
    everything = {}
    for name, renderer in renderers.items():
        everything |= calls(name, renderer, depth, view)
    times = measure(everything, repeats, warmup=1)
    for name, renderer in renderers.items():
        # Libraries share the process, and some of them the state of OpenGL.
        if not all(map(torch.equal, renderer.query(), pictures[name])):
            raise ConfigError(f"peer {name}: expected the same picture after timing as before; leave it out of --peers")
        renderer.close()
    return {name: entry(name, classes[name], times, agreement(pictures[name], pictures[OURS])) for name in classes}


def entry(name: str, renderer: type[Peer], times: Mapping[str, Timing], agrees: dict[str, float]) -> dict[str, Any]:
    """What the report says of one renderer at one size."""
    ours = times[f"{OURS} total"]
    parts = {part: times[f"{name} {part}"] for part in ("build", "query", "total")}
    return {
        "title": renderer.title,
        "version": importlib.metadata.version(renderer.package),
        "setting": renderer.setting,
        **parts,
        "times_scr3d": {part: time.median_ms / ours.median_ms for part, time in parts.items()},
        "times_scr3d_by_processor": {part: time.cpu_ms / ours.cpu_ms for part, time in parts.items()},
        "agreement": agrees,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.set_defaults(repeats=10)
    parser.add_argument("--peers", nargs="*", choices=PEERS, help="only these; by default all that are installed")
    parser.add_argument("--sizes", type=int, nargs="+", default=[size for _, size in TASKS])
    parser.add_argument("--maps", type=int, nargs="+", default=[count for count, _ in TASKS], help="one for each size")
    arguments = parser.parse_args()
    if arguments.device != "cpu":
        raise ConfigError(f"--device must be cpu: the peers are set up for it; got {arguments.device}")
    if len(arguments.sizes) != len(arguments.maps):
        raise ConfigError(f"--maps needs a number for each of {len(arguments.sizes)} sizes; got {len(arguments.maps)}")
    use_cores(arguments.threads)
    description = prepare(arguments)
    wanted = PEERS if arguments.peers is None else tuple(arguments.peers)
    classes, missing = load((OURS, *wanted), needed=arguments.peers is not None)
    results: dict[str, Any] = {"missing": missing, "sizes": {}}
    for size, count in zip(arguments.sizes, arguments.maps, strict=True):
        task = Task(count, Camera(size, size), DepthRange(), arguments.threads)
        results["sizes"][str(size)] = {"maps": count, "renderers": compare(classes, task, arguments.repeats)}
    write_report(arguments.out, Report("peers", settings(arguments), description, results))


if __name__ == "__main__":
    run(main)
