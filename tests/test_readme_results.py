"""The README's table of results is that of the result files."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("jsonschema", reason="benchmarks need scr3d[bench]")
pytest.importorskip("scipy", reason="benchmarks need scr3d[bench]")

ROOT = Path(__file__).parents[1]


def test_the_table_in_the_readme_is_made_of_the_results() -> None:
    from scr3d.benchmark import tables
    from scr3d.benchmark.records import Results

    specification = importlib.util.spec_from_file_location("readme_results", ROOT / "tools" / "readme_results.py")
    assert specification is not None
    assert specification.loader is not None
    tool = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tool)
    found = tables.rows(Results.read(ROOT / "results" / "benchmark" / "cpu"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.partition(tool.BEGIN)[2].partition(tool.END)[0]
    lines = [line.strip("| ").split(" | ") for line in table.strip().splitlines() if line.startswith("| ")][2:]
    assert [line[0] for line in lines] == [row.method.title for row in found.values()]
    for line, row in zip(lines, found.values(), strict=True):
        assert line[1] == tables.plus_minus(row.values(tables.SIDE), 3)
        assert line[2] == tables.plus_minus(row.values(tables.MAD), 2)
        assert line[-1] == str(len(row.results))
