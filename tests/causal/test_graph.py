from itertools import permutations

import pytest
import torch

from scr3d.causal import Order, all_orders, descendants, is_acyclic
from scr3d.errors import ConfigError
from scr3d.factors import FACTORS, Factor


def random_masks(count: int, size: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    density = torch.rand(count, 1, 1, generator=generator)
    masks = (torch.rand(count, size, size, generator=generator) < density).float()
    masks[: count // 2, range(size), range(size)] = 0  # half of them without self-loops
    return list(masks)


def test_there_are_24_different_orders_and_all_are_acyclic():
    orders = list(all_orders())
    assert len({str(order) for order in orders}) == 24
    for order in orders:
        mask = order.mask()
        assert is_acyclic(mask)
        assert mask.sum() == 6
        assert Order.parse(str(order)) == order


def test_rank_is_the_inverse_of_the_order():
    for order in all_orders():
        for place, factor in enumerate(order.sequence):
            assert order.rank[FACTORS.index(factor)] == place


def test_rows_are_children_and_columns_parents():
    mask = Order.parse("VDLA").mask()
    assert torch.equal(mask, torch.ones(4, 4).tril(-1))
    mask = Order.parse("ALDV").mask()  # albedo causes all, view causes none
    albedo, view = FACTORS.index(Factor.ALBEDO), FACTORS.index(Factor.VIEW)
    assert mask[:, albedo].sum() == 3
    assert mask[albedo].sum() == 0
    assert mask[:, view].sum() == 0
    assert mask[view].sum() == 3
    for order in all_orders():
        for child in FACTORS:
            for parent in FACTORS:
                earlier = order.sequence.index(parent) < order.sequence.index(child)
                assert order.mask()[FACTORS.index(child), FACTORS.index(parent)] == float(earlier)


@pytest.mark.parametrize("text", ["vdla", " VDLA\n"])
def test_orders_are_read_with_any_case_and_blanks(text):
    assert str(Order.parse(text)) == "VDLA"


@pytest.mark.parametrize("text", ["VDLL", "VDX", "VDLX", "", "VDL", "VDLAV", "V D L A", "V,D,L,A"])
def test_what_is_no_order_is_refused(text):
    with pytest.raises(ConfigError, match="as in VDLA") as error:
        Order.parse(text)
    assert repr(text) in str(error.value) or text in str(error.value)


def test_a_sequence_that_is_no_order_is_refused():
    with pytest.raises(ConfigError, match="VVLA"):
        Order((Factor.VIEW, Factor.VIEW, Factor.LIGHT, Factor.ALBEDO))


def test_acyclic_means_that_some_order_sorts_it():
    seen = set()
    for mask in random_masks(400):
        sortable = any((mask[list(p)][:, list(p)].triu() == 0).all() for p in permutations(range(4)))
        assert is_acyclic(mask) == sortable
        seen.add(sortable)
    assert seen == {True, False}


def test_descendants_follow_directed_paths():
    for mask in random_masks(200):
        reach = torch.linalg.matrix_power(torch.eye(4) + mask, 4) > 0
        for node in range(4):
            found = descendants(mask, node)
            assert found - {node} == {i for i in range(4) if i != node and reach[i, node]}
    chain = torch.zeros(4, 4)
    chain[1, 0] = chain[2, 1] = 1
    assert descendants(chain, 0) == {1, 2}
    assert descendants(chain, 2) == set()
