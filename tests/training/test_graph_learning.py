"""Learned graphs: every structure trains, resumes exactly and keeps all it has learned."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scr3d.causal import Attention, Order, StructureKind, WeightForm, is_acyclic
from scr3d.data.dataset import Batch
from scr3d.errors import CheckpointError, CollapseError, ConfigError
from scr3d.models import ModelConfig, load_model
from scr3d.training.config import GraphConfig, OptimiserConfig, TrainConfig, recipe_defaults
from scr3d.training.graph import GraphLearner
from scr3d.training.trainer import Trainer, train

TINY = ModelConfig(size=32, width=4, order="ADLV")
STRUCTURES = {
    "independent": {"structure": StructureKind.INDEPENDENT, "order": None},
    "unsplit": {"structure": StructureKind.INDEPENDENT, "order": None, "split": False},
    "dense": {},
    "graph": {"structure": StructureKind.GRAPH, "order": None, "edges": "A>D,D>V"},
    "generic": {"structure": StructureKind.GENERIC, "order": None},
    "generic low rank": {"structure": StructureKind.GENERIC, "order": None, "weight_form": WeightForm.LOW_RANK},
    "generic ordered": {"structure": StructureKind.GENERIC},
    "generic with plain steps": {"structure": StructureKind.GENERIC},
    "dynamic sigmoid": {"structure": StructureKind.DYNAMIC},
    "dynamic cosine": {"structure": StructureKind.DYNAMIC, "attention": Attention.COSINE},
    "dynamic learned": {"structure": StructureKind.DYNAMIC, "attention": Attention.LEARNED},
}


def config(heads: Path, out: Path, name: str, steps: int = 8, **changes: object) -> TrainConfig:
    options: dict = {"images": 4 * steps, "validate_every": 4 * 1000, "validation_images": 12, "threads": 1} | changes
    if name == "generic with plain steps":
        options["graph"] = GraphConfig(plain_steps=2)
    return TrainConfig(
        data=heads,
        out=out,
        model=replace(TINY, **STRUCTURES[name]),
        optimiser=OptimiserConfig(batch_size=4, rate=1e-3),
        **options,
    )


@pytest.mark.parametrize("name", STRUCTURES)
def test_held_out_loss_falls_coverage_holds_and_nothing_is_nan(heads: Path, tmp_path: Path, name: str) -> None:
    train(config(heads, tmp_path, name, steps=40, validate_every=4 * 20))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    validations = [line for line in lines if line["group"] == "validation"]
    assert validations[-1]["reconstruction"] < validations[0]["reconstruction"] - 0.05
    assert validations[-1]["coverage"] > 0.9
    assert all(value == value for value in validations[-1].values())


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_resumed_run_equals_an_uninterrupted_one(heads: Path, tmp_path: Path, name: str) -> None:
    train(config(heads, tmp_path / "whole", name))
    interrupted = Trainer(config(heads, tmp_path / "parts", name))
    for _ in range(3):
        interrupted.train_step()
    interrupted.save()
    resumed = Trainer(config(heads, tmp_path / "parts", name))
    assert resumed.step == 3
    resumed.run()
    whole, parts = (load_model(tmp_path / run / "last").state_dict() for run in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.parametrize(("inner", "between"), [(1, 0), (2, 0), (2, 3), (5, 0)])
def test_inner_steps_are_the_steps_of_the_plain_optimiser(
    heads: Path, tmp_path: Path, inner: int, between: int
) -> None:
    """With a graph that does not move, bilevel training is plain training."""
    still = GraphConfig(graph_reach=1e-30, inner_steps=inner, plain_steps=between)
    bilevel = Trainer(config(heads, tmp_path / "a", "generic ordered", steps=10, graph=still))
    plain = Trainer(config(heads, tmp_path / "b", "generic ordered", steps=10, graph=still))
    plain.steps.graph = None
    plain.model.structure.requires_grad_(False)
    for trainer in (bilevel, plain):
        in_double_precision(trainer)
        while trainer.step < 10:
            trainer.train_step()
    expected = dict(plain.model.named_parameters())
    for name, found in bilevel.model.named_parameters():
        torch.testing.assert_close(found, expected[name], rtol=1e-6, atol=1e-8)


def test_plain_steps_leave_the_graph_as_it_is(heads: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(heads, tmp_path, "generic ordered", graph=GraphConfig(inner_steps=1, plain_steps=2)))
    graphs = []
    while trainer.step < 7:
        trainer.train_step()
        graphs.append(trainer.model.structure.free.detach().clone())
    moved = [not torch.equal(before, after) for before, after in itertools.pairwise(graphs)]
    assert moved == [False, False, True, False, False, True]


def in_double_precision(trainer: Trainer) -> None:
    """Adam's first steps go along the signs of gradients, so rounding would show."""
    trainer.steps.objective.module.double()
    trainer.steps.average.module.double()
    for name in ("train_batch", "graph_batch"):
        read = getattr(trainer.data, name)
        setattr(trainer.data, name, lambda number, read=read: Batch(read(number).image.double(), None))


