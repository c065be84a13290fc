"""Wheel and source package: built, looked at, and used in clean environments without extras."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import scr3d

ROOT = Path(__file__).parents[1]
LARGEST_WHEEL = 20e6
LARGEST_SOURCE_FILE = 1_000_000
DATA_FILES = {".safetensors", ".npz", ".png", ".json", ".css", ".js", ".inc"}
"""What the wheel has beside Python."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MISSING_EXTRAS = {
    "search": (["search", "--data", "heads", "--out", "orders"], "optuna: pip install 'scr3d[search]'"),
    "studio": (["studio"], "viser: pip install 'scr3d[studio]'"),
    "bench": (["benchmark", "--data", "heads", "--out", "bench"], "pip install 'scr3d["),
    "hub": (["describe", "hf://someone/model"], "huggingface_hub: pip install 'scr3d[hub]'"),
    "onnx": (["export-onnx", "--out", "onnx"], "pip install 'scr3d[onnx]'"),
    "shards": (["train", "--data", "{train,val}-000000.tar", "--out", "sharded"], "pip install 'scr3d[shards]'"),
    "launch": (["search", "--data", "heads", "--out", "orders", "--workers", "2"], "pip install 'scr3d["),
}
"""A command for each extra, and how its line ends without it."""


def run(
    command: Sequence[object], folder: Path, timeout_s: float = 3600, **variables: str
) -> subprocess.CompletedProcess:
    """A command in a folder outside the clone, which sees nothing of it."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


@dataclass(frozen=True)
class Built:
    """What was built: a wheel from the clone, a source package, and a wheel from that."""

    wheel: Path
    source: Path
    wheel_of_source: Path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    for package in ("build", "hatchling"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install {package}")
    folder = tmp_path_factory.mktemp("packages")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
    for kind in ("wheel", "sdist"):
        done = run([*build, folder, f"--{kind}", ROOT], folder)
        assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    done = run([*build, folder / "again", "--wheel", unpacked], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (again,) = (folder / "again").glob("*.whl")
    return Built(wheel, source, again)


@pytest.mark.slow
def test_the_wheel_has_everything_and_nothing_else(built: Built) -> None:
    assert built.wheel.stat().st_size < LARGEST_WHEEL
    with zipfile.ZipFile(built.wheel) as archive:
        names = archive.namelist()
    expected = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "scr3d").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    # The model card is kept among the pages and lies beside the weights in the wheel.
    assert {name for name in names if ".dist-info/" not in name} == {*expected, "scr3d/assets/model/README.md"}
    for name in ("scr3d/py.typed", "scr3d/assets/model/weights.safetensors", "scr3d/fused/native/layer.inc"):
        assert name in names
    licences = {name.rpartition("/")[2] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}
    stray = [n for n in names if ".dist-info/" not in n and Path(n).suffix not in {*DATA_FILES, ".py", ".typed", ".md"}]
    assert stray == []
    assert not [name for name in names if "test" in Path(name).parts[0]]


@pytest.mark.slow
def test_the_source_package_builds_the_same_wheel(built: Built) -> None:
    def content(wheel: Path) -> dict[str, int]:
        with zipfile.ZipFile(wheel) as archive:
            return {entry.filename: entry.CRC for entry in archive.infolist()}

    assert content(built.wheel) == content(built.wheel_of_source)
    with tarfile.open(built.source) as archive:
        members = {member.name.partition("/")[2]: member.size for member in archive.getmembers()}
    for name in ("CITATION.cff", "NOTICE", "tests/test_packages.py", "docs/conventions.md", "constraints.txt"):
        assert name in members
    large = [
        name for name, size in members.items() if size > LARGEST_SOURCE_FILE and not name.startswith("src/scr3d/assets")
    ]
    assert large == []
    assert not [name for name in members if name.startswith((".venv", "runs", "data", "demo", "site", ".git/"))]


@functools.cache
def interpreter(version: str) -> Path | None:
    """A Python of that version on this machine, if there is one."""
    places = [*Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), shutil.which(f"python{version}")]
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        places.append(sys._base_executable if hasattr(sys, "_base_executable") else sys.executable)
    for place in filter(None, places):
        done = subprocess.run(
            [place, "-c", "import sys, venv; print(sys.version_info[:2])"], capture_output=True, text=True
        )
        if done.stdout.strip() == str(tuple(map(int, version.split(".")))):
            return Path(place)
    return None


def environment_of(version: str, folder: Path) -> Path:
    """The folder of programs of a new environment; skips where this Python is not to be had."""
    found = interpreter(version)
    if found is None:
        pytest.skip(f"there is no Python {version} on this machine")
    made = run([found, "-m", "venv", folder], folder.parent)
    assert made.returncode == 0, made.stderr
    return folder / "bin"


def pip(programs: Path, *args: object) -> subprocess.CompletedProcess:
    command = [programs / "python", "-m", "pip", "install", "--constraint", ROOT / "constraints.txt", *args]
    return run(command, programs.parent)


@pytest.fixture(scope="session", params=PYTHONS)
def installed(built: Built, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of an environment with the wheel and nothing else, on a Python that has a PyTorch for CPUs."""
    folder = tmp_path_factory.mktemp(f"python-{request.param}")
    programs = environment_of(request.param, folder / "environment")
    # The build for GPUs brings gigabytes of NVIDIA's libraries.
    planned = pip(programs, "--dry-run", "torch")
    if planned.returncode != 0:
        pytest.skip(f"no PyTorch for Python {request.param} is at hand: {planned.stderr.strip().splitlines()[-1]}")
    if re.search(r"Would install .*\b(nvidia|cuda|triton)", planned.stdout):
        pytest.skip(f"for Python {request.param} there is no PyTorch for CPUs at hand, only the one for GPUs")
    done = pip(programs, built.wheel)
    assert done.returncode == 0, done.stderr
    return programs


