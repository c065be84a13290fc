from __future__ import annotations

from pathlib import Path

import pytest

from scr3d.data.heads import HeadsConfig, generate

pytest.importorskip("optuna")


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("heads")
    for split, count in (("train", 24), ("val", 8)):
        generate(HeadsConfig(split=split, count=count, size=32), root, progress=lambda done, count: None)
    return root
