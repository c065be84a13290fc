import numpy as np
import pytest
import torch

from scr3d.causal import (
    PENALTIES,
    AdditiveMixing,
    Attention,
    ConcatMixing,
    DynamicStructure,
    LearnedStructure,
    MixingKind,
    Order,
    PenaltyKind,
    RecursiveMixing,
    StaticStructure,
    StructureKind,
    WeightForm,
    build_mixing,
    build_structure,
    format_edges,
    is_acyclic,
    sub_dags,
)
from scr3d.causal.structure import DEFAULT_ORDER
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


@pytest.mark.parametrize("mask", [torch.eye(4), torch.zeros(3, 4), 1 - torch.eye(4)])
def test_a_mask_with_cycles_or_that_is_not_square_is_refused(mask):
    with pytest.raises(ConfigError, match="without cycles"):
        StaticStructure(mask)


@pytest.mark.parametrize(("order", "words"), [(None, "needs an order"), ("VDLL", "VDLL")])
def test_a_dense_structure_without_a_good_order_is_refused(order, words):
    with pytest.raises(ConfigError, match=words):
        build_structure(StructureKind.DENSE, 8, order)


def numpy_attention(embeddings, attention, query=None, key=None):
    """Weights of one image, entry by entry, before the mask."""
    count, length = embeddings.shape
    weights = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            a, b = embeddings[i], embeddings[j]
            if attention == "cosine":
                weights[i, j] = abs(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b))
            else:
                if attention == "learned":
                    a, b = query @ a, key @ b
                weights[i, j] = 1 / (1 + np.exp(-(a @ b) / np.sqrt(length)))
    return weights


@pytest.mark.parametrize("attention", list(Attention))
@pytest.mark.parametrize("order", ["VDLA", "ALVD"])
def test_dynamic_weights_against_numpy(attention, order):
    torch.manual_seed(0)
    structure = build_structure(StructureKind.DYNAMIC, 8, order, attention=attention).double()
    embeddings = torch.randn(3, 4, 8, dtype=torch.float64)
    found = structure(embeddings).detach().numpy()
    matrices = [
        m.weight.detach().numpy() for m in (getattr(structure, "query", None), getattr(structure, "key", None)) if m
    ]
    for image in range(3):
        expected = numpy_attention(embeddings[image].numpy(), attention, *matrices) * Order.parse(order).mask().numpy()
        np.testing.assert_allclose(found[image], expected, rtol=1e-10)


def test_dynamic_without_an_order_takes_the_default_and_trains_queries_and_keys():
    structure = build_structure(StructureKind.DYNAMIC, 8, attention=Attention.LEARNED)
    assert torch.equal(structure.mask, Order.parse(DEFAULT_ORDER).mask())
    structure(torch.randn(2, 4, 8)).sum().backward()
    assert set(structure.state_dict()) == {"mask", "query.weight", "key.weight"}
    assert all(p.grad.abs().sum() > 0 for p in structure.parameters())


@pytest.mark.parametrize("form", list(WeightForm))
@pytest.mark.parametrize("order", [None, "ADLV"])
def test_learned_weights_stay_under_their_mask_and_in_their_range(form, order):
    structure = build_structure(StructureKind.GENERIC, 8, order, form=form)
    weights = structure(torch.randn(2, 4, 8))
    assert (weights >= 0).all()
    assert (weights.diagonal() == 0).all()
    if order:
        assert (weights[Order.parse(order).mask() == 0] == 0).all()
    else:
        assert (weights > 0).sum() == 12
    if form is WeightForm.LOW_RANK:
        u, v = structure.child_factor.detach().numpy(), structure.parent_factor.detach().numpy()
        np.testing.assert_allclose(
            weights.detach().numpy(), structure.mask.numpy() / (1 + np.exp(-(u @ v.T))), rtol=1e-5
        )


def test_settling_fixes_an_acyclic_graph_and_is_saved():
    torch.manual_seed(0)
    structure = build_structure(StructureKind.GENERIC, 8)
    structure.settle(0.3)
    weights = structure(torch.zeros(1, 4, 8))
    assert is_acyclic(weights)
    assert weights.any()
    weights.sum().backward()
    assert not structure.free.grad.any()
    again = build_structure(StructureKind.GENERIC, 8)
    again.load_state_dict(structure.state_dict())
    assert torch.equal(again(torch.zeros(1, 4, 8)), weights)


