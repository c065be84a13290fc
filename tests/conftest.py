"""Every function of the package checks the shapes and types of its arguments and results while the tests run."""

from pathlib import Path

import pytest
from jaxtyping import config, install_import_hook

SOURCE = Path(__file__).parent.parent / "src"


def checked_modules() -> list[str]:
    """All modules but those that Warp compiles, which reads annotations in its own way, and the options of training,
    whose required fields the command line fills with a mark before they are parsed.
    """
    modules = [".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in SOURCE.rglob("*.py")]
    return sorted(name for name in modules if not name.endswith(("__init__", "_kernels", "training.config")))


install_import_hook(checked_modules(), "shape_checks.check")


@pytest.fixture(scope="session")
def heads(tmp_path_factory):
    """A few synthetic heads of 32 pixels: 48 for training, 24 for validation."""
    from scr3d.data.heads import HeadsConfig, generate

    root = tmp_path_factory.mktemp("heads")
    for split, count in (("train", 48), ("val", 24)):
        generate(HeadsConfig(split=split, count=count, size=32), root, progress=lambda done, count: None)
    return root


@pytest.fixture
def unchecked():
    """Turns the checks off: for tests of the package's own messages, which users see without the checks."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _refusals_unchecked(request):
    """A test with `refuse` in its name is about such a message."""
    if "refuse" in request.node.name:
        request.getfixturevalue("unchecked")
