"""Models as ONNX files, run by ONNX Runtime."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import scr3d
from scr3d.causal import Attention, MixingKind, StructureKind, WeightForm
from scr3d.errors import ConfigError, ExportError
from scr3d.export import onnx_files
from scr3d.export.onnx_files import OPSET, convert, export_onnx
from scr3d.export.onnx_parts import FACTOR_OUTPUTS, SURFACE_OUTPUTS, WHOLE_OUTPUTS, parts_of
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder, Preset

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'scr3d[onnx]'")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'scr3d[onnx]'")
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "sharing.md"
pytestmark = pytest.mark.usefixtures("unchecked")  # The checks of shapes would pin the number of images.


def network(**options: object) -> PhotoGeometricAutoencoder:
    torch.manual_seed(0)
    return PhotoGeometricAutoencoder(ModelConfig(**{"size": 32, "width": 4, **options})).eval()


def run_file(content: bytes | Path, names: list[str], **inputs: np.ndarray) -> dict[str, np.ndarray]:
    source = content if isinstance(content, bytes) else str(content)
    session = runtime.InferenceSession(source, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, inputs), strict=True))


STRUCTURES = [
    {"structure": StructureKind.INDEPENDENT},
    {"structure": StructureKind.DENSE, "order": "ADLV", "mixing": MixingKind.CONCAT},
    {"structure": StructureKind.GRAPH, "edges": "V>D,D>L,L>A", "mixing": MixingKind.RECURSIVE},
    {"structure": StructureKind.GENERIC, "weight_form": WeightForm.LOW_RANK},
    {"structure": StructureKind.DYNAMIC, "order": "VDLA", "attention": Attention.SIGMOID},
    {"structure": StructureKind.DYNAMIC, "attention": Attention.LEARNED, "mixing": MixingKind.CONCAT},
]


@pytest.mark.parametrize("options", STRUCTURES, ids=lambda options: "-".join(map(str, options.values())))
@torch.no_grad()
def test_every_structure_mixes_as_in_torch(options: dict) -> None:
    part = parts_of(network(**options))[1]
    content = convert(part, torch.randn(2, 4, 16))
    for batch in (1, 5):
        embeddings = torch.randn(batch, 4, 16)
        found = run_file(content, list(part.outputs), embeddings=embeddings.numpy())
        for name, wanted in zip(part.outputs, part.module(embeddings), strict=True):
            np.testing.assert_allclose(found[name], wanted.numpy(), atol=1e-5)
        assert found["weights"].shape == (batch, 4, 4)


def test_a_file_that_computes_something_else_is_refused() -> None:
    part = parts_of(network(order="VDLA"))[1]
    content = convert(part, torch.randn(2, 4, 16))
    embeddings = torch.randn(3, 4, 16)
    mixed = part.module(embeddings)[0]
    assert onnx_files._differences("mix", content, "embeddings", embeddings, {"mixed": mixed})["mixed"] < 1e-6
    for wrong, message in (
        (mixed + 0.001 * mixed.abs().max(), "gives another mixed than torch"),
        (mixed * torch.nan, "gives another mixed than torch"),
        (mixed[:2], "as .3, 4, 16., torch as .2, 4, 16."),
    ):
        with pytest.raises(ExportError, match=message) as found:
            onnx_files._differences("mix", content, "embeddings", embeddings, {"mixed": wrong})
        assert "\n" not in str(found.value)


def test_folders_with_other_things_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not an earlier export"):
        export_onnx(network(order="VDLA"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_missing_extra_is_one_line() -> None:
    code = """
