"""Interventions and comparisons as the page asks for them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from studio_files import EXAMPLES

from scr3d.causal import Order
from scr3d.data.photos import read_photos
from scr3d.errors import ConfigError
from scr3d.factors import FACTORS, Factor
from scr3d.interventions import Role
from scr3d.models.io import load_model
from scr3d.studio.compare import as_table, compare
from scr3d.studio.config import UploadLimits
from scr3d.studio.editing import Edits
from scr3d.studio.graph_svg import Drawing, drawing_of, in_words, plain_drawing, svg
from scr3d.studio.library import ModelLibrary
from scr3d.studio.markup import figure, note, table
from scr3d.studio.photos import Frame, read_file, synthetic_head
from scr3d.studio.what_if import Question, Way, answer, ask, summary

PATHS = [EXAMPLES / f"head-{number}.png" for number in ("01", "04", "06")]


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    return read_photos(PATHS, 32)


@pytest.mark.parametrize("name", ["dense", "recursive", "dynamic", "alone"])
@pytest.mark.parametrize("factor", FACTORS)
def test_non_descendants_stay_to_the_last_bit(
    name: str, factor: Factor, photos: torch.Tensor, tiny_models: dict[str, Path]
) -> None:
    model = load_model(tiny_models[name])
    result = ask(model, photos[:1], photos[1:2], Question(factor, Way.CAUSE))
    roles = result.roles()
    assert roles[factor] is Role.REPLACED
    edges = model.structure.get_buffer("mask").numpy() != 0
    followers = {FACTORS[child] for child in np.flatnonzero(edges[:, FACTORS.index(factor)])}
    followers -= {factor}
    for other in set(FACTORS) - {factor}:
        # Under recursive mixing of a dense order, descendants are children as well.
        assert roles[other] is (Role.FOLLOWS if other in followers else Role.UNCHANGED)
    text = answer(model, result)
    assert text.count(">stays<") == 3 - len(followers)
    assert text.count(">follows<") == len(followers)
    assert text.count("same to the last bit") == 3 - len(followers)


def test_ways_of_intervening(photos: torch.Tensor, tiny_models: dict[str, Path]) -> None:
    model = load_model(tiny_models["dense"])
    value = ask(model, photos[:1], photos[1:2], Question(Factor.ALBEDO, Way.VALUE))
    assert value.roles()[Factor.ALBEDO] is Role.SET
    assert [role for role in value.roles().values()].count(Role.UNCHANGED) == 3
    by_hand = ask(model, photos[:1], None, Question(Factor.VIEW, Way.HAND, edits=Edits(yaw_deg=30.0)))
    assert by_hand.roles()[Factor.VIEW] is Role.SET
    noise = ask(model, photos[:1], None, Question(Factor.ALBEDO, Way.NOISE, sigma=0.5, seed=3))
    assert set(noise.roles().values()) == {Role.REPLACED, Role.FOLLOWS}
    nothing = ask(model, photos[:1], photos[1:2], Question(Factor.ALBEDO, Way.CAUSE, share=0.0))
    assert not nothing.changed.any()


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Question(Factor.LIGHT, Way.CAUSE), "taking the light from another photo needs one: add a second photo"),
        (Question(Factor.DEPTH, Way.HAND), "no value of the depth is set by hand: move one of its sliders"),
        (Question(Factor.ALBEDO, Way.HAND), "no value of the albedo is set by hand: albedo has no slider"),
        (Question(Factor.LIGHT, Way.NOISE, sigma=-1.0), "sigma must be a number of at least 0"),
    ],
)
def test_questions_without_an_answer_are_refused(
    question: Question, message: str, photos: torch.Tensor, tiny_models: dict[str, Path]
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        ask(load_model(tiny_models["dense"]), photos[:1], None, question)


def test_the_sentence_says_what_follows_and_what_stays(photos: torch.Tensor, tiny_models: dict[str, Path]) -> None:
    model = load_model(tiny_models["dense"])  # ADLV

    def said(factor: Factor, way: Way, other: str | None = "b.png", **more: float) -> str:
        question = Question(factor, way, **more)
        return summary(question, other, ask(model, photos[:1], photos[1:2], question))

    assert said(Factor.LIGHT, Way.CAUSE) == (
        "do(light: cause from b.png). view follows; depth and albedo stay the same to the last bit."
    )
    assert said(Factor.ALBEDO, Way.CAUSE, share=0.25) == (
        "do(albedo: cause from b.png (25%)). view, depth and light follow; nothing stays the same to the last bit."
    )
    assert said(Factor.VIEW, Way.VALUE) == (
        "set(view: value from b.png). Nothing follows; depth, light and albedo stay the same to the last bit."
    )


def test_the_graph_shows_along_which_edges_the_effect_went(photos: torch.Tensor, tiny_models: dict[str, Path]) -> None:
    model = load_model(tiny_models["recursive"])  # VDLA
    drawing = drawing_of(ask(model, photos[:1], photos[1:2], Question(Factor.DEPTH, Way.CAUSE)))
    depth, light, albedo = (FACTORS.index(factor) for factor in (Factor.DEPTH, Factor.LIGHT, Factor.ALBEDO))
    assert {tuple(edge) for edge in np.argwhere(drawing.carried)} == {(light, depth), (albedo, depth), (albedo, light)}
    text = svg(drawing)
    assert text.count("<path") == 6
    assert text.count("<circle") == 4
    assert 'aria-label="causal graph: view to depth 1' in text
    assert "albedo follows" in text


def test_graphs_of_any_kind_are_drawn() -> None:
    assert svg(plain_drawing(torch.zeros(4, 4))).count("<path") == 0
    assert in_words(plain_drawing(torch.zeros(4, 4))) == "causal graph: no edges"
    weights = 0.37 * Order.parse("VLAD").mask()
    assert svg(plain_drawing(weights)).count(">0.37<") == 6
    both = np.zeros((4, 4))
    both[0, 1] = both[1, 0] = 0.5
    text = svg(Drawing(both))
    first, second = re.findall(r'<path d="([^"]+)"', text)
    assert first != second


def test_comparison_scores_heads_and_says_when_it_cannot(tiny_models: dict[str, Path]) -> None:
    library = ModelLibrary({"dense": tiny_models["dense"], "shipped": None})
    models = [library.get(name) for name in library.names]
    head = synthetic_head(0, 3)
    found = compare(head, Frame(), models)
    assert found[1].scores.side_e2 < found[0].scores.side_e2
    assert found[1].scores.mad_deg < found[0].scores.mad_deg
    assert 0.9 < found[1].scores.coverage <= 1
    text = as_table(head, found)
    assert f"<b>SIDE {found[1].scores.side_e2:.3f}</b>" in text
    assert f"SIDE {found[0].scores.side_e2:.3f}<br>" in text
    assert text.count("<img") == 8
    photo = read_file(PATHS[0], UploadLimits())
    unknown = compare(photo, Frame(), models)
    assert all(one.scores is None for one in unknown)
    assert "Nothing true is known" in as_table(photo, unknown)
    assert compare(head, Frame(zoom=2.0), models)[0].scores is None


def test_a_comparison_scores_as_evaluate_does(tiny_models: dict[str, Path]) -> None:
    """The truth of a head is that of the stored set."""
    from scr3d.data.heads import HeadsConfig, sample
    from scr3d.training.validation import compare_with_truth

    model = ModelLibrary({"dense": tiny_models["dense"]}).get("dense")
    made = sample(HeadsConfig(split="test", size=32), np.array([7]))
    with torch.no_grad():
        explained = model.network.reconstruct(made.image)
    expected = compare_with_truth(model.network, explained, synthetic_head(0, 7).head.truth(32)).depth
    (found,) = compare(synthetic_head(0, 7), Frame(), [model])
    assert found.scores.side_e2 == pytest.approx(100 * float(expected.side[0]), rel=1e-4)


def test_what_comes_from_elsewhere_is_escaped() -> None:
    evil = '"><script>alert(1)</script>'
    for text in (note(evil), figure("", evil)):
        assert "<script" not in text
    assert "<th" in table(("a",), [["b"]])
