import pytest
import torch

from scr3d.causal import Order, StaticStructure, StructureKind, build_structure
from scr3d.errors import ConfigError


def test_independent_is_the_empty_graph():
    structure = build_structure(StructureKind.INDEPENDENT, 8)
    assert torch.equal(structure(torch.randn(2, 4, 8)), torch.zeros(4, 4))


def test_dense_is_the_mask_of_its_order():
    structure = build_structure(StructureKind.DENSE, 8, "ADLV")
    assert torch.equal(structure(torch.randn(2, 4, 8)), Order.parse("ADLV").mask())


def test_the_mask_is_saved_but_not_trained():
    structure = build_structure(StructureKind.DENSE, 8, "VDLA")
    assert list(structure.parameters()) == []
    assert set(structure.state_dict()) == {"mask"}


def test_the_mask_is_a_copy():
    mask = torch.zeros(4, 4)
    structure = StaticStructure(mask)
    mask[0, 1] = mask[1, 0] = 1
    assert structure(torch.zeros(1, 4, 2)).sum() == 0


@pytest.mark.parametrize("mask", [torch.eye(4), torch.zeros(3, 3), 1 - torch.eye(4)])
def test_a_mask_with_cycles_or_of_another_size_is_refused(mask):
    with pytest.raises(ConfigError, match="without cycles"):
        StaticStructure(mask)


@pytest.mark.parametrize(("order", "words"), [(None, "needs an order"), ("VDLL", "VDLL")])
def test_a_dense_structure_without_a_good_order_is_refused(order, words):
    with pytest.raises(ConfigError, match=words):
        build_structure(StructureKind.DENSE, 8, order)