import sys
sys.modules["onnxruntime"] = None
from scr3d.cli import main
main(["export-onnx", "--out", "never"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "scr3d: ONNX files need the package onnxruntime: pip install 'scr3d[onnx]'"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model, as the command writes it."""
    folder = tmp_path_factory.mktemp("exported")
    done = subprocess.run(
        [sys.executable, "-m", "scr3d.cli", "export-onnx", "--out", str(folder), "--parts"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"opset {OPSET}" in done.stdout
    assert all(name in done.stdout for name in WHOLE_OUTPUTS)
    return folder


def heads(count: int) -> np.ndarray:
    paths = sorted((ROOT / "examples").glob("*.png"))[:count]
    pictures = [Image.open(path).convert("RGB").resize((64, 64), Image.Resampling.BOX) for path in paths]
    return np.stack([np.asarray(picture, np.float32) for picture in pictures]).transpose(0, 3, 1, 2) / 255


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 8])
def test_explanations_are_those_of_torch(count: int, exported: Path) -> None:
    images = heads(count)
    with torch.no_grad():
        wanted = scr3d.load().network.reconstruct(torch.from_numpy(images))
    found = run_file(exported / "explain.onnx", list(WHOLE_OUTPUTS), image=images)
    assert all(len(value) == count for value in found.values())
    factors = wanted.factors
    for name, value, allowed in (
        ("view_rotation_rad", factors.view.rotation_rad, 1e-5),
        ("view_translation", factors.view.translation, 1e-5),
        ("light_ambient", factors.light.ambient, 1e-5),
        ("light_diffuse", factors.light.diffuse, 1e-5),
        ("light_direction", factors.light.direction, 1e-5),
        ("canonical_depth", factors.canonical_depth, 1e-5),
        ("canonical_albedo", factors.canonical_albedo, 1e-4),
        ("canonical_normal", wanted.canonical_normal, 5e-3),
        ("canonical_shading", wanted.canonical_shading, 5e-3),
        ("canonical_image", wanted.canonical_image, 5e-3),
        ("confidence", wanted.confidence, 1e-4),
    ):
        np.testing.assert_allclose(found[name], value.numpy(), atol=allowed, err_msg=name)
    np.testing.assert_array_equal(found["weights"][0], scr3d.load().network.structure.get_buffer("mask").numpy())


@pytest.mark.slow
def test_an_intervention_without_torch(exported: Path) -> None:
    """Another image's light: in ADLV the view follows, albedo and depth stay."""
    images = heads(2)
    embeddings = run_file(exported / "encode.onnx", ["embeddings"], image=images)["embeddings"]
    factors = json.loads((exported / "onnx.json").read_text())["factors"]
    changed = embeddings[:1].copy()
    changed[0, factors.index("light")] = embeddings[1, factors.index("light")]
    before, after = (
        run_file(
            exported / "decode.onnx",
            list(FACTOR_OUTPUTS),
            mixed=run_file(exported / "mix.onnx", ["mixed"], embeddings=given)["mixed"],
        )
        for given in (embeddings[:1], changed)
    )
    for name in FACTOR_OUTPUTS:
        assert (before[name] != after[name]).any() == name.startswith(("view", "light")), name


@pytest.mark.slow
def test_files_say_what_they_are_and_nothing_of_the_machine(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == [
        "decode.onnx",
        "encode.onnx",
        "explain.onnx",
        "mix.onnx",
        "onnx.json",
    ]
    record = json.loads((exported / "onnx.json").read_text())
    assert set(record["differences"]) == set(WHOLE_OUTPUTS)
    for path in exported.glob("*.onnx"):
        model = onnx.load(path)
        assert [(one.domain, one.version) for one in model.opset_import] == [("", OPSET)]
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
        assert b".py" not in path.read_bytes()
    session = runtime.InferenceSession(str(exported / "explain.onnx"))
    about = json.loads(session.get_modelmeta().custom_metadata_map["scr3d"])
    assert about == {name: record[name] for name in about}
    assert about["camera"]["fov_deg"] == 10.0


@pytest.mark.slow
def test_the_example_of_the_page_needs_neither_torch_nor_scr3d(exported: Path, tmp_path: Path) -> None:
    code = next(
        one for one in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S) if "onnxruntime" in one
    )
    (tmp_path / "exported").symlink_to(exported)
    (tmp_path / "photo.png").write_bytes((ROOT / "examples" / "head-01.png").read_bytes())
    blocked = "import sys\nfor name in ('torch', 'scr3d', 'onnx'):\n    sys.modules[name] = None\n"
    done = subprocess.run([sys.executable, "-c", blocked + code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    picture = Image.open(ROOT / "examples" / "head-01.png")
    yaw = scr3d.load().reconstruct(picture, crop="center").view.rotation_rad[0, 1].rad2deg()
    assert float(re.findall(r"yaw (-?[\d.]+) degrees", done.stdout)[0]) == pytest.approx(float(yaw), abs=2)
    depth = np.asarray(Image.open(tmp_path / "depth.png"))
    assert depth.shape == (64, 64)
    assert depth[32, 32] < depth[32, 2]  # the nose is nearer than the background


@pytest.mark.slow
def test_the_published_networks(tmp_path: Path) -> None:
    report = scr3d.Model(network(preset=Preset.REFERENCE, order="VDLA")).export_onnx(tmp_path / "out")
    assert [path.name for path in report.files] == ["explain.onnx"]
    assert report.differences["canonical_depth"] < 1e-5
    assert set(report.differences) >= set(SURFACE_OUTPUTS)