class OuterProblem:
    """The outer problem of a tiny model under way, in double precision, with its hypergradient as a function.

    The moments of the optimiser are made up: in the first steps of a fresh Adam an update is nearly the sign of the
    gradient, and its derivative is nothing but the tiny gradients' noise.
    """

    def __init__(self, heads: Path, out: Path):
        self.trainer = Trainer(config(heads, out, "generic ordered"))
        for _ in range(3):
            self.trainer.train_step()
        self.objective = self.trainer.steps.objective.module.double()
        self.learner = GraphLearner(self.trainer.config, self.trainer.model)
        self.inner, self.outer = (
            Batch(batch.image.double(), None)
            for batch in (self.trainer.data.train_batch(3), self.trainer.data.graph_batch(3))
        )
        self.optimiser = torch.optim.Adam(list(self.trainer.model.parameters()), lr=1e-3)
        for name, parameter in self.trainer.model.named_parameters():
            generator = torch.Generator().manual_seed(len(name))
            square = 1e-6 + torch.rand(parameter.shape, generator=generator, dtype=torch.float64) * 1e-4
            self.optimiser.state[parameter] = {
                "step": torch.tensor(50.0),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": square,
            }

    def solve(
        self, change: torch.Tensor | None = None, gradient: str = "autograd", rate: float = 3e-3
    ) -> tuple[float, torch.Tensor]:
        """Held-out loss after two inner steps, and its gradient with respect to the graph, moved by `change`."""
        self.learner.config = replace(self.learner.config, graph_gradient=gradient)
        free = self.learner.structure.free
        before = free.detach().clone()
        with torch.no_grad():
            free += 0 if change is None else change
        found, _ = self.learner.hypergradient(
            self.objective,
            self.optimiser,
            lambda number: (self.inner, 20_000),
            (self.outer, 20_000),
            rates=[rate, rate],
            step=0,
        )
        with torch.no_grad():
            free.copy_(before)
        return float(found.held_out), found.gradients[0]


def test_autograd_and_first_order_hypergradients_agree_for_small_steps_and_differ_for_large(
    heads: Path, tmp_path: Path
) -> None:
    problem = OuterProblem(heads, tmp_path)
    below = Order.parse("ADLV").mask() > 0
    apart = []
    for rate in (1e-7, 1e-6, 3e-3):
        exact, approximate = problem.solve(rate=rate)[1], problem.solve(gradient="first-order", rate=rate)[1]
        assert (exact[~below] == 0).all()
        assert (exact[below] != 0).all()
        apart.append(float((exact - approximate).norm() / approximate.norm()))
    # What the first order leaves out is proportional to the weights' learning rate, as long as that is small.
    assert apart[1] / apart[0] == pytest.approx(10, rel=0.1)
    assert apart[0] < apart[1] < apart[2]
    assert apart[2] > 0.05


def test_the_hypergradient_of_the_model_by_autograd_against_finite_differences(heads: Path, tmp_path: Path) -> None:
    """The whole chain: mixing, decoders, renderer, losses, two steps of Adam, and the loss on other images.

    The held-out loss is smooth in the graph but for jumps of about 1e-4, where the gradient of an inner step jumps: a
    pixel comes to show another triangle or texel, an absolute error changes its sign, a unit falls silent. Between two
    jumps the slope is the gradient; where a jump lies within a difference, a smaller one is tried.
    """
    problem = OuterProblem(heads, tmp_path)
    _, gradient = problem.solve()
    for child, parent in Order.parse("ADLV").mask().nonzero().tolist():
        expected = pytest.approx(float(gradient[child, parent]), rel=1e-3, abs=2e-8)  # 2e-8: rounding
        slopes: list[float] = []
        for step in (1e-7, 2e-8, 4e-9):
            change = torch.zeros(4, 4, dtype=torch.float64)
            change[child, parent] = step
            slopes.append((problem.solve(change)[0] - problem.solve(-change)[0]) / (2 * step))
            if slopes[-1] == expected:
                break
        assert slopes[-1] == expected, slopes


