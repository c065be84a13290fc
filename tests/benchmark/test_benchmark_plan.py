import json
import math
from collections import Counter
from dataclasses import replace

import pytest
from benchmark_records import LEVELS, level_of, write_everything, write_record

from scr3d.benchmark.choices import (
    ORDERS,
    WaitingError,
    chosen_rate,
    order_of,
    order_results,
    order_scores,
    search_recorded,
    searched_order,
)
from scr3d.benchmark.config import BenchmarkConfig, Stage
from scr3d.benchmark.methods import METHODS
from scr3d.benchmark.plan import OrderChoice, plan, row_order
from scr3d.benchmark.protocol import PROTOCOLS
from scr3d.benchmark.records import Results
from scr3d.benchmark.run import recorded, resolve, same_options
from scr3d.benchmark.runner import left_to_do
from scr3d.causal.kinds import StructureKind
from scr3d.errors import ConfigError, DataError
from scr3d.models import ModelConfig
from scr3d.training.config import TrainConfig


def smoke(tmp_path, **options) -> BenchmarkConfig:
    return BenchmarkConfig(protocol="smoke", out=tmp_path / "results", work=tmp_path / "work", **options)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_row_sees_the_same_number_of_images(protocol) -> None:
    config = BenchmarkConfig(protocol=protocol, report=True)
    for stage in (Stage.TABLE, Stage.RATES, Stage.CONTROLS):
        trained = [run for run in plan(config) if run.stage is stage and run.method.trained]
        assert len({run.images for run in trained}) == 1
    for remedy in config.settings.remedies:
        pairs = [run for run in plan(config) if run.stage is Stage.REMEDIES and run.name.startswith(f"{remedy.name}-")]
        assert {run.images for run in pairs} == {remedy.length * config.settings.order_images}


def test_the_cpu_plan_has_the_rows_seeds_orders_and_rates_that_were_promised() -> None:
    runs = plan(BenchmarkConfig(protocol="cpu"))
    names = Counter((run.stage, run.name) for run in runs)
    assert max(names.values()) == 1
    table = Counter(run.method.name for run in runs if run.stage is Stage.TABLE)
    assert set(table) == set(METHODS)
    main = {"wu", "independent", "dense-bo", "dynamic-sigmoid", "dynamic-cosine"}
    assert {name for name, count in table.items() if count == 3} == main
    assert all(table[name] == 2 for name, method in METHODS.items() if method.trained and not method.main)
    orders = Counter(run.order for run in runs if run.stage is Stage.ORDERS)
    assert {order: orders[order] for order in ORDERS} == dict.fromkeys(ORDERS, 2)
    rates = Counter(run.method.name for run in runs if run.stage is Stage.RATES)
    assert rates == dict.fromkeys([name for name, method in METHODS.items() if method.trained], 5)


def test_the_main_rows_are_trained_for_longer_with_nothing_else_changed(tmp_path) -> None:
    runs = [run for run in plan(BenchmarkConfig(protocol="cpu")) if run.stage is Stage.LONGER]
    assert Counter(run.method.name for run in runs) == {name: 2 for name, method in METHODS.items() if method.main}
    assert {run.images for run in runs} == {160_000}
    assert not [run for run in plan(BenchmarkConfig(protocol="paper", report=True)) if run.stage is Stage.LONGER]
    config = smoke(tmp_path)
    write_everything(config)
    results = Results.read(config.folder)
    jobs = {(run.stage, run.name): resolve(run, results, config).training for run in plan(config)}
    short, longer = jobs[Stage.TABLE, "dense-bo-s0"], jobs[Stage.LONGER, "dense-bo-s0"]
    assert longer == replace(short, out=longer.out, images=512, validate_every=256)


