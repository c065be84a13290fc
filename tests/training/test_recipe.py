import pytest

from scr3d.errors import ConfigError
from scr3d.models import DepthStart
from scr3d.training.config import recipe_defaults
from scr3d.training.recipe import RECIPES, Recipe


def test_smoothness_decays_from_its_start_to_its_end():
    recipe = Recipe(smoothness=5.0, smoothness_end=1.0, smoothness_decay=1000)
    assert recipe.smoothness_at(0) == 5
    assert recipe.smoothness_at(1000) == pytest.approx(1 + 4 * 0.36788, rel=1e-4)
    assert recipe.smoothness_at(10**6) == pytest.approx(1)


def test_the_rotation_penalty_decays_to_nothing():
    recipe = Recipe(rotation_penalty=0.4, rotation_penalty_decay=500)
    assert recipe.rotation_penalty_at(0) == pytest.approx(0.4)
    assert recipe.rotation_penalty_at(500) == pytest.approx(0.4 * 0.36788, rel=1e-4)
    assert recipe.rotation_penalty_at(10**6) == pytest.approx(0)


def test_the_view_is_warmed_up():
    recipe = Recipe(view_warmup=2000)
    assert [recipe.view_scale_at(images) for images in (0, 500, 2000, 9000)] == [0, 0.25, 1, 1]
    assert Recipe(view_warmup=0).view_scale_at(0) == 1


def test_the_papers_recipe_has_none_of_our_regularisers():
    paper = RECIPES["paper"]
    assert paper.masked
    assert not paper.continued
    for images in (0, 10_000):
        assert paper.smoothness_at(images) == 0
        assert paper.rotation_penalty_at(images) == 0
        assert paper.light_penalty_at(images) == 0
        assert paper.view_scale_at(images) == 1
    assert paper.translation_penalty == 0
    assert (paper.flip_weight, paper.perceptual_weight) == (0.5, 1.0)


def test_the_papers_recipe_sets_model_and_optimiser_too():
    model, recipe, optimiser = recipe_defaults("paper")
    assert recipe is RECIPES["paper"]
    assert (model.depth_start, model.max_translation, model.start_scale) == (DepthStart.FLAT, 0.1, 1.0)
    assert (optimiser.rate, optimiser.weight_decay, optimiser.batch_size) == (1e-4, 5e-4, 64)
    assert (optimiser.beta1, optimiser.beta2) == (0.9, 0.999)
    assert (optimiser.final_decay, optimiser.gradient_clip, optimiser.average) == (0, 0, 0)


def test_the_default_is_the_robust_recipe():
    assert recipe_defaults("robust")[1] == Recipe()


def test_an_unknown_recipe_is_refused():
    with pytest.raises(ConfigError, match="robust, paper"):
        recipe_defaults("cake")


@pytest.mark.parametrize("name", ["smoothness_decay", "rotation_penalty_decay", "light_penalty_decay"])
def test_a_decay_over_no_images_is_refused(name):
    with pytest.raises(ConfigError, match=name.replace("_", "-")):
        Recipe(**{name: 0})
