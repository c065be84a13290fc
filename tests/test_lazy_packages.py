"""Packages that import their modules on demand."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from scr3d.lazy import lazy_names

PACKAGES = ("scr3d.causal", "scr3d.models", "scr3d.geometry", "scr3d.data.heads")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_is_found_and_is_no_module(package: str) -> None:
    """A function named like its module would be hidden by it as soon as the module is imported."""
    module = importlib.import_module(package)
    for name in module.__all__:
        found = getattr(module, name)
        assert not isinstance(found, ModuleType), name
        assert getattr(found, "__name__", name).removesuffix("_") == name or isinstance(found, dict), name


def test_names_that_are_not_listed_are_missing() -> None:
    find = lazy_names("scr3d.geometry", ("depth_range",), ("DepthRange", "Camera"))
    assert find("DepthRange").__module__ == "scr3d.geometry.depth_range"
    for name in ("dataclass", "Camera"):
        with pytest.raises(AttributeError, match=name):
            find(name)
