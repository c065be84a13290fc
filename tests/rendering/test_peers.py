"""The other renderers of benchmarks/peers.py. Those that are not installed are skipped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import peers
from harness import check
from peer_renderers.common import OneScene, Peer, Task
from scr3d.errors import ConfigError
from scr3d.geometry import Camera, DepthRange
from scr3d.rendering import sample_view
from scr3d.rendering.heightfield import grid_triangles

SCRIPT = Path(peers.__file__)


def task(count: int = 5, height: int = 24, width: int = 31, threads: int = 1) -> Task:
    return Task(count, Camera(height, width), DepthRange(), threads)


def ours(depth, view, wanted: Task) -> tuple[torch.Tensor, torch.Tensor]:
    seen = sample_view(depth, view, wanted.camera, wanted.depth_range)
    return seen.depth, seen.mask


@pytest.mark.parametrize("name", [peers.OURS, *peers.PEERS])
@pytest.mark.parametrize("size", [(24, 24), (24, 31)])
def test_a_peer_draws_what_scr3d_draws(name, size):
    found, missing = peers.load((name,), needed=False)
    if missing:
        pytest.skip(missing[name])
    wanted = task(5, *size)
    renderer = found[name](wanted)
    for seed in (0, 1):  # the second time with other fields: nothing of the first may stay
        depth, view = peers.fields(5, max(size), seed)
        depth = depth[:, : size[0], : size[1]].contiguous()
        renderer.build(depth, view)
        agrees = peers.agreement(renderer.query(), ours(depth, view, wanted))
        assert 0.5 < agrees["coverage"] < 0.95
        assert agrees["smooth"] > 0.5
        if name == "marching":  # its surface is curved between the pixels
            assert agrees["mask_differs"] < 0.03
            assert agrees["depth_median_difference"] < 2e-4
            assert agrees["depth_largest_difference_smooth"] < 5e-3
        else:
            assert agrees["mask_differs"] < 2e-3
            assert agrees["depth_differs"] < 2e-3
            assert agrees["depth_median_difference"] < 1e-6
            assert agrees["depth_largest_difference_smooth"] < peers.SAME_DEPTH
    renderer.close()


def test_threads_of_scr3d_take_parts_of_the_fields():
    found, _ = peers.load((peers.OURS,), needed=True)
    depth, view = peers.fields(7, 24)
    pictures = []
    for threads in (1, 3):
        renderer = found[peers.OURS](task(7, 24, 24, threads))
        before = torch.get_num_threads()
        renderer.build(depth, view)
        pictures.append(renderer.query())
        renderer.close()
        assert torch.get_num_threads() == before
    assert all(map(torch.equal, *pictures))


def test_fields_are_turned_and_partly_out_of_sight():
    depth, view = peers.fields(20, 48)
    assert depth.shape == (20, 48, 48)
    assert (depth > 0.9).all()
    assert (depth < 1.1).all()
    assert 0.45 < view.rotation_rad.abs().max() <= 0.5
    again, _ = peers.fields(20, 48)
    other, _ = peers.fields(20, 48, seed=1)
    assert torch.equal(depth, again)
    assert not torch.equal(depth, other)


def test_maps_of_one_scene_cannot_be_seen_by_one_anothers_rays():
    class Laid(OneScene):
        def build(self, depth, view):
            self.corners = self.vertices(depth, view).view(self.task.count, -1, 3)

        def query(self):
            raise NotImplementedError

    wanted = task(7, 20, 20)
    laid = Laid(wanted)
    depth, view = peers.fields(7, 20)
    laid.build(depth, view)
    start = laid.origins.view(7, -1, 3)
    end = start + wanted.limit * laid.directions.view(7, -1, 3)
    reach = torch.cat([start, end, laid.corners], dim=1)[..., :2]
    low, high = reach.amin(1), reach.amax(1)
    apart = ((low[:, None] > high[None]) | (high[:, None] < low[None])).any(-1)
    assert apart[~torch.eye(7, dtype=torch.bool)].all()
    triangles = laid.triangles.view(7, -1, 3)
    assert torch.equal(triangles[3] - 3 * 400, grid_triangles(20, 20, torch.device("cpu")).long())


def test_agreement_counts_pixels():
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[:, :, :6] = True
    depth = torch.where(mask, 1.0, 1.2)
    other_mask, other_depth = mask.clone(), depth.clone()
    other_mask[0, 0, 5] = False  # at the outline
    other_mask[0, 4, 1] = False  # off it
    other_depth[0, 6, 2] += 0.01
    other_depth[0, 7, 4] += 0.5e-4
    found = peers.agreement((other_depth, other_mask), (depth, mask))
    assert found["coverage"] == pytest.approx(46 / 64)
    assert found["mask_differs"] == pytest.approx(2 / 64)
    assert found["mask_differs_off_outline"] == pytest.approx(1 / 64)
    assert found["depth_differs"] == pytest.approx(1 / 46)
    assert found["depth_median_difference"] == 0
    assert found["depth_largest_difference_smooth"] == pytest.approx(0.01, abs=1e-6)
    assert found["smooth"] == pytest.approx((8 * 5 - 1) / 46)  # all but the column at the outline


def test_what_cannot_be_loaded_is_named(monkeypatch):
    def absent(name):
        raise ImportError("libmissing.so:\n no such file")

    monkeypatch.setattr(peers.importlib, "import_module", absent)
    assert peers.load(("opengl",), needed=False) == ({}, {"opengl": "libmissing.so: no such file"})
    with pytest.raises(ConfigError, match=r"peer opengl cannot be loaded.*peers-requirements"):
        peers.load(("opengl",), needed=True)


def test_a_picture_that_changes_while_timed_is_refused():
    class Drifting(Peer):
        title, package, setting = "drifting", "torch", "draws something else every time"
        number = 0

        def build(self, depth, view):
            self.depth = depth

        def query(self):
            Drifting.number += 1
            return self.seen(self.depth + 1e-3 * Drifting.number)

    found, _ = peers.load((peers.OURS,), needed=True)
    with pytest.raises(ConfigError, match="peer drifting"):
        peers.compare(found | {"drifting": Drifting}, task(2, 20, 20), repeats=1)


def test_the_script_writes_a_report(tmp_path):
    out = tmp_path / "peers.json"
    command = [sys.executable, str(SCRIPT), "--peers", "warp_bvh", "--sizes", "18", "20", "--maps", "3", "2"]
    subprocess.run([*command, "--repeats", "2", "--out", str(out)], check=True, timeout=300)
    report = json.loads(out.read_text())
    check(report)
    assert report["results"]["missing"] == {}
    sizes = report["results"]["sizes"]
    assert {size: found["maps"] for size, found in sizes.items()} == {"18": 3, "20": 2}
    for found in sizes.values():
        assert set(found["renderers"]) == {peers.OURS, "warp_bvh"}
        assert found["renderers"][peers.OURS]["times_scr3d"]["total"] == 1
        peer = found["renderers"]["warp_bvh"]
        assert peer["times_scr3d"]["total"] == pytest.approx(
            peer["total"]["median_ms"] / found["renderers"][peers.OURS]["total"]["median_ms"], rel=1e-3
        )
        assert peer["agreement"]["mask_differs"] < 5e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "cuda"], "--device must be cpu"),
        (["--sizes", "20", "--maps", "1", "2"], "--maps needs a number for each of 1 sizes"),
        (["--threads", "100000"], "--threads 100000"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options, message):
    done = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
