"""A journal whose last writer died in the middle of a record."""

from __future__ import annotations

from pathlib import Path

import pytest
from strangers import JOURNAL, OBJECTIVE, make_search, search_config

from scr3d.errors import ConfigError
from scr3d.search.study import search


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    make_search(tmp_path, JOURNAL)
    return tmp_path / "search.log"


@pytest.mark.parametrize("lost", [1, 20])
def test_half_a_record_is_removed_and_the_search_goes_on(journal: Path, tmp_path: Path, lost: int) -> None:
    whole = search(search_config(tmp_path, JOURNAL.format(tmp_path)), OBJECTIVE)
    journal.write_bytes(journal.read_bytes()[:-lost])
    for _ in range(2):  # the second time it would not be readable, had the first appended to the half record
        again = search(search_config(tmp_path, JOURNAL.format(tmp_path)), OBJECTIVE)
        assert [(row.name, row.score) for row in again.rows] == [(row.name, row.score) for row in whole.rows]
    assert journal.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("content", [b"my diary", b"one line\nanother", b"[" * 100_000, b'{"a": 1}\n{"b": 2}\n'])
def test_another_file_is_neither_taken_for_a_journal_nor_changed(content: bytes, tmp_path: Path) -> None:
    make_search(tmp_path)
    diary = tmp_path / "search.log"
    diary.write_bytes(content)
    with pytest.raises(ConfigError, match=r"search\.log cannot be used"):
        search(search_config(tmp_path, JOURNAL.format(tmp_path)), OBJECTIVE)
    assert diary.read_bytes() == content


def test_a_last_record_that_is_no_json_is_refused(journal: Path, tmp_path: Path) -> None:
    journal.write_bytes(journal.read_bytes() + b"nonsense\n")
    with pytest.raises(ConfigError, match=r"search\.log cannot be used"):
        search(search_config(tmp_path, JOURNAL.format(tmp_path)), OBJECTIVE)