def without_network() -> list[str]:
    """What starts a command without any network, where the system allows it; `--offline` holds everywhere."""
    command = ["unshare", "--net", "--map-root-user"]
    allowed = shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0
    return command if allowed else []


@pytest.mark.slow
def test_a_clean_installation_reconstructs_trains_and_names_what_is_missing(installed: Path, tmp_path: Path) -> None:
    command = installed / "scr3d"
    isolated = without_network()

    def scr3d_(*args: object, code: int = 0) -> subprocess.CompletedProcess:
        done = run([*isolated, command, "--offline", *args], tmp_path)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    shutil.copy(ROOT / "examples" / "head-01.png", tmp_path / "photo.png")
    assert "reconstruct" in scr3d_("--help").stdout
    scr3d_("reconstruct", "photo.png", "--out", "results", "--frames", "4", "--render-size", "64")
    assert list((tmp_path / "results").rglob("*.glb"))
    assert (tmp_path / "results" / "index.html").is_file()
    for split, count in (("train", 16), ("val", 8)):
        scr3d_("data", "heads", "--split", split, "--count", count, "--size", 32, "--out", "heads")
    options = ["--size", 32, "--width", 4, "--images", 16, "--batch-size", 4, "--threads", 1, "--order", "ADLV"]
    assert "done" in scr3d_("train", "--data", "heads", "--out", "run", *options).stdout
    assert "of the example as expected" in scr3d_("doctor").stdout
    for extra, (args, line) in MISSING_EXTRAS.items():
        text = scr3d_(*args, code=2).stderr.strip()
        assert line in text, (extra, text)
        assert "\n" not in text, (extra, text)


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_everything_but_pytorch_works_on_every_python(built: Built, version: str, tmp_path: Path) -> None:
    """All other packages install, all modules compile, options are read, and the doctor names what is missing."""
    programs = environment_of(version, tmp_path / "environment")
    page = (ROOT / "docs" / "licences.md").read_text()
    others = [name for name in re.findall(r"^\| ([\w.-]+) \|.*\| always \|$", page, re.MULTILINE) if name != "torch"]
    done = pip(programs, "--no-deps", "--only-binary", ":all:", built.wheel, *others)
    assert done.returncode == 0, done.stderr
    (package,) = (tmp_path / "environment").glob("lib/python*/site-packages/scr3d")
    done = run([programs / "python", "-W", "error", "-m", "compileall", "-q", "-f", package], tmp_path)
    assert done.returncode == 0, done.stdout
    assert "--batch-size" in run([programs / "scr3d", "train", "--help"], tmp_path).stdout
    report = run([programs / "scr3d", "doctor"], tmp_path)
    assert report.returncode == 1, report.stderr
    lines = report.stdout.splitlines()
    faults = [line.split()[1] for line in lines if line.startswith(" X")]
    assert set(faults) <= {"torch", "lightning-fabric", "tensorboard", "shipped"}, report.stdout
    assert "torch" in faults
    done = run([programs / "scr3d", "reconstruct", ROOT / "examples" / "head-01.png", "--out", "results"], tmp_path)
    assert (done.returncode, "the package torch is missing" in done.stderr) == (2, True), done.stderr


def test_metadata_say_what_is_true() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    tested = {line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r"Python :: 3\.\d+$", line)}
    assert tested <= set(PYTHONS)
    pinned = {
        line.partition("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()
    }
    for lines in (project["dependencies"], *project["optional-dependencies"].values()):
        for line in lines:
            name = re.split(r"[\[<>=]", line)[0].lower().replace("_", "-")
            assert name in pinned or name == "scr3d", f"{name} is not pinned in constraints.txt"


def test_the_citation_is_of_this_version_and_names_both_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert (citation["type"], citation["version"], citation["license"]) == ("software", scr3d.__version__, "MIT")
    assert [(one["year"], len(one["authors"])) for one in citation["references"]] == [(2022, 5), (2020, 3)]


def test_every_asset_is_in_the_notice() -> None:
    """Everything that is no text of this project's own: where it comes from and under which licence."""
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    named = re.findall(r"src/scr3d/assets/[\w./-]+\w", notice)
    files = [path for path in (ROOT / "src" / "scr3d").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    foreign = [
        path for path in files if path.suffix in {".safetensors", ".npz", ".png", ".ttf", ".woff2", ".svg", ".hdr"}
    ]
    assert len(foreign) >= 5
    for path in foreign:
        name = path.relative_to(ROOT).as_posix()
        assert any(name == one or name.startswith(one + "/") for one in named), f"{name} is not in NOTICE"
    for name in named:
        assert (ROOT / name).exists(), f"NOTICE names {name}, which is not there"
    scripts = [path for path in files if path.suffix in {".js", ".css", ".inc"}]
    minified = [path.name for path in scripts if max(map(len, path.read_text(encoding="utf-8").splitlines())) > 400]
    assert minified == [], "a script of others? It belongs into NOTICE"
    copied = [
        path.name
        for path in files
        if path.suffix in {".py", ".js", ".css", ".inc"} and "Copyright (c)" in path.read_text()
    ]
    assert copied == []