def test_remedies_change_the_same_for_independent_and_dense_and_nothing_else(tmp_path) -> None:
    config = smoke(tmp_path)
    write_everything(config)
    results = Results.read(config.folder)
    jobs = {run.name: resolve(run, results, config).training for run in plan(config) if run.stage is Stage.REMEDIES}
    usual = resolve(plan(config)[0], results, config).training
    assert len(jobs) == 8
    for method in ("independent", "dense-bo"):
        half, free, narrow, long = (
            jobs[f"{name}-{method}-s0"] for name in ("half-rate", "free-shapes", "narrow", "long")
        )
        assert half == replace(usual, out=half.out, model=half.model, optimiser=replace(usual.optimiser, rate=5e-4))
        assert free == replace(usual, out=free.out, model=half.model, recipe=replace(usual.recipe, shape_penalty=0.0))
        assert narrow == replace(usual, out=narrow.out, model=replace(half.model, width=8))
        assert long == replace(
            usual, out=long.out, model=half.model, images=4 * usual.images, validate_every=4 * usual.validate_every
        )
    assert jobs["half-rate-independent-s0"].model == usual.model
    assert jobs["half-rate-dense-bo-s0"].model == replace(
        usual.model, structure=StructureKind.DENSE, order=searched_order(results, config.settings)
    )


def test_random_orders_differ_between_seeds_and_are_the_same_every_time() -> None:
    drawn = [row_order(METHODS["dense-random"], seed) for seed in range(6)]
    assert len(set(drawn)) > 1
    assert drawn == [row_order(METHODS["dense-random"], seed) for seed in range(6)]


def test_fewer_methods_stages_and_seeds_make_a_smaller_plan() -> None:
    config = BenchmarkConfig(protocol="cpu", methods=("wu", "supervised"), stages=(Stage.TABLE,), seeds=1)
    assert [run.name for run in plan(config)] == ["wu-s0", "supervised-s0"]


def test_a_run_that_needs_others_waits_for_them(tmp_path) -> None:
    config = smoke(tmp_path)
    results = Results.read(config.folder)
    table = {run.name: run for run in plan(config) if run.stage is Stage.TABLE}
    for name, reason in (("independent-s0", "learning rate of independent"), ("null-depth-s0", "")):
        if reason:
            with pytest.raises(WaitingError, match=reason):
                resolve(table[name], results, config)
        else:
            assert resolve(table[name], results, config).training is None
    controls = [run for run in plan(config) if run.stage is Stage.CONTROLS]
    with pytest.raises(WaitingError, match="24 trainings are missing"):
        resolve(controls[0], results, config)


def test_choices_follow_the_results(tmp_path) -> None:
    config = smoke(tmp_path)
    write_everything(config)
    results = Results.read(config.folder)
    protocol = config.settings
    assert chosen_rate(results, protocol, METHODS["wu"]) == min(protocol.rates)  # the made-up level grows with the rate
    best = min(ORDERS, key=level_of)
    controls = {run.name: run for run in plan(config) if run.stage is Stage.CONTROLS}
    assert level_of(order_of(controls["detached-best-s0"], results, protocol)) <= level_of(best) + 0.02
    worst = order_of(controls["unequal-worst-s0"], results, protocol)
    assert level_of(worst) > level_of(best)
    found = searched_order(results, protocol)
    scores = order_scores(order_results(results, protocol), "heldout")
    asked = search_recorded(scores, protocol.search_trials, 0)
    assert len(set(asked)) == protocol.search_trials
    assert scores[found] == min(scores[order] for order in asked)
    # The configuration of a run has what was chosen.
    run = next(run for run in plan(config) if run.stage is Stage.TABLE and run.method.name == "dense-bo")
    assert run.order is OrderChoice.SEARCHED
    training = resolve(run, results, config).training
    assert training.model.order == found
    assert training.optimiser.rate == chosen_rate(results, protocol, METHODS["dense-bo"])
    assert training.model.structure is StructureKind.DENSE


def test_a_rate_whose_run_has_no_finite_score_is_not_chosen(tmp_path) -> None:
    config = smoke(tmp_path, methods=("wu",), stages=(Stage.RATES,))
    lowest, highest = plan(config)
    write_record(config, lowest, 1.0, validation={"heldout": [None, None]})
    write_record(config, highest, 2.0)
    assert chosen_rate(Results.read(config.folder), config.settings, METHODS["wu"]) == highest.rate


