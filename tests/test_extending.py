"""The examples of docs/extending.md, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from scr3d.data.store import Store
from scr3d.interventions import NoisyEmbedding, intervene
from scr3d.names import Factor

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"
LONGEST = 45
"""Lines of an example, at most."""


def examples() -> dict[str, str]:
    """The code below every heading."""
    found = re.findall(r"^## (.+?)$.*?^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return dict(found)


def test_the_page_has_three_short_examples() -> None:
    assert list(examples()) == ["A new data set", "A new structure", "A new loss"]
    assert all(len([line for line in code.splitlines() if line.strip()]) <= LONGEST for code in examples().values())


def test_the_examples_run_and_do_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict = {}
    for title, code in examples().items():
        exec(compile(code, f"{PAGE}: {title}", "exec"), names)

    store = Store(tmp_path / "data" / "bumps" / "test")
    assert len(store) == 16
    assert 0.2 < (store.get("depth", slice(None)) > 0).mean() < 0.8

    # The new structure is used, learned with the rest, and its graph is the order's.
    model, structure = names["model"], names["model"].structure
    assert structure.sharpness.grad.abs() > 0
    assert float(structure.sharpness.detach()) != 1.0
    image = names["batch"].image
    with torch.no_grad():
        weights = structure(model.encode(image))
        assert ((weights > 0) == (structure.mask > 0)).all()
        result = intervene(model, image, [NoisyEmbedding(Factor.VIEW, 1.0)])
    assert not result.changed[:, 1:].any()  # in ADLV nothing depends on the view

    # The new loss is part of the sum.
    given = (model, names["batch"], names["features"], names["recipe"], 0)
    with torch.no_grad():
        total = float(names["loss_of"](*given))
        names["patch_loss"] = lambda albedo: 0.0
        assert total > float(names["loss_of"](*given))
