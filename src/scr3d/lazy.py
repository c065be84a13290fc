"""Packages whose names are imported when they are first asked for.

`scr3d train --help` needs the options alone, and importing torch takes longer than everything else that it does. So the
options live in modules without it, and a package on the way to them does not import its other modules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any


def lazy_names(package: str, modules: Sequence[str], names: Sequence[str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package.

    Args:
        package: its `__name__`.
        modules: its modules, in the order in which they are searched for a name; those without torch first.
        names: its `__all__`.
    """

    def find(name: str) -> Any:
        if name in names:
            for module in modules:
                found = import_module(f"{package}.{module}")
                if hasattr(found, name):
                    return getattr(found, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
