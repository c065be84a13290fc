"""The notebooks: whole, small, and every cell runs."""

from __future__ import annotations

import importlib.util
import io
import re
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install 'scr3d[test]'")
FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = ["causal-orders", "interventions", "quick-start"]
LARGEST_BYTES = 500_000


def test_these_are_all() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_kept_with_the_outputs_of_one_run(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert "error" not in {output.output_type for output in outputs}
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert path.stat().st_size < LARGEST_BYTES
    assert not re.search(r"/(home|root|tmp|work|Users)/", path.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_links_hold(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    assert links
    assert [link for link in links if not (FOLDER / link).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_site_shows_text_code_and_pictures(name: str) -> None:
    content = (FOLDER / f"{name}.ipynb").read_text()
    page, pictures = tool("notebook_pages").page_of(content, name)
    cells = nbformat.reads(content, as_version=4).cells
    assert all(cell.source in page for cell in cells)
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    assert len(pictures) == sum("image/png" in output.get("data", {}) for output in outputs)
    for file, picture in pictures.items():
        assert f"({file})" in page
        assert Image.open(io.BytesIO(picture)).width > 100
    assert all(output.text.rstrip() in page for output in outputs if output.output_type == "stream")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_cell_runs(name: str) -> None:
    pytest.importorskip("nbclient", reason="nbclient is not installed: pip install 'scr3d[test]'")
    path = FOLDER / f"{name}.ipynb"
    kept, ran = nbformat.read(path, as_version=4), tool("run_notebooks").execute(path)
    # A cell says as much as it said when it was kept: pictures, text. The error output is about the machine.
    assert [kinds_of(cell) for cell in ran.cells] == [kinds_of(cell) for cell in kept.cells]


def tool(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, FOLDER.parent / "tools" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def kinds_of(cell) -> list[str]:
    if cell.cell_type != "code":
        return []
    return sorted({output.get("name", output.output_type) for output in cell.outputs} - {"stderr"})
