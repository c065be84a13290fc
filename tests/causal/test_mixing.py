import numpy as np
import pytest
import torch

from scr3d.causal import MixingKind, Order, all_orders, build_mixing

EMBEDDING = 6
KINDS = list(MixingKind)


def embeddings(batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 4, EMBEDDING, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def weighted(order: str, batch: int | None = None) -> torch.Tensor:
    """Random weights on the edges of an order; one graph, or one for each image."""
    shape = (4, 4) if batch is None else (batch, 4, 4)
    return Order.parse(order).mask() * torch.randn(shape, generator=torch.Generator().manual_seed(2)).double()


def by_hand(kind: MixingKind, mixing: torch.nn.Module, e: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Mixing of one image, written with loops."""
    mixed = np.zeros_like(e)
    if kind is MixingKind.RECURSIVE:
        return np.linalg.solve(np.eye(4) - m, e)
    for child in range(4):
        if kind is MixingKind.ADDITIVE:
            mixed[child] = e[child]
            for parent in range(4):
                mixed[child] += m[child, parent] * e[parent]
        else:
            layer = mixing.maps[child]
            pieces = [m[child, parent] * e[parent] for parent in range(4)]
            mixed[child] = (
                layer.weight.detach().numpy() @ np.concatenate([*pieces, e[child]]) + layer.bias.detach().numpy()
            )
    return mixed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("order", ["VDLA", "ADLV", "LVAD"])
def test_agrees_with_an_evaluation_by_hand(kind, batch, order):
    mixing = build_mixing(kind, EMBEDDING).double()
    e, m = embeddings(), weighted(order, batch)
    mixed = mixing(e, m).detach().numpy()
    for i in range(3):
        weights = (m if batch is None else m[i]).numpy()
        np.testing.assert_allclose(mixed[i], by_hand(kind, mixing, e[i].numpy(), weights), atol=1e-10)


def test_recursive_solves_the_structural_equation_for_every_order():
    mixing = build_mixing(MixingKind.RECURSIVE, EMBEDDING)
    for order in all_orders():
        m = weighted(str(order))
        mixed = mixing(embeddings(), m)
        torch.testing.assert_close(mixed, embeddings() + m @ mixed)


@pytest.mark.parametrize("kind", [MixingKind.ADDITIVE, MixingKind.RECURSIVE])
def test_no_edges_change_nothing(kind):
    assert torch.equal(build_mixing(kind, EMBEDDING)(embeddings(), torch.zeros(4, 4).double()), embeddings())


@pytest.mark.parametrize("kind", KINDS)
def test_without_edges_a_factor_depends_on_its_own_embedding_alone(kind):
    mixing = build_mixing(kind, EMBEDDING).double()
    before = mixing(embeddings(), torch.zeros(4, 4).double())
    for factor in range(4):
        changed = embeddings()
        changed[:, factor] += 1
        after = mixing(changed, torch.zeros(4, 4).double())
        same = [torch.equal(after[:, i], before[:, i]) for i in range(4)]
        assert same == [i != factor for i in range(4)]


@pytest.mark.parametrize("kind", KINDS)
def test_relabelling_the_factors_relabels_the_result(kind):
    mixing = build_mixing(kind, EMBEDDING).double()
    permutation = torch.tensor([2, 0, 3, 1])
    e, m = embeddings(), weighted("DVAL")
    relabelled = build_mixing(kind, EMBEDDING).double()
    if kind is MixingKind.CONCAT:
        for new, old in enumerate(permutation.tolist()):
            weight = mixing.maps[old].weight.detach().unflatten(1, (5, EMBEDDING))
            blocks = torch.cat([permutation, torch.tensor([4])])
            relabelled.maps[new].weight.data = weight[:, blocks].flatten(1)
            relabelled.maps[new].bias.data = mixing.maps[old].bias.detach()
    expected = mixing(e, m)[:, permutation]
    torch.testing.assert_close(relabelled(e[:, permutation], m[permutation][:, permutation]), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives(kind):
    mixing = build_mixing(kind, EMBEDDING).double()
    e, m = embeddings(1).requires_grad_(), weighted("VDLA").requires_grad_()
    assert torch.autograd.gradcheck(mixing, (e, m))
    assert torch.autograd.gradgradcheck(mixing, (e, m))