def test_a_graph_given_by_hand():
    structure = build_structure(StructureKind.GRAPH, 8, edges="V>D, v>l,D>A")
    assert structure.mask.nonzero().tolist() == [[1, 0], [2, 0], [3, 1]]
    assert format_edges(structure.mask) == "V>D,V>L,D>A"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": StructureKind.GRAPH}, "needs its edges"),
        ({"kind": StructureKind.GRAPH, "edges": "V>D,D>V"}, "no cycles"),
        ({"kind": StructureKind.GRAPH, "edges": "V>X"}, "V>X"),
        ({"kind": StructureKind.GRAPH, "edges": "VD"}, "parent>child"),
        ({"kind": StructureKind.GRAPH, "edges": "V>D", "order": "VDLA"}, "takes no --order"),
        ({"kind": StructureKind.INDEPENDENT, "order": "VDLA"}, "takes no --order"),
        ({"kind": StructureKind.DENSE, "order": "VDLA", "edges": "V>D"}, "--structure graph"),
        ({"kind": StructureKind.GENERIC, "order": "VDX"}, "VDX"),
        ({"kind": StructureKind.DYNAMIC, "order": "VVLA"}, "VVLA"),
    ],
)
def test_contradictory_structures_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        build_structure(embedding=8, **options)


def test_an_order_has_64_sub_graphs():
    masks = [tuple(mask.flatten().tolist()) for mask in sub_dags(Order.parse("LDAV"))]
    assert len(set(masks)) == 64
    full = Order.parse("LDAV").mask().flatten()
    assert all((torch.tensor(mask) <= full).all() for mask in masks)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": StructureKind.GENERIC, "order": "DVAL"},
        {"kind": StructureKind.GENERIC, "order": "DVAL", "form": WeightForm.LOW_RANK},
        *({"kind": StructureKind.DYNAMIC, "order": "DVAL", "attention": attention} for attention in Attention),
    ],
)
@pytest.mark.parametrize("mixing", list(MixingKind))
def test_mixed_embeddings_depend_on_ancestors_alone(options, mixing):
    torch.manual_seed(0)
    structure = build_structure(embedding=8, **options).double()
    mix = build_mixing(mixing, 8).double()
    embeddings = torch.randn(1, 4, 8, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda e: mix(e, structure(e)), embeddings)
    depends = jacobian.abs().sum(dim=(0, 2, 3, 5)) > 0
    assert torch.equal(depends, (Order.parse("DVAL").mask() > 0) | torch.eye(4, dtype=torch.bool))


@pytest.mark.parametrize("penalty", list(PenaltyKind))
def test_a_known_graph_is_found_again(penalty):
    """A toy problem: outputs are embeddings mixed along a known graph, and the learned graph has to explain them."""
    torch.manual_seed(0)
    known = torch.zeros(4, 4)
    known[1, 0], known[2, 0], known[2, 1], known[3, 2] = 0.9, 0.6, 0.8, 0.7
    structure = build_structure(StructureKind.GENERIC, 8)
    mix = build_mixing(MixingKind.ADDITIVE, 8)
    optimiser = torch.optim.Adam(structure.parameters(), lr=0.02)
    for step in range(400):
        embeddings = torch.randn(16, 4, 8)
        error = (mix(embeddings, structure(embeddings)) - mix(embeddings, known)).square().mean()
        loss = error + 10 * 2 ** (step / 40) * 1e-2 * PENALTIES[penalty](structure.learned_weights())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    structure.settle(0.3)
    assert torch.equal(structure.final_weights > 0, known > 0)
    torch.testing.assert_close(structure.final_weights, known, atol=0.1, rtol=0)


def test_structures_and_mixings_take_any_number_of_factors():
    """Other models have other factors than the four of an image."""
    torch.manual_seed(0)
    embeddings = torch.randn(2, 3, 8)
    chain = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    free = LearnedStructure(1 - torch.eye(3))
    assert free(embeddings).shape == (3, 3)
    free.settle(0.1)
    assert is_acyclic(free(embeddings))
    for attention in Attention:
        weights = DynamicStructure(chain, attention, 8)(embeddings)
        assert ((weights > 0) <= (chain > 0)).all()
        for mixing in (AdditiveMixing(), RecursiveMixing(), ConcatMixing(8, factors=3)):
            assert mixing(embeddings, weights).shape == embeddings.shape
    with pytest.raises(ConfigError, match="square matrix without cycles"):
        StaticStructure(1 - torch.eye(3))
