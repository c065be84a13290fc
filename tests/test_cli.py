"""The command line as a user meets it: real processes, exit codes, one line for an error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scr3d.cli import main


def scr3d(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "scr3d.cli", *map(str, args)], capture_output=True, text=True)


def error_line(*args: object, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Warp")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("scr3d: ")
    return lines[0]


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("heads")
    for split, count in (("train", 16), ("val", 8), ("test", 8)):
        main(["data", "heads", "--split", split, "--count", str(count), "--size", "32", "--out", str(root)])
    return root


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in ("train", "reconstruct", "evaluate", "data"))


def test_train_evaluate_reconstruct(heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    options = [
        "--size",
        "32",
        "--width",
        "4",
        "--order",
        "vdla",
        "--batch-size",
        "4",
        "--images",
        "16",
        "--threads",
        "1",
    ]
    main(["train", "--data", str(heads), "--out", str(run), *options])
    assert (run / "best" / "weights.safetensors").is_file()
    main(["evaluate", str(run), "--data", str(heads)])
    printed = capsys.readouterr().out
    assert all(row in printed for row in ("model", "untrained start", "null depth", "average depth", "coverage"))
    record = json.loads((run / "evaluation" / "test" / "scores.json").read_text())
    assert record["images"] == 8
    assert len((run / "evaluation" / "test" / "scores.csv").read_text().splitlines()) == 9
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 40, 3), dtype=np.uint8)).save(photo)
    main(["reconstruct", str(photo), "--model", str(run), "--out", str(tmp_path / "out"), "--animation", "none",
          "--crop", "center"])  # fmt: skip
    assert (tmp_path / "out" / "index.html").is_file()
    assert (tmp_path / "out" / "photo" / "mesh.glb").is_file()


def test_export_reads_back(heads: Path, tmp_path: Path) -> None:
    main(["data", "export", "--store", str(heads / "test"), "--out", str(tmp_path / "png" / "test")])
    prepared = ["data", "prepare", str(tmp_path / "png"), "--size", "32", "--crop", "none", "--keep-duplicates"]
    main([*prepared, "--out", str(tmp_path / "back")])
    for name in ("image", "depth"):
        original, back = (np.load(root / "test" / f"{name}.npy") for root in (heads, tmp_path / "back"))
        np.testing.assert_array_equal(original, back)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["paint"], "there is no command 'paint'"),
        (["data", "paint"], "heads, prepare, check, join, shards, export"),
        (["train", "--data", "HEADS", "--out", "OUT", "--size", "32", "--order", "VDLL"], "each of V, D, L, A once"),
        (["train", "--data", "HEADS", "--out", "OUT", "--size", "32", "--order", "VDX"], "each of V, D, L, A once"),
        (["train", "--data", "HEADS", "--out", "OUT", "--size", "48"], "32, 64, 128, 256"),
        (["train", "--data", "HEADS", "--out", "OUT", "--recipe", "soup"], "robust, paper"),
        (["train", "--data", "HEADS", "--out", "OUT", "--size", "32", "--device", "cuda:7"], "CUDA devices"),
        (["train", "--data", "NOWHERE", "--out", "OUT"], "NOWHERE"),
        (["evaluate", "OUT/none", "--data", "HEADS"], "holds no model"),
        (["reconstruct", "NOWHERE.png", "--out", "OUT"], "NOWHERE.png"),
    ],
)
def test_bad_input_is_one_line(
    args: list[str], expected: str, heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [arg.replace("HEADS", str(heads)).replace("OUT", str(tmp_path)) for arg in args]
    assert expected in error_line(*filled, capsys=capsys)


def test_process_exit_codes(tmp_path: Path) -> None:
    done = scr3d("evaluate", tmp_path, "--data", tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert scr3d("--version").stdout.startswith("scr3d ")


HEAVY = ("torch", "warp", "trimesh", "lightning_fabric", "tensorboard", "optuna", "matplotlib", "scipy", "imageio")


@pytest.mark.parametrize(
    "command",
    [
        "reconstruct",
        "train",
        "search",
        "intervene",
        "describe",
        "evaluate",
        "export-onnx",
        "data heads",
        "data prepare",
        "data check",
    ],
)
def test_help_does_not_wait_for_the_heavy_libraries(command: str) -> None:
    words = [*command.split(), "--help"]
    code = f"""
import sys
from scr3d.cli import main
try:
    main({words!r})
except SystemExit:
    pass
print("loaded:", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: scr3d " + command in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_reconstruct_imports_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    photo, out = Path(__file__).parent.parent / "examples" / "head-01.png", tmp_path / "out"
    args = ["reconstruct", str(photo), "--out", str(out), "--animation", "none"]
    unneeded = [name for name in HEAVY if name not in ("torch", "warp", "trimesh", "scipy")]  # trimesh imports scipy
    code = f"""
import sys
from scr3d.cli import main
main({args!r})
print("loaded:", [name for name in {unneeded!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"
    assert (out / "head-01" / "mesh.glb").is_file()


@pytest.mark.parametrize(
    "args",
    [
        ["reconstruct", "PHOTO", "--out", "OUT"],
        ["evaluate", "--data", "HEADS", "--out", "OUT"],
        ["data", "heads", "--count", "1", "--size", "16", "--out", "OUT"],
    ],
)
def test_threads_are_counted_from_one(
    args: list[str], heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = Path(__file__).parent.parent / "examples" / "head-01.png"
    places = {"PHOTO": str(photo), "HEADS": str(heads), "OUT": str(tmp_path / "out")}
    filled = [places.get(arg, arg) for arg in args]
    assert "--threads must be at least 1" in error_line(*filled, "--threads", "-1", capsys=capsys)


def test_evaluate_names_a_missing_device(heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["evaluate", "--data", heads, "--out", tmp_path / "out", "--device", "cuda:9"]
    assert "--device cuda:9: this machine has" in error_line(*args, capsys=capsys)
