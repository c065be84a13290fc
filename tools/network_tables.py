"""Writes the tables of docs/networks.md: layers, parameters and multiply-adds, read off the networks themselves.

python tools/network_tables.py            # rewrites the tables between the marks in docs/networks.md
python tools/network_tables.py --check    # fails if they are not those of the networks
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from scr3d.causal import StructureKind
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder, Preset
from scr3d.models.config import DepthStart

PAGE = Path(__file__).parent.parent / "docs" / "networks.md"
SIZE = 64
"""Image size of the tables of layers."""
MARK = re.compile(r"(<!-- table: (?P<name>[^>]*) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass
class Row:
    """One layer with weights, and what follows it up to the next one."""

    place: str
    layer: str
    channels: str
    resolution: str
    after: list[str]
    parameters: int
    multiply_adds: int


def trace(network: nn.Module, example: Tensor) -> list[Row]:
    """The layers of a network in the order in which they are computed."""
    rows: list[Row] = []
    handles = []
    for name, module in network.named_modules():
        if next(module.children(), None) is None:
            handles.append(module.register_forward_hook(_recorder(rows, name)))
    with torch.no_grad():
        network(example)
    for handle in handles:
        handle.remove()
    return rows


def _recorder(rows: list[Row], name: str):
    def record(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        parameters = sum(p.numel() for p in module.parameters())
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            rows[-1].after.append(_describe_after(module))
            rows[-1].parameters += parameters
            return
        place = name.split(".")[0]
        rows.append(
            Row(place, *_describe_layer(module, output), [], parameters, _multiply_adds(module, inputs[0], output))
        )

    return record


def _describe_layer(module: nn.Module, output: Tensor) -> tuple[str, str, str]:
    if isinstance(module, nn.Linear):
        return "linear", f"{module.in_features} → {module.out_features}", "1"
    assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    kernel = "×".join(str(k) for k in module.kernel_size)
    kind = "transposed" if isinstance(module, nn.ConvTranspose2d) else "conv"
    stride = f" stride {module.stride[0]}" if module.stride[0] > 1 else ""
    return f"{kind} {kernel}{stride}", f"{module.in_channels} → {module.out_channels}", str(output.shape[-1])


def _describe_after(module: nn.Module) -> str:
    if isinstance(module, nn.GroupNorm):
        return f"GroupNorm {module.num_groups}"
    if isinstance(module, nn.LeakyReLU):
        return f"LeakyReLU {module.negative_slope}"
    return "nearest ×2" if isinstance(module, nn.Upsample) else type(module).__name__


def _multiply_adds(module: nn.Module, inputs: Tensor, output: Tensor) -> int:
    if isinstance(module, nn.Linear):
        return module.weight.numel()
    if isinstance(module, nn.ConvTranspose2d):
        return module.weight.numel() * inputs.shape[-1] * inputs.shape[-2]
    return module.weight.numel() * output.shape[-1] * output.shape[-2]


def layer_table(network: nn.Module, example: Tensor) -> str:
    """A network as a table."""
    rows = trace(network, example)
    lines = [
        "| part | layer | channels | size | then | parameters | multiply-adds |",
        "|---|---|---|---|---|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| {row.place} | {row.layer} | {row.channels} | {row.resolution} | {', '.join(row.after) or '-'} "
            f"| {row.parameters:,} | {row.multiply_adds:,} |"
        )
    parameters, multiply_adds = sum(r.parameters for r in rows), sum(r.multiply_adds for r in rows)
    lines.append(f"| **sum** | | | | | **{parameters:,}** | **{multiply_adds:,}** |")
    return "\n".join(lines)


def build(preset: Preset, size: int, width: int = 16) -> PhotoGeometricAutoencoder:
    """A model to be described: shapes without values. Its causal structure has no weights.

    The reference starts flat as in the papers, and so has no outline.
    """
    start = DepthStart.FLAT if preset is Preset.REFERENCE else DepthStart.BUMP
    config = ModelConfig(preset=preset, size=size, width=width, structure=StructureKind.INDEPENDENT, depth_start=start)
    return PhotoGeometricAutoencoder(config).to("meta").eval()


def networks(model: PhotoGeometricAutoencoder) -> dict[str, tuple[nn.Module, Tensor, int]]:
    """Every different network of a model: the network, an input, and how many factors use one like it."""
    image = torch.zeros(1, 3, model.config.size, model.config.size, device="meta")
    embedding = torch.zeros(1, model.config.embedding, device="meta")
    found: dict[str, tuple[nn.Module, Tensor, int]] = {}
    if model.config.preset is Preset.COMPACT:
        found["encoder"] = (model.encoders["depth"], image, 4)
    else:
        found["encoder of depth and albedo"] = (model.encoders["depth"], image, 2)
        found["encoder of view and light"] = (model.encoders["view"], image, 2)
    found["decoder of view"] = (model.view_decoder, embedding, 1)
    found["decoder of light"] = (model.light_decoder, embedding, 1)
    found["decoder of depth"] = (model.depth_decoder, embedding, 1)
    if model.outline_decoder is not None:
        found["decoder of the outline"] = (model.outline_decoder, embedding, 1)
    found["decoder of albedo"] = (model.albedo_decoder, embedding, 1)
    found["confidence"] = (model.confidence, image, 1)
    return found


def totals(preset: Preset, size: int, width: int) -> tuple[int, int]:
    """Parameters and multiply-adds (one image, forward) of a whole model."""
    parameters = multiply_adds = 0
    for network, example, count in networks(build(preset, size, width)).values():
        rows = trace(network, example)
        parameters += count * sum(row.parameters for row in rows)
        multiply_adds += count * sum(row.multiply_adds for row in rows)
    return parameters, multiply_adds


def totals_table() -> str:
    """Size and cost of every preset at every image size."""
    lines = ["| preset | image | parameters | multiply-adds of one image |", "|---|---:|---:|---:|"]
    for preset, width in ((Preset.COMPACT, 16), (Preset.COMPACT, 32), (Preset.REFERENCE, 16)):
        label = f"{preset}, width {width}" if preset is Preset.COMPACT else str(preset)
        for size in (32, 64, 128, 256):
            parameters, multiply_adds = totals(preset, size, width)
            lines.append(f"| {label} | {size} | {parameters:,} | {multiply_adds / 1e6:,.0f} million |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """Every table of the page by its name."""
    found = {"totals": totals_table()}
    for preset in Preset:
        for name, (network, example, _) in networks(build(preset, SIZE)).items():
            found[f"{preset} {name}"] = layer_table(network, example)
    return found


def with_tables(page: str, found: dict[str, str]) -> str:
    """The page with the tables between its marks replaced; every table must have its mark and every mark a table."""
    marked = [match["name"] for match in MARK.finditer(page)]
    if sorted(marked) != sorted(found):
        raise SystemExit(f"{PAGE} has marks for {sorted(marked)}, the networks have tables for {sorted(found)}")
    return MARK.sub(lambda match: f"{match[1]}{found[match['name']]}\n{match[3]}", page)


def main() -> None:
    """Rewrite or check the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    arguments = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    wanted = with_tables(page, tables())
    if not arguments.check:
        PAGE.write_text(wanted, encoding="utf-8")
    elif page != wanted:
        sys.exit(f"{PAGE} is out of date; run python tools/network_tables.py")


if __name__ == "__main__":
    main()
