"""Nothing is unpickled: pickles run what their makers want."""

from __future__ import annotations

import ast
import io
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from strangers import READERS
from test_fuzz_readers import tried

from scr3d.errors import CheckpointError
from scr3d.losses.features import vgg16_features

SOURCE = Path(__file__).parents[2] / "src"
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
SAFE_OPTION = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
SAFE_OPTION["torch.hub.load_state_dict_from_url"] = ("weights_only", True)


@pytest.fixture(autouse=True)
def _as_users_see_it(unchecked: None) -> None:
    """Without the tests' own checks of shapes and types."""


def dangers(text: str) -> Iterator[str]:
    """What a source text does that could run the content of a file."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (f"import {a.name}" for a in node.names if a.name.partition(".")[0] in FORBIDDEN_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in FORBIDDEN_MODULES:
            yield f"from {node.module} import"
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in FORBIDDEN_CALLS:
                yield f"{name}()"
            elif name in SAFE_OPTION or name.endswith((".load_pickle", ".read_pickle", ".memmap_pickle")):
                option, safe = SAFE_OPTION.get(name, ("", None))
                given = {k.arg: k.value for k in node.keywords}.get(option)
                if not (isinstance(given, ast.Constant) and given.value is safe):
                    yield f"{name} without {option}={safe}"
            elif any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords):
                yield f"{name} with allow_pickle"


def test_the_search_for_dangers_finds_them() -> None:
    for text in (
        "import pickle",
        "from joblib import load",
        "eval(x)",
        "np.load(p)",
        "torch.load(p)",
        "__import__('a')",
    ):
        assert list(dangers(text)), text
    assert list(dangers("np.load(p, allow_pickle=True)"))
    assert list(dangers("torch.load(p, weights_only=False)"))
    assert not list(dangers("model.eval(); np.load(p, allow_pickle=False); torch.load(p, weights_only=True)"))


def test_the_source_unpickles_and_evaluates_nothing() -> None:
    found = {path.relative_to(SOURCE).as_posix(): list(dangers(path.read_text())) for path in SOURCE.rglob("*.py")}
    assert len(found) > 100
    assert {path: what for path, what in found.items() if what} == {}


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


def bombs(marker: Path) -> dict[str, bytes]:
    """The same bomb as the file formats that may hold pickles."""
    bomb = Bomb(marker)
    array = np.array([bomb], dtype=object)
    new, old, single, several = (io.BytesIO() for _ in range(4))
    torch.save({"features.0.weight": bomb}, new)
    torch.save({"features.0.weight": bomb}, old, _use_new_zipfile_serialization=False)
    np.save(single, array, allow_pickle=True)
    np.savez(several, allow_pickle=True, records=array, photos=array, skipped=array, image=array)
    made = {"pickle": pickle.dumps(bomb), "torch": new.getvalue(), "old torch": old.getvalue()}
    return {**made, "npy": single.getvalue(), "npz": several.getvalue()}


def test_the_bombs_are_live(tmp_path: Path) -> None:
    """Otherwise the tests below would show nothing."""
    marker = tmp_path / "marker"
    made = bombs(marker)
    for load in (
        lambda: pickle.loads(made["pickle"]),
        lambda: torch.load(io.BytesIO(made["torch"]), weights_only=False),
        lambda: np.load(io.BytesIO(made["npy"]), allow_pickle=True),
        lambda: np.load(io.BytesIO(made["npz"]), allow_pickle=True)["records"],
    ):
        load()
        assert marker.exists()
        marker.unlink()


@pytest.mark.parametrize("name", READERS)
def test_no_reader_sets_a_bomb_off(name: str, tmp_path: Path) -> None:
    reader, marker, folder, out = READERS[name], tmp_path / "marker", tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    reader.make(folder)
    targets = sorted(path for path in folder.glob(reader.damaged) if path.is_file())
    made = bombs(marker)
    draws = random.Random(name)
    cases = [(target, kind) for target in targets for kind in made]
    for target, kind in draws.sample(cases, len(cases) if reader.share == 1 else min(len(cases), 4)):
        whole = target.read_bytes()
        target.write_bytes(made[kind])
        tried(name, 0, reader, folder, out)
        assert not marker.exists(), f"{target.name} as {kind}"
        if target.parent.is_dir():
            target.write_bytes(whole)


def test_feature_weights_set_no_bomb_off(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for kind, content in bombs(marker).items():
        (tmp_path / "vgg16.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match="vgg16-397923af"):
            vgg16_features(tmp_path / "vgg16.pth")
        assert not marker.exists(), kind
