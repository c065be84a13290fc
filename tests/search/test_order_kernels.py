"""Kernels on orders: GPyTorch's own tests of a kernel, loops in NumPy, and positive definiteness."""

from unittest import TestCase

import numpy as np
import pytest
import torch
from gpytorch.test.base_kernel_test_case import BaseKernelTestCase

from scr3d.causal import Order, all_orders, sub_dags
from scr3d.search.kernels import MallowsKernel, RankKernel

RANKS = np.array([order.rank for order in all_orders()])


class TestRankKernel(TestCase, BaseKernelTestCase):
    def create_kernel_no_ard(self, **options):
        return RankKernel(**options)


class TestMallowsKernel(TestCase, BaseKernelTestCase):
    def create_kernel_no_ard(self, **options):
        return MallowsKernel(**options)


def l1(a, b):
    return sum(abs(int(x) - int(y)) for x, y in zip(a, b, strict=True))


def kendall(a, b):
    return sum((a[i] < a[j]) != (b[i] < b[j]) for i in range(4) for j in range(i + 1, 4))


@pytest.mark.parametrize(("kind", "distance"), [(RankKernel, l1), (MallowsKernel, kendall)])
@pytest.mark.parametrize("decay", [0.05, 1.3])
def test_against_loops(kind, distance, decay):
    kernel = kind().double()
    kernel.decay = decay
    x = torch.tensor(RANKS, dtype=torch.float64)
    expected = [[np.exp(-decay * distance(a, b)) for b in RANKS] for a in RANKS]
    np.testing.assert_allclose(kernel(x).to_dense().detach().numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(kernel(x, diag=True).detach().numpy(), np.ones(24))


@pytest.mark.parametrize("kind", [RankKernel, MallowsKernel])
@pytest.mark.parametrize("decay", [0.01, 0.1, 1.0, 4.0])
def test_positive_definite_on_all_orders_and_blind_to_names(kind, decay):
    kernel = kind().double()
    kernel.decay = decay
    x = torch.tensor(RANKS, dtype=torch.float64)
    matrix = kernel(x).to_dense().detach()
    torch.testing.assert_close(matrix, matrix.T)
    assert torch.linalg.eigvalsh(matrix).min() > 1e-9
    relabelled = x[:, [2, 0, 3, 1]]
    torch.testing.assert_close(kernel(relabelled).to_dense().detach(), matrix)


@pytest.mark.parametrize("decay", [0.05, 1.0])
def test_graphs_covary_by_the_number_of_edges_in_which_they_differ(decay):
    graphs = list(sub_dags(Order.parse("VDLA")))
    kernel = RankKernel().double()
    kernel.decay = decay
    matrix = kernel(torch.stack(graphs).flatten(1).double()).to_dense().detach()
    expected = [[np.exp(-decay * int((a != b).sum())) for b in graphs] for a in graphs]
    np.testing.assert_allclose(matrix.numpy(), expected, rtol=1e-9)
    assert torch.linalg.eigvalsh(matrix).min() > 1e-9


@pytest.mark.parametrize("kind", [RankKernel, MallowsKernel])
def test_batches_have_decays_of_their_own(kind):
    kernel = kind(batch_shape=torch.Size([2])).double()
    kernel.decay = torch.tensor([0.1, 2.0])[:, None, None]
    x = torch.tensor(RANKS[:5], dtype=torch.float64)
    both = kernel(x.expand(2, -1, -1)).to_dense()
    for number, decay in enumerate((0.1, 2.0)):
        single = kind().double()
        single.decay = decay
        torch.testing.assert_close(both[number], single(x).to_dense())
