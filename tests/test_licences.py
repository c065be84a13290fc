import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def licences():
    specification = importlib.util.spec_from_file_location("licences", ROOT / "tools" / "licences.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["licences"] = module  # dataclasses look for their module there
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def packages(licences):
    return licences.needed()


def test_there_is_no_copyleft_that_nobody_knows_of(licences, packages):
    assert len(packages) > 50
    assert licences.surprises(packages) == []


def test_a_copyleft_would_be_found(licences):
    found = [
        licences.Licensed(name, text, "") for name, text in (("a", "GPL-3.0-only"), ("b", "unknown"), ("c", "MIT"))
    ]
    assert licences.surprises(found) == ["a: GPL-3.0-only", "b: unknown"]
    assert licences.permitted("MIT AND (Apache-2.0 WITH LLVM-exception)")
    assert licences.permitted("GPL-3.0-only OR MIT")
    assert not licences.permitted("MIT AND LGPL-3.0-only")


def test_the_page_is_current(licences, packages):
    """Every package of this machine is on the page as it is; the page has none that is not pinned."""
    text = (ROOT / "docs" / "licences.md").read_text()
    missing = [one.line for one in packages if one.line not in text]
    assert not missing, "write the page again: python tools/licences.py"
    pinned = {re.split("==", line)[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").open()}
    listed = re.findall(r"^\| ([\w.-]+) \|", text, re.MULTILINE)[1:]
    # PyTorch has many builds, of which `make install` takes the right one; setuptools comes with it.
    assert {name for name in listed if name.lower() not in pinned} <= {"torch", "setuptools"}
