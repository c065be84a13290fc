"""The examples in docstrings are run as they stand there."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
WITH_EXAMPLES = {
    "scr3d.api.model",
    "scr3d.api.result",
    "scr3d.causal",
    "scr3d.geometry",
    "scr3d.interventions",
    "scr3d.losses",
    "scr3d.metrics",
    "scr3d.models",
    "scr3d.rendering",
    "scr3d.search",
}
"""Modules that must have one."""


def modules_with_examples() -> list[str]:
    paths = [path for path in SOURCE.rglob("*.py") if ">>> " in path.read_text()]
    return sorted(".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for path in paths)


def test_the_public_modules_have_examples() -> None:
    assert set(modules_with_examples()) >= WITH_EXAMPLES


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_do_what_they_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert done.attempted > 0
    assert done.failed == 0
