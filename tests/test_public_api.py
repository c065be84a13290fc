"""The public names and what they take, compared with the list in public-api.txt.

A change that is meant: `python tests/test_public_api.py` writes the list anew; the changelog says what has changed.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("public-api.txt")
PACKAGES = (
    "scr3d",
    "scr3d.causal",
    "scr3d.geometry",
    "scr3d.interventions",
    "scr3d.losses",
    "scr3d.models",
    "scr3d.rendering",
    "scr3d.search",
)
OPTIONS = ("Config", "Options")
"""Ends of the names of records of options: they grow with the command line, whose help lists them."""


def lines_of(package: str) -> list[str]:
    """One line for every name, function and method."""
    module = import_module(package)
    return [line for name in sorted(module.__all__) for line in described(f"{package}.{name}", getattr(module, name))]


def described(name: str, item: object) -> list[str]:
    if inspect.isfunction(item):
        return [f"{name}{inspect.signature(item)}"]
    if not inspect.isclass(item) or name.endswith(OPTIONS):
        return [name]
    if issubclass(item, Exception | str):
        return [name, *(f"{name}.{member}" for member in getattr(item, "__members__", ()))]
    lines = [f"{name}{initialiser(item)}"]
    for member, value in sorted(vars(item).items()):
        if member.startswith("_"):
            continue
        value = getattr(value, "__func__", value)
        if inspect.isfunction(value):
            lines.append(f"{name}.{member}{inspect.signature(value)}")
        elif isinstance(value, property):
            lines.append(f"{name}.{member}")
    return lines


def initialiser(item: type) -> str:
    try:
        return str(inspect.signature(item))
    except ValueError:
        return ""


def whole_list() -> str:
    text = "\n".join(line for package in PACKAGES for line in lines_of(package)) + "\n"
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def test_public_names_and_signatures_are_those_of_the_list() -> None:
    # In a process of its own, without the checks that the tests put around functions.
    made = subprocess.run([sys.executable, __file__, "--print"], capture_output=True, text=True, check=True).stdout
    found, wanted = made.splitlines(), LIST.read_text().splitlines()
    gone, new = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    assert (gone, new) == ([], []), f"the public interface has changed: see {LIST.name} and the head of this file"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_package_says_what_it_is(package: str) -> None:
    module = import_module(package)
    assert len(module.__doc__ or "") > 60
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_every_public_function_of_scr3d_itself_is_described() -> None:
    import scr3d

    for name in scr3d.__all__:
        item = getattr(scr3d, name)
        if inspect.isfunction(item) or inspect.isclass(item):
            assert item.__doc__, name


def test_importing_scr3d_imports_nothing_heavy() -> None:
    code = "import sys, scr3d; scr3d.TrainConfig; print([m for m in ('torch', 'PIL', 'warp') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_names_are_missing() -> None:
    import scr3d

    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        scr3d.lode  # noqa: B018


def test_a_missing_extra_is_named() -> None:
    code = """
import sys
sys.modules["optuna"] = None
try:
    from scr3d.search import OrderSampler
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "scr3d.search.sampler.OrderSampler needs optuna: pip install 'scr3d[search]'"


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        print(whole_list(), end="")
    else:
        LIST.write_text(whole_list())
