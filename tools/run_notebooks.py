"""Run the notebooks and keep their outputs in the files, without what changes from run to run.

python tools/run_notebooks.py [notebooks/quick-start.ipynb ...]
"""

from __future__ import annotations

import argparse
import base64
import io
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

from scr3d.files import write_bytes

FOLDER = Path(__file__).parent.parent / "notebooks"
LONGEST_CELL_S = 600
COLOURS = 256
"""Of a picture that is kept, so that a notebook stays small."""


def execute(path: Path) -> Any:
    """The notebook with the outputs of a new run; its cells see the folder that it lies in.

    Raises:
        CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=LONGEST_CELL_S, startup_timeout=LONGEST_CELL_S, resources=place).execute()
    return notebook


def tidy(notebook: Any) -> None:
    """Leave out times, versions and what libraries say of this machine; bring pictures to few colours."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = small_picture(data["image/png"])
                data.pop("text/plain", None)
                output.metadata = {}


def small_picture(text: str) -> str:
    """A PNG file in base64 with at most 256 colours."""
    picture = Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", type=Path, nargs="*", default=sorted(FOLDER.glob("*.ipynb")))
    for path in parser.parse_args().notebooks:
        notebook = execute(path.resolve())
        tidy(notebook)
        write_bytes(path, nbformat.writes(notebook).encode())
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
