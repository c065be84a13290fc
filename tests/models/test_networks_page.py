import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from scr3d.models import ModelConfig, PhotoGeometricAutoencoder, Preset
from scr3d.models.config import DepthStart

ROOT = Path(__file__).parent.parent.parent
TOOL = ROOT / "tools" / "network_tables.py"


@pytest.fixture(scope="module")
def tool():
    specification = importlib.util.spec_from_file_location("network_tables", TOOL)
    module = importlib.util.module_from_spec(specification)
    sys.modules["network_tables"] = module
    specification.loader.exec_module(module)
    return module


def test_the_page_describes_the_networks(tool):
    page = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
    assert page == tool.with_tables(page, tool.tables())


def test_multiply_adds_and_parameters_by_hand(tool):
    network = nn.Sequential(
        nn.Conv2d(3, 8, 4, stride=2, padding=1, bias=False),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 5, 4, stride=2, padding=1, bias=False),
        nn.Flatten(),
        nn.Linear(5 * 16 * 16, 2),
    )
    rows = tool.trace(network, torch.zeros(1, 3, 16, 16))
    assert [row.multiply_adds for row in rows] == [8 * 3 * 16 * 64, 8 * 5 * 16 * 64, 5 * 256 * 2]
    assert [row.parameters for row in rows] == [8 * 3 * 16 + 16, 8 * 5 * 16, 5 * 256 * 2 + 2]
    assert rows[0].after == ["GroupNorm 2", "ReLU"]


@pytest.mark.parametrize("preset", list(Preset))
def test_the_totals_are_those_of_the_model(tool, preset):
    start = DepthStart.FLAT if preset is Preset.REFERENCE else DepthStart.BUMP
    model = PhotoGeometricAutoencoder(ModelConfig(preset=preset, size=64, order="VDLA", depth_start=start))
    assert tool.totals(preset, 64, 16)[0] == sum(p.numel() for p in model.parameters())


def test_the_reference_has_the_published_size():
    config = ModelConfig(preset=Preset.REFERENCE, size=64, order="VDLA", depth_start=DepthStart.FLAT)
    model = PhotoGeometricAutoencoder(config)
    count = {name: sum(p.numel() for p in child.parameters()) for name, child in model.named_children()}
    # Added up by hand from the published tables.
    assert sum(p.numel() for p in model.encoders["depth"].parameters()) == 4_919_168
    assert sum(p.numel() for p in model.encoders["view"].parameters()) == 1_803_776
    assert count["depth_decoder"] == 8_126_016
    assert count["albedo_decoder"] == 8_129_216
    assert count["view_decoder"] == 67_072
    assert count["light_decoder"] == 66_560
    assert count["confidence"] == 7_678_208
    assert sum(count.values()) == 37_512_960


def layers(network: nn.Module) -> list[str]:
    described = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            kind = "deconv" if isinstance(module, nn.ConvTranspose2d) else "conv"
            size, stride = module.kernel_size[0], module.stride[0]
            described.append(f"{kind}{size}s{stride} {module.in_channels}-{module.out_channels}")
        elif isinstance(module, nn.GroupNorm):
            described.append(f"norm{module.num_groups}")
        elif isinstance(module, nn.ReLU | nn.LeakyReLU):
            described.append("relu" if isinstance(module, nn.ReLU) else f"leaky{module.negative_slope}")
        elif isinstance(module, nn.Upsample):
            described.append("nearest")
    return described


def test_the_reference_has_the_published_layers():
    model = PhotoGeometricAutoencoder(ModelConfig(preset=Preset.REFERENCE, size=64, order="VDLA"))
    large = "conv4s2 3-64 norm16 leaky0.2 conv4s2 64-128 norm32 leaky0.2 conv4s2 128-256 norm64 leaky0.2 "
    large += "conv4s2 256-512 leaky0.2 "
    assert layers(model.encoders["albedo"]) == _pairs(f"{large}conv4s1 512-256 relu conv1s1 256-256")
    small = "conv4s2 3-32 relu conv4s2 32-64 relu conv4s2 64-128 relu conv4s2 128-256 relu "
    assert layers(model.encoders["light"]) == _pairs(f"{small}conv4s1 256-256 relu conv1s1 256-256")
    decoder = "deconv4s1 256-512 relu conv3s1 512-512 relu "
    decoder += "deconv4s2 512-256 norm64 relu conv3s1 256-256 norm64 relu "
    decoder += "deconv4s2 256-128 norm32 relu conv3s1 128-128 norm32 relu "
    decoder += "deconv4s2 128-64 norm16 relu conv3s1 64-64 norm16 relu "
    decoder += "nearest conv3s1 64-64 norm16 relu conv5s1 64-64 norm16 relu conv5s1 64-"
    assert layers(model.depth_decoder) == _pairs(decoder + "1")
    assert layers(model.albedo_decoder) == _pairs(decoder + "3")
    confidence = f"{large}conv4s1 512-128 relu deconv4s1 128-512 relu deconv4s2 512-256 norm64 relu "
    confidence += "deconv4s2 256-128 norm32 relu conv3s1 128-2 "
    confidence += "deconv4s2 128-64 norm16 relu deconv4s2 64-64 norm16 relu conv5s1 64-2"
    assert layers(model.confidence) == _pairs(confidence)


def _pairs(text: str) -> list[str]:
    """Layer descriptions of a text in which a convolution is two words."""
    words, found = text.split(), []
    for word in words:
        if "-" in word:
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found