@pytest.mark.parametrize("learning", ["bilevel", "joint"])
def test_a_generic_graph_ends_without_cycles_and_is_reported(heads: Path, tmp_path: Path, learning: str) -> None:
    graph = GraphConfig(graph_learning=learning, graph_reach=2.0, fine_tune=0.25)
    train(config(heads, tmp_path, "generic", steps=16, graph=graph))
    report = json.loads((tmp_path / "graph.json").read_text())
    model = load_model(tmp_path / "last")
    weights = model.structure(torch.zeros(1, 4, 16))
    assert report["settled"] is True
    assert is_acyclic(weights)
    torch.testing.assert_close(torch.tensor(report["projected"]), weights)
    assert report["penalty"] >= 0
    assert len(report["edges"]) == int((weights != 0).sum()) > 0
    assert torch.tensor(report["learned"]).max() > 0


def test_a_graph_without_edges_is_a_failure(heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scr3d.causal.structure.project_to_dag", lambda weights, threshold: torch.zeros_like(weights))
    with pytest.raises(CollapseError, match="no edge left"):
        train(config(heads, tmp_path, "generic", steps=8, graph=GraphConfig(fine_tune=0.5)))


def test_the_penalty_drives_cycles_out(heads: Path, tmp_path: Path) -> None:
    trainer = Trainer(
        config(heads, tmp_path, "generic", steps=60, graph=GraphConfig(graph_reach=10.0, dag_weight=1e6, fine_tune=0.0))
    )
    assert trainer.graph is not None
    with torch.no_grad():
        trainer.graph.structure.free.fill_(1.0)
    before = float(trainer.graph.penalty().detach())
    while trainer.step < 60:
        trainer.train_step()
    assert float(trainer.graph.penalty().detach()) < before / 100


def test_the_graph_learns_on_images_that_are_neither_trained_on_nor_scored(heads: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(heads, tmp_path, "generic", validation_images=1000))
    assert trainer.data.scored_images == 12
    scored = trainer.data.val.batch(torch.arange(12).numpy()).image
    for number in range(6):
        image = trainer.data.graph_batch(number).image
        assert not any(torch.equal(a, b) for a in image for b in scored)


def test_supervised_learning_uses_the_truth_alone(heads: Path, tmp_path: Path) -> None:
    model, recipe, _ = recipe_defaults("supervised")
    model = replace(model, size=32, width=4)
    settings = replace(config(heads, tmp_path, "independent", steps=40, validate_every=80), model=model, recipe=recipe)
    before = Trainer(replace(settings, out=tmp_path / "untrained")).model.state_dict()
    scalars = train(settings)
    after = load_model(tmp_path / "last").state_dict()
    moved = {
        name.split(".")[0] + "." + name.split(".")[1] for name in after if not torch.equal(after[name], before[name])
    }
    assert {name.split(".")[0] for name in moved} <= {"encoders", "depth_decoder", "outline_decoder"}
    assert "encoders.depth" in moved
    assert "encoders.view" not in moved
    assert scalars["coverage"] == 1.0
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    side = [line["side_e2"] for line in lines if line["group"] == "validation"]
    assert side[-1] < side[0]


def test_a_checkpoint_of_another_structure_is_refused(heads: Path, tmp_path: Path) -> None:
    train(config(heads, tmp_path / "dense", "dense", steps=2))
    settings = config(heads, tmp_path / "other", "dynamic learned", start_from=tmp_path / "dense" / "last")
    with pytest.raises(CheckpointError, match=r"dense ADLV.*asked for.*dynamic ADLV"):
        Trainer(settings)


def test_bad_graph_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="between 1 and 5"):
        GraphConfig(inner_steps=6)
    with pytest.raises(ConfigError, match="--no-split"):
        replace(TINY, split=False)
