import math

import pytest

from scr3d.training.collapse import GRACE_IMAGES, find_collapse
from scr3d.training.recipe import RECIPES, Recipe

HEALTHY = {
    "reconstruction": 0.4,
    "coverage_frame": 0.93,
    "yaw_std_deg": 14.0,
    "albedo_std": 0.12,
    "convexity": 0.8,
    "depth_range": 0.12,
}
RECIPE = Recipe(view_warmup=10_000)
AFTER = GRACE_IMAGES + 10_000
CASES = [
    ({"coverage_frame": 0.3}, "views have run away: the surface covers 30% of the frame"),
    ({"yaw_std_deg": 50.0}, "yaw varies by 50 degrees"),
    ({"albedo_std": 0.01}, "albedo is nearly constant"),
    ({"convexity": -0.6}, "inside out"),
    ({"depth_range": 0.002}, "the surface is flat"),
]


def test_a_healthy_run_is_left_alone():
    for images in (0, AFTER, 10**7):
        assert find_collapse(HEALTHY, images, RECIPE) is None


@pytest.mark.parametrize(("change", "words"), CASES)
def test_each_collapse_is_named_after_the_grace_period(change, words):
    message = find_collapse(HEALTHY | change, AFTER, RECIPE)
    assert message is not None
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(("change", "words"), CASES)
def test_early_states_are_not_judged(change, words):
    assert find_collapse(HEALTHY | change, AFTER - 1, RECIPE) is None
    assert find_collapse(HEALTHY | change, GRACE_IMAGES, Recipe(view_warmup=0)) is not None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_said_at_once(value):
    message = find_collapse(HEALTHY | {"reconstruction": value}, 0, RECIPE)
    assert message is not None
    assert "not a finite number" in message


def test_the_advice_fits_the_recipe():
    runaway = HEALTHY | {"coverage_frame": 0.1}
    assert "--recipe robust" in (find_collapse(runaway, 10**6, RECIPES["paper"]) or "")
    assert "--rotation-penalty" in (find_collapse(runaway, 10**6, RECIPES["robust"]) or "")


def test_unknown_quantities_do_not_hide_a_collapse():
    # A convexity that is undefined (the surface does not vary at all) is no reason to stay silent.
    flat = HEALTHY | {"convexity": math.nan, "depth_range": 0.0}
    assert "flat" in (find_collapse(flat, AFTER, RECIPE) or "")
