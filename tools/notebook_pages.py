"""Notebooks as pages of the site: their text, their code, and the outputs that lie in the file. Nothing is run."""

from __future__ import annotations

import base64
import json
from typing import Any


def page_of(content: str, name: str) -> tuple[str, dict[str, bytes]]:
    """Markdown of a notebook, and its pictures by file name.

    Args:
        content: of the .ipynb file.
        name: of the page, without an ending; the pictures are called after it.
    """
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(content)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(fenced("python", source))
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                picture = f"{name}-{len(pictures) + 1}.png"
                pictures[picture] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![Output]({picture})")
            elif text := printed(output):
                parts.append(fenced("text", text))
    return "\n\n".join(parts) + "\n", pictures


def printed(output: dict[str, Any]) -> str:
    """What an output says as text."""
    return "".join(output.get("text", output.get("data", {}).get("text/plain", ""))).rstrip()


def fenced(language: str, text: str) -> str:
    """Text as a block of code."""
    return f"```{language}\n{text}\n```"
