"""How long the renderer takes, by itself and as a share of a training step.

    python benchmarks/renderer.py [--size 64] [--batch 32] [--repeats 30] [--threads 1] [--device cpu] [--out FILE]

    visibility   which triangle each pixel shows, for 128 maps
    render       the whole renderer for the maps of one step (plain and flipped), forward and backward
    step         one step of training the compact network: loss, gradient and Adam

Renderer and step are measured in turns, so that a machine with other work slows both alike; `share` is the ratio of
their medians. Processor time is given as well: it says what an idle machine would do.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F

from harness import Report, common_arguments, measure, prepare, run, settings, write_report
from scr3d.data.dataset import Batch
from scr3d.factors import View
from scr3d.geometry import Camera, DepthRange
from scr3d.losses.features import squeezenet_features
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder
from scr3d.models.autoencoder import channels_last
from scr3d.models.start import start_surface
from scr3d.rendering import render
from scr3d.rendering.heightfield import visible_triangles
from scr3d.training.recipe import Recipe
from scr3d.training.step import training_loss

VISIBILITY_MAPS = 128
MAX_ROTATION_RAD = 0.5
AFTER_WARMUP = 200_000
"""Images seen at which the timed step takes place: the view has its full size."""


def heads(count: int, size: int, device: str) -> tuple[torch.Tensor, View]:
    """Hilly bumps, and views turned by up to half a radian about each axis."""
    generator = torch.Generator().manual_seed(0)
    hills = F.interpolate(
        torch.randn(count, 1, 8, 8, generator=generator), size=(size, size), mode="bicubic", align_corners=True
    )
    depth = 1 + 0.1 * (start_surface(ModelConfig(size=size)) + 0.2 * hills[:, 0]).tanh()
    draw = 2 * torch.rand(count, 6, generator=generator) - 1
    view = View((MAX_ROTATION_RAD * draw[:, :3]).to(device), (0.02 * draw[:, 3:]).to(device))
    return depth.to(device), view


def visibility_call(size: int, device: str) -> Callable[[], object]:
    """Visibility of many maps."""
    depth, view = heads(VISIBILITY_MAPS, size, device)
    camera = Camera(size, size)
    return lambda: visible_triangles(depth, view, camera)


def render_call(size: int, count: int, device: str, backward: bool) -> Callable[[], object]:
    """The whole renderer, with gradients for depth, view and texture."""
    depth, view = heads(count, size, device)
    texture = torch.rand(count, 3, size, size, device=device).to(memory_format=torch.channels_last)
    inputs = [value.requires_grad_() for value in (depth, view.rotation_rad, view.translation, texture)]
    upstream = torch.randn(count, 3, size, size, device=device)
    camera = Camera(size, size)

    def call() -> object:
        seen = render(depth, view, texture, camera, DepthRange(), continued=Recipe().continued)
        return torch.autograd.grad(seen.image, inputs, upstream) if backward else seen

    return call


def step_call(size: int, batch: int, device: str) -> Callable[[], object]:
    """A training step on noise: its cost does not depend on what the images show."""
    torch.manual_seed(0)
    model = PhotoGeometricAutoencoder(ModelConfig(size=size, order="VDLA", start_scale=1.0)).to(device)
    channels_last(model)
    features = squeezenet_features().to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-5)
    image = torch.rand(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)

    def call() -> object:
        optimiser.zero_grad(set_to_none=True)
        training_loss(model, features, Batch(image, None), Recipe(), AFTER_WARMUP).total.backward()
        optimiser.step()
        return None

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.set_defaults(repeats=30)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32, help="images of a training step; twice as many are rendered")
    arguments = parser.parse_args()
    description = prepare(arguments)
    size, maps, device = arguments.size, 2 * arguments.batch, arguments.device
    times = measure(
        {
            "visibility": visibility_call(size, device),
            "render_forward": render_call(size, maps, device, backward=False),
            "render": render_call(size, maps, device, backward=True),
            "step": step_call(size, arguments.batch, device),
        },
        arguments.repeats,
        device=device,
    )
    results = {
        "maps": {"visibility": VISIBILITY_MAPS, "render": maps},
        "times": times,
        "share": {
            "median": times["render"].median_ms / times["step"].median_ms,
            "minimum": times["render"].minimum_ms / times["step"].minimum_ms,
            "processor": times["render"].cpu_ms / times["step"].cpu_ms,
        },
    }
    write_report(arguments.out, Report("renderer", settings(arguments), description, results))


if __name__ == "__main__":
    run(main)
