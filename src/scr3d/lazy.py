"""Packages whose names are imported when they are first asked for.

`scr3d train --help` needs the options alone, and importing torch takes longer than everything else that it does. So the
options live in modules without it, and a package on the way to them does not import its other modules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

MISSING = object()


def lazy_names(
    package: str, modules: Sequence[str], names: Sequence[str], extra: str | None = None
) -> Callable[[str], Any]:
    """The `__getattr__` of a package.

    Args:
        package: its `__name__`.
        modules: its modules, in the order in which they are searched for a name; those without torch first.
        names: its `__all__`.
        extra: the extra of scr3d that its modules may need.
    """

    def find(name: str) -> Any:
        if name in names:
            for module in modules:
                found = import_name(f"{package}.{module}", name, extra, missing=MISSING)
                if found is not MISSING:
                    return found
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find


def import_name(module: str, name: str, extra: str | None = None, missing: object = None) -> Any:
    """A name of a module, which is imported.

    Args:
        module: full name of the module.
        name: what is asked for.
        extra: the extra of scr3d that the module may need.
        missing: what to return where the module does not have it; None raises AttributeError.

    Raises:
        ModuleNotFoundError: a package of the extra is not installed; the message says how to install it.
    """
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if extra is None or error.name is None or error.name.partition(".")[0] == "scr3d":
            raise
        text = f"{module}.{name} needs {error.name}: pip install 'scr3d[{extra}]'"
        raise ModuleNotFoundError(text, name=error.name) from error
    return getattr(found, name) if missing is None else getattr(found, name, missing)
