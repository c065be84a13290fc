"""A group of one process changes nothing; parts of a batch fit together."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from scr3d.errors import ConfigError, DataError, ProcessLostError
from scr3d.processes import ALONE, Group, moved, noticing_losses


@pytest.mark.parametrize(("images", "size"), [(5, 2), (32, 3), (4, 4), (7, 1)])
def test_parts_cover_a_batch_once_and_their_weights_add_up(images: int, size: int) -> None:
    parts = [Group(rank, size).part(images) for rank in range(size)]
    assert [number for part in parts for number in range(part.start, part.stop)] == list(range(images))
    assert sum(part.weight for part in parts) == pytest.approx(1, abs=1e-15)
    assert max(part.stop - part.start for part in parts) - min(part.stop - part.start for part in parts) <= 1


def test_more_processes_than_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch of 3 images cannot be shared by 4 processes"):
        Group(0, 4).part(3)


def test_alone_everything_is_handed_back() -> None:
    value = torch.rand(3, requires_grad=True)
    part = ALONE.part(3)
    assert ALONE.first
    assert ALONE.sum(value) is value
    assert ALONE.sum_all([value])[0] is value
    assert ALONE.gather(value)[0] is value
    assert part.across(value) is value
    assert part.across(value, summed=True) is value
    assert part.weight == 1
    assert (ALONE.any(True), ALONE.any(False)) == (True, False)


def test_alone_an_error_is_an_error() -> None:
    def failing() -> None:
        raise DataError("no data")

    for way in (ALONE.together, ALONE.first_then_others, ALONE.on_first):
        with pytest.raises(DataError, match="no data"):
            way(failing)


def test_a_broken_connection_is_a_lost_process() -> None:
    with pytest.raises(ProcessLostError, match=r"has been lost \(Connection closed by peer\)"), noticing_losses():
        raise RuntimeError("[/some/pair.cc:537] Connection closed by peer. Check the logs.\nand more")


def test_tensors_are_moved_wherever_they_are() -> None:
    @dataclass(frozen=True)
    class Record:
        values: list[torch.Tensor]
        name: str
        nothing: None = None

    record = Record([torch.ones(2)], "a")
    found = moved({"one": (record, 3)}, torch.device("meta"))
    assert found["one"][0].values[0].device.type == "meta"
    assert (found["one"][0].name, found["one"][1]) == ("a", 3)
