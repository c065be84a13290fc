"""The numbers of the report against their definitions."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path
from statistics import mean

import pytest

from scr3d.search.candidates import folder_name, label
from scr3d.search.report import rank_correlation
from scr3d.search.results import Observation, Row, expected_best, progress, table
from scr3d.search.storage import shown


def observation(name: str, score: float, images: int = 100, seed: int = 0, new: int | None = None) -> Observation:
    return Observation(name, seed, images, score, 0.1, images if new is None else new, 1.0, "")


def test_expected_best_of_random_search_is_the_mean_over_all_draws() -> None:
    scores = [3.0, 1.0, 4.0, 1.5, 9.0, 2.5]
    for draws, expected in enumerate(expected_best(scores), start=1):
        assert expected == pytest.approx(mean(min(chosen) for chosen in combinations(scores, draws)))
    assert expected_best([]) == []


def test_table_joins_seeds_and_puts_long_trainings_first() -> None:
    found = [
        observation("a", 1.0),
        observation("b", 0.5, images=10),
        observation("a", 2.0, seed=1),
        observation("c", 1.2),
    ]
    rows = table(found)
    assert [(row.name, row.images, row.score, row.seeds) for row in rows] == [
        ("c", 100, 1.2, 1),
        ("a", 100, 1.5, 2),
        ("b", 10, 0.5, 1),
    ]
    assert rows[0].spread is None
    assert rows[1].spread == pytest.approx(0.5**0.5)


def test_best_so_far_counts_whole_candidates_and_all_images() -> None:
    found = [
        observation("a", 0.1, images=10),
        observation("a", 2.0, new=90),
        observation("b", 1.0),
        observation("a", 2.0, seed=1),
        observation("b", 1.2, seed=1),
        observation("c", 1.5),
    ]
    steps = progress(found, 100, seeds=2, images_before=1000)
    assert [(s.candidates, s.images, s.best_name, s.best_score) for s in steps] == [
        (1, 1300, "a", 2.0),
        (2, 1400, "b", pytest.approx(1.1)),
    ]


def test_rank_correlation_with_ties() -> None:
    rows = [Row(name, 100, score, None, 0.1, 1, 0) for name, score in (("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 3.0))]
    shared = {name: {"score": score} for name, score in (("a", 5.0), ("b", 6.0), ("c", 7.0), ("d", 9.0))}
    # Ranks 1, 2, 3.5, 3.5 against 1, 2, 3, 4.
    assert rank_correlation(shared, rows) == pytest.approx(0.9486833)
    assert rank_correlation({n: {"score": -s["score"]} for n, s in shared.items()}, rows) == pytest.approx(-0.9486833)
    assert rank_correlation(shared, rows[:2]) is None
    assert rank_correlation({name: {"score": 1.0} for name in shared}, rows) is None


def test_names_for_people_paths_and_urls() -> None:
    assert (label(""), label("V>D")) == ("no edges", "V>D")
    assert [folder_name(name) for name in ("VDLA", "V>D,L>A", "")] == ["VDLA", "VD-LA", "none"]
    assert shown("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert shown("postgresql://me@host:5432/db") == "postgresql://me@host:5432/db"
    assert shown("sqlite:////a/b.db") == "sqlite:////a/b.db"


def test_without_the_extra_the_command_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['optuna'] = None; from scr3d.cli import main; "
        f"main(['search', '--data', {str(tmp_path)!r}, '--out', {str(tmp_path)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip() == "scr3d: scr3d search needs optuna: pip install 'scr3d[search]'"
