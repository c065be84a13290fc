"""Presets of training for kinds of objects."""

from __future__ import annotations

import json

import numpy as np
import pytest

from scr3d.cli import main
from scr3d.commands.parsing import take_choice
from scr3d.data.store import ArraySpec, StoreInfo, StoreWriter
from scr3d.photos.options import Kind
from scr3d.training.config import recipe_defaults
from scr3d.training.objects import images_of_epochs, with_object


def defaults(kind, recipe_name):
    model, recipe, _ = recipe_defaults(recipe_name)
    return with_object(kind, recipe_name, model, recipe)


def test_the_papers_values():
    """Those of the experiment files of [U]."""
    expected = {
        Kind.FACE: (0.0, 1.04, 0.0, 1.0, 0.5),
        Kind.CAT: (0.1, 1.04, 0.0, 1.0, 0.5),
        Kind.CAR: (0, 1.08, 0.1, 0.01, 1),
    }
    for kind, values in expected.items():
        model, recipe = defaults(kind, "paper")
        found = (
            model.max_translation_z,
            model.depth_range.border,
            recipe.smoothness,
            recipe.perceptual_weight,
            recipe.flip_weight,
        )
        assert found == pytest.approx(values)
        assert recipe.smoothness_at(10**9) == recipe.smoothness
        assert recipe.masked
        assert model.max_translation == 0.1


def test_faces_are_the_usual_recipe():
    for recipe_name in ("robust", "supervised"):
        model, recipe, _ = recipe_defaults(recipe_name)
        assert with_object(Kind.FACE, recipe_name, model, recipe) == (model, recipe)
    model, recipe, _ = recipe_defaults("supervised")
    assert with_object(Kind.CAR, "supervised", model, recipe) == (model, recipe)
    assert defaults(Kind.CAR, "robust")[1].relief_penalty == 0


def test_epochs_become_images(tmp_path):
    assert images_of_epochs(Kind.CAT, tmp_path) is None
    info = StoreInfo(8, 7, {"image": ArraySpec("uint8", (8, 8, 3))})
    StoreWriter(tmp_path / "train", info).append({"image": np.zeros((7, 8, 8, 3), np.uint8)})
    assert images_of_epochs(Kind.CAT, tmp_path) == 1400
    assert images_of_epochs(Kind.FACE, tmp_path / "train") == 210


@pytest.mark.parametrize(
    ("args", "value", "rest"),
    [
        (["--preset", "cat", "--size", "32"], "cat", ["--size", "32"]),
        (["--preset=car"], "car", []),
        (["--preset", "reference", "--preset", "own"], "own", ["--preset", "reference"]),
        (["--preset=compact"], None, ["--preset=compact"]),
        (["--preset"], None, ["--preset"]),
        ([], None, []),
    ],
)
def test_one_option_stands_for_two_things(args, value, rest):
    assert take_choice(args, "--preset", [kind.value for kind in Kind]) == (value, rest)


@pytest.mark.slow
def test_a_run_takes_the_preset(heads, tmp_path, capsys):
    options = ["--size", "32", "--width", "4", "--batch-size", "4", "--threads", "1", "--validation-images", "4"]
    run = [
        "train",
        "--data",
        str(heads),
        "--out",
        str(tmp_path / "run"),
        "--preset",
        "cat",
        "--order",
        "ADLV",
        *options,
    ]
    main([*run, "--images", "8", "--no-symmetry", "--preset", "compact"])
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"]["max_translation_z"] == 0.02
    assert config["model"]["preset"] == "compact"
    assert config["recipe"]["symmetry"] is False
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert not any("flipped_photometric" in line for line in log)