def test_what_is_done_is_not_done_again(tmp_path) -> None:
    config = smoke(tmp_path, methods=("wu", "null-depth"), stages=(Stage.RATES, Stage.TABLE))
    planned = plan(config)
    write_record(config, planned[0], LEVELS["wu"])
    left = left_to_do(config, Results.read(config.folder))
    assert [run.name for run in left] == [run.name for run in planned[1:]]


def test_a_result_of_other_options_is_refused(tmp_path) -> None:
    config = smoke(tmp_path, methods=("wu",), stages=(Stage.RATES,))
    run = plan(config)[0]
    write_record(config, replace(run, images=run.images + 32), 1.0)
    with pytest.raises(ConfigError, match="made with other options"):
        left_to_do(config, Results.read(config.folder))


def test_an_option_younger_than_a_result_stands_for_its_default(tmp_path) -> None:
    wanted = recorded(TrainConfig(tmp_path, tmp_path, model=ModelConfig(structure=StructureKind.GENERIC)))
    older = json.loads(json.dumps(wanted))
    del older["mirror"], older["graph"]["plain_steps"]
    assert same_options(older, wanted)
    assert not same_options(older, wanted | {"mirror": False})
    assert not same_options(older, wanted | {"graph": wanted["graph"] | {"plain_steps": 3}})
    assert not same_options(older, wanted | {"seed": 1})
    assert not same_options(older | {"forgotten": 1}, wanted)


def test_a_result_that_calls_an_option_by_its_older_name(tmp_path) -> None:
    def with_graph(structure: StructureKind, **graph: object) -> dict:
        wanted = json.loads(
            json.dumps(recorded(TrainConfig(tmp_path, tmp_path, model=ModelConfig(structure=structure))))
        )
        return wanted | {"graph": {**wanted["graph"], **graph}}

    for structure, matters in ((StructureKind.GENERIC, True), (StructureKind.INDEPENDENT, False)):
        older = with_graph(structure, first_order=False)
        del older["graph"]["graph_gradient"]
        assert same_options(older, with_graph(structure, graph_gradient="autograd"))
        assert same_options(older, with_graph(structure, graph_gradient="differences")) is not matters
        assert same_options(older, with_graph(structure, graph_gradient="autograd", plain_steps=3)) is not matters


def test_damaged_and_mixed_results_are_refused(tmp_path) -> None:
    config = smoke(tmp_path, methods=("wu",), stages=(Stage.RATES,))
    first, second = plan(config)
    path = write_record(config, first, 1.0)
    whole = path.read_text()

    def spoilt(value: object) -> str:
        record = json.loads(whole)
        record["validation"]["mad_deg"][5] = value
        return json.dumps(record)

    for text, reason in (
        (whole[:200], "is damaged"),
        (whole.replace('"seed"', '"sead"'), "is no result of a benchmark"),
        (whole.replace('"version": 1', '"version": 2'), "is no result of a benchmark"),
        (spoilt("1.5"), "is no result of a benchmark: validation/mad_deg/5"),
        (spoilt(True), "is no result of a benchmark: validation/mad_deg/5"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=reason):
            Results.read(config.folder)
    path.write_text(whole)
    write_record(config, second, 1.0, data={"train": "a" * 32, "val": "b" * 32, "test": "c" * 32})
    with pytest.raises(DataError, match="different data"):
        Results.read(config.folder)


def test_scores_come_back_from_a_file(tmp_path) -> None:
    config = smoke(tmp_path, methods=("wu",), stages=(Stage.RATES,))
    run = plan(config)[0]
    write_record(config, run, 1.0, validation={"heldout": [1.0, None, 3.0]})
    result = Results.read(config.folder).of(run)
    assert result.heldout == 2.0
    assert math.isnan(result.scores("validation", "heldout")[1])
    assert result.scores("test", "side_e2") == []


def test_unknown_methods_and_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="--methods are supervised"):
        BenchmarkConfig(methods=("wu", "mine"))
    with pytest.raises(ConfigError, match="--seeds must be at least 1"):
        BenchmarkConfig(seeds=-1)
    with pytest.raises(ConfigError, match="needs --data"):
        BenchmarkConfig(protocol="paper")
