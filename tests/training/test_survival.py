"""Runs that are killed, warned, starved of disk, poisoned, or robbed of their data."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scr3d.cli import START_AGAIN, USER_ERROR, main
from scr3d.data.store import ArraySpec, StoreInfo, StoreWriter
from scr3d.errors import CheckpointError, CollapseError, ConfigError, DataError, StoppedError
from scr3d.models import ModelConfig, load_model
from scr3d.signals import Warnings
from scr3d.training.checkpoint import list_checkpoints, load_checkpoint
from scr3d.training.config import MachineOptions, OptimiserConfig, TrainConfig
from scr3d.training.survival import BAD_BATCH, LOWER_AFTER, MAX_BAD_STEPS, BadSteps, only_process
from scr3d.training.trainer import Trainer, train


def config(heads: Path, out: Path, steps: int = 8, **changes: object) -> TrainConfig:
    options = {"images": 4 * steps, "validate_every": 4 * 1000, "validation_images": 8, "threads": 1} | changes
    model = ModelConfig(size=32, width=4, order="ADLV")
    return TrainConfig(data=heads, out=out, model=model, optimiser=OptimiserConfig(batch_size=4), **options)


def after_step(trainer: Trainer, step: int, act) -> None:
    """Do something when a step has been done."""
    original = trainer.train_step

    def train_step():
        parts = original()
        if trainer.step == step:
            act()
        return parts

    trainer.train_step = train_step  # type: ignore[method-assign]


def same_weights(first: Path, second: Path) -> bool:
    a, b = (load_model(run / "last").state_dict() for run in (first, second))
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_warned_run_saves_leaves_and_goes_on_to_the_same_result(heads: Path, tmp_path: Path, name: str) -> None:
    train(config(heads, tmp_path / "whole"))
    before = signal.getsignal(getattr(signal, name))
    warned = Trainer(config(heads, tmp_path / "warned"))
    after_step(warned, 3, lambda: signal.raise_signal(getattr(signal, name)))
    with pytest.raises(StoppedError, match=f"stopped by {name} after 12 images"):
        warned.run()
    assert signal.getsignal(getattr(signal, name)) == before
    assert [path.name for path in list_checkpoints(tmp_path / "warned")] == ["000000003"]
    train(config(heads, tmp_path / "warned"))
    assert same_weights(tmp_path / "whole", tmp_path / "warned")


def test_a_warning_after_the_last_step_is_too_late_to_matter(heads: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(heads, tmp_path, steps=2))
    after_step(trainer, 2, lambda: signal.raise_signal(signal.SIGTERM))
    assert "reconstruction" in trainer.run()


def test_the_command_asks_to_be_started_again(heads: Path, monkeypatch, capsys) -> None:
    def stopped(config: TrainConfig, machines: MachineOptions) -> None:
        raise StoppedError("stopped by SIGTERM after 12 images; the same command goes on")

    monkeypatch.setattr("scr3d.training.trainer.train", stopped)
    with pytest.raises(SystemExit) as left:
        main(["train", "--data", str(heads), "--out", "run", "--order", "VDLA"])
    assert left.value.code == START_AGAIN
    assert capsys.readouterr().err == "scr3d: stopped by SIGTERM after 12 images; the same command goes on\n"


def test_signals_are_left_alone_outside_the_main_thread() -> None:
    from threading import Thread

    found = []

    def listen() -> None:
        warnings = Warnings()
        with warnings.listening():
            found.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [before]


def test_two_runs_in_one_folder_are_refused(heads: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(heads, tmp_path, steps=2))
    with only_process(tmp_path), pytest.raises(ConfigError, match="another process is training in"):
        trainer.run()
    trainer.run()


def test_a_run_that_waited_goes_on_from_what_the_other_has_saved(heads: Path, tmp_path: Path) -> None:
    waiting = Trainer(config(heads, tmp_path, steps=4))
    first = Trainer(config(heads, tmp_path, steps=4))
    first.run(until=12)
    seen = []
    original = waiting.train_step
    waiting.train_step = lambda: seen.append(waiting.step) or original()  # type: ignore[method-assign]
    waiting.run()
    assert seen == [3]


def test_bad_steps_lower_the_rate_and_good_ones_do_not_raise_it() -> None:
    bad = BadSteps()
    for _ in range(LOWER_AFTER):
        bad.count(finite=False)
    assert (bad.in_a_row, bad.total, bad.rate_factor) == (LOWER_AFTER, LOWER_AFTER, 0.5)
    bad.count(finite=True)
    assert (bad.in_a_row, bad.total, bad.rate_factor) == (0, LOWER_AFTER, 0.5)
    for _ in range(MAX_BAD_STEPS):
        assert not bad.too_many
        bad.count(finite=False)
    assert bad.too_many
    assert BadSteps(**bad.record) == bad


def test_a_poisoned_run_lowers_its_rate_remembers_it_and_keeps_the_last_batch(heads: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(heads, tmp_path, steps=100))
    original = trainer.steps.objective.forward
    trainer.steps.objective = lambda *args: (original(*args)[0] * float("inf"), {})  # type: ignore[method-assign,assignment]
    rate = trainer.learning_rate(0)
    for _ in range(LOWER_AFTER):
        trainer.train_step()
    assert trainer.learning_rate(0) == rate / 2
    trainer.save()
    assert Trainer(config(heads, tmp_path, steps=100)).learning_rate(0) == rate / 2
    for _ in range(MAX_BAD_STEPS - LOWER_AFTER - 1):
        trainer.train_step()
    with pytest.raises(CollapseError, match=BAD_BATCH):
        trainer.train_step()
    kept = load_file(tmp_path / BAD_BATCH)["image"]
    assert torch.equal(kept, trainer.data.train_batch(trainer.step).image)


def changed_copy(heads: Path, root: Path) -> Path:
    import shutil

    return Path(shutil.copytree(heads, root / "heads"))


def test_data_that_changes_while_it_is_trained_on_is_noticed(heads: Path, tmp_path: Path) -> None:
    data = changed_copy(heads, tmp_path)
    trainer = Trainer(config(data, tmp_path / "run", steps=6, validate_every=8))
    description = data / "train" / "store.json"
    after_step(trainer, 1, lambda: description.write_text(description.read_text().replace('"seed": 0', '"seed": 1')))
    with pytest.raises(DataError, match="has changed while it was trained on"):
        trainer.run()


def test_data_that_vanishes_while_it_is_trained_on_is_noticed(heads: Path, tmp_path: Path) -> None:
    data = changed_copy(heads, tmp_path)
    trainer = Trainer(config(data, tmp_path / "run", steps=6, validate_every=8))
    after_step(trainer, 1, lambda: data.rename(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match=r"cannot be read any more|has changed"):
        trainer.run()


def test_a_run_does_not_go_on_with_other_data(heads: Path, tmp_path: Path) -> None:
    from scr3d.data.heads import HeadsConfig, generate

    train(config(heads, tmp_path / "run", steps=2))
    for split in ("train", "val"):
        generate(HeadsConfig(split=split, count=16, size=32, seed=7), tmp_path / "other", progress=lambda *_: None)
    with pytest.raises(ConfigError, match="the data has changed since"):
        Trainer(config(tmp_path / "other", tmp_path / "run", steps=2))


def test_a_damaged_checkpoint_is_refused_with_the_one_before_it(heads: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(heads, tmp_path, steps=8))
    for _ in range(2):
        trainer.train_step()
        trainer.save()
    first, second = list_checkpoints(tmp_path)
    whole = (second / "state.json").read_text()
    damages = {
        "is damaged": whole[: len(whole) // 2],
        "is a checkpoint of version 1": whole.replace('"version": 2', '"version": 1'),
    }
    for reason, text in damages.items():
        (second / "state.json").write_text(text)
        with pytest.raises(CheckpointError, match=f"{second.name}.*{reason}.*go on from .*{first.name}"):
            Trainer(config(heads, tmp_path, steps=8))
    load_checkpoint(first)


def test_a_clock_that_jumps_changes_nothing(heads: Path, tmp_path: Path, monkeypatch) -> None:
    train(config(heads, tmp_path / "steady"))
    times = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: times.uniform(0, 4e9))
    train(config(heads, tmp_path / "jumping"))
    assert same_weights(tmp_path / "steady", tmp_path / "jumping")


def test_deterministic_runs_are_what_runs_are_on_the_cpu(heads: Path, tmp_path: Path) -> None:
    train(config(heads, tmp_path / "plain", steps=3))
    try:
        train(config(heads, tmp_path / "deterministic", steps=3, deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert same_weights(tmp_path / "plain", tmp_path / "deterministic")


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve disk space")
def test_a_store_takes_its_room_before_it_is_filled(tmp_path: Path) -> None:
    """Otherwise a disk that fills up kills the process when it writes to mapped memory."""
    StoreWriter(tmp_path / "store", StoreInfo(32, 100, {"image": ArraySpec("uint8", (32, 32, 3))}))
    found = (tmp_path / "store" / "image.npy").stat()
    assert found.st_blocks * 512 >= found.st_size > 100 * 32 * 32 * 3


def test_errors_of_the_system_are_one_line(heads: Path, monkeypatch, capsys) -> None:
    import errno

    def full(config: TrainConfig, machines: MachineOptions) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "run/last")

    monkeypatch.setattr("scr3d.training.trainer.train", full)
    with pytest.raises(SystemExit) as left:
        main(["train", "--data", str(heads), "--out", "run", "--order", "VDLA"])
    assert left.value.code == USER_ERROR
    expected = "scr3d: run/last: No space left on device; free some space and give the same command again\n"
    assert capsys.readouterr().err == expected


def command(heads: Path, out: Path, *options: str) -> list[str]:
    sizes = ["--size", "32", "--width", "4", "--batch-size", "4", "--validation-images", "8", "--threads", "1"]
    return [
        *(sys.executable, "-m", "scr3d.cli", "train", "--data", str(heads), "--out", str(out), "--order", "ADLV"),
        *(*sizes, *options),
    ]


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of three megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_said_in_one_line_and_what_was_saved_stays_whole(heads: Path, small_disk: Path) -> None:
    options = ("--images", "4000", "--validate-every", "80")
    ended = subprocess.run(command(heads, small_disk / "run", *options), capture_output=True, text=True)
    assert ended.returncode == USER_ERROR
    last = ended.stderr.strip().splitlines()[-1]
    assert "No space left on device; free some space" in last
    assert "Traceback" not in ended.stderr
    for folder in list_checkpoints(small_disk / "run"):
        load_checkpoint(folder)
    made = subprocess.run(
        [sys.executable, "-m", "scr3d.cli", "data", "heads", "--count", "2000", "--out", str(small_disk / "heads")],
        capture_output=True,
        text=True,
    )
    assert made.returncode == USER_ERROR
    assert "No space left on device" in made.stderr.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_read_only_folder_is_said_in_one_line(heads: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ended = subprocess.run(command(heads, small_disk / "run"), capture_output=True, text=True)
    assert ended.returncode == USER_ERROR
    assert ended.stderr.strip().splitlines()[-1].endswith("give an --out that can be written to")
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["dense", "generic", "dynamic"])
def test_a_run_killed_at_random_moments_ends_as_if_it_had_not_been(heads: Path, tmp_path: Path, structure: str) -> None:
    """Ten kills of each structure, thirty in all, at moments drawn over the whole life of the process."""
    options = ["--structure", structure, "--images", "160", "--validate-every", "16"]
    subprocess.run(command(heads, tmp_path / "whole", *options), check=True, capture_output=True)
    draws, kills = random.Random(structure), 0
    while kills < 10:
        process = subprocess.Popen(
            command(heads, tmp_path / "killed", *options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        log = tmp_path / "killed" / "log.jsonl"
        start, before = time.monotonic(), log.stat().st_size if log.exists() else 0
        while process.poll() is None and (log.stat().st_size if log.exists() else 0) == before:
            assert time.monotonic() - start < 300
            time.sleep(0.01)
        time.sleep(draws.uniform(0, 0.5))
        if process.poll() is not None:
            break  # it has come to its end between two kills
        process.kill()
        process.wait()
        kills += 1
    assert kills >= 3
    ended = subprocess.run(command(heads, tmp_path / "killed", *options), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    newest = [load_checkpoint(list_checkpoints(tmp_path / name)[-1]) for name in ("whole", "killed")]
    for group, tensors in newest[0].tensors.items():
        assert all(torch.equal(value, newest[1].tensors[group][name]) for name, value in tensors.items())
    if structure == "generic":
        graphs = [json.loads((tmp_path / name / "graph.json").read_text()) for name in ("whole", "killed")]
        assert graphs[0] == graphs[1]


@pytest.mark.slow
def test_a_real_signal_ends_the_real_command(heads: Path, tmp_path: Path) -> None:
    again = command(heads, tmp_path / "run", "--images", "40000", "--validate-every", "40")
    process = subprocess.Popen(again, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (tmp_path / "run" / "log.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second = subprocess.run(again, capture_output=True, text=True)
    assert second.returncode == USER_ERROR
    assert "another process is training in" in second.stderr
    process.terminate()
    _, said = process.communicate(timeout=120)
    assert process.returncode == START_AGAIN
    assert "stopped by SIGTERM" in said
    assert list_checkpoints(tmp_path / "run")
