"""Causal structure over the factors: orders, masks, acyclicity and the mixing of embeddings.

Structure and mixing are torch modules that do not know the networks around them. In a model of your own, one encoder
for each factor gives its embedding, and what is mixed goes on to the decoders. With the four factors of an image:

    >>> import torch
    >>> from torch import nn
    >>> from scr3d.causal import MixingKind, StructureKind, build_mixing, build_structure
    >>> class Explained(nn.Module):
    ...     def __init__(self, dim=8):
    ...         super().__init__()
    ...         self.encoders = nn.ModuleList(nn.Linear(20, dim) for _ in range(4))  # view, depth, light, albedo
    ...         self.structure = build_structure(StructureKind.DENSE, dim, order="ADLV")
    ...         self.mixing = build_mixing(MixingKind.ADDITIVE, dim)
    ...         self.decoders = nn.ModuleList(nn.Linear(dim, 3) for _ in range(4))
    ...     def forward(self, x):
    ...         embeddings = torch.stack([encoder(x) for encoder in self.encoders], dim=1)
    ...         mixed = self.mixing(embeddings, self.structure(embeddings))
    ...         return [decoder(mixed[:, i]) for i, decoder in enumerate(self.decoders)]
    >>> model = Explained()
    >>> view, depth, light, albedo = model(torch.randn(5, 20))
    >>> tuple(view.shape)
    (5, 3)

In the order ADLV albedo is the root: nothing else reaches it, and the view depends on all.

    >>> albedo.sum().backward()
    >>> [encoder.weight.grad is None or not encoder.weight.grad.any().item() for encoder in model.encoders]
    [True, True, True, False]

The three structures take a mask `mask[child, parent]` over any number of factors, and so do the mixings:

    >>> from scr3d.causal import AdditiveMixing, StaticStructure
    >>> chain = StaticStructure(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]))  # 0 -> 1 -> 2
    >>> embeddings = torch.ones(1, 3, 1)
    >>> AdditiveMixing()(embeddings, chain(embeddings)).flatten().tolist()
    [1.0, 2.0, 2.0]
"""

from typing import TYPE_CHECKING

from scr3d.lazy import lazy_names

if TYPE_CHECKING:
    from scr3d.causal.acyclicity import PENALTIES, project_to_dag
    from scr3d.causal.graph import descendants, format_edges, is_acyclic, parse_edges, sub_dags
    from scr3d.causal.kinds import Attention, MixingKind, PenaltyKind, StructureKind, WeightForm
    from scr3d.causal.mixing import AdditiveMixing, ConcatMixing, RecursiveMixing, build_mixing
    from scr3d.causal.order import Order, all_orders
    from scr3d.causal.structure import DynamicStructure, LearnedStructure, StaticStructure, build_structure

__all__ = [
    "PENALTIES",
    "AdditiveMixing",
    "Attention",
    "ConcatMixing",
    "DynamicStructure",
    "LearnedStructure",
    "MixingKind",
    "Order",
    "PenaltyKind",
    "RecursiveMixing",
    "StaticStructure",
    "StructureKind",
    "WeightForm",
    "all_orders",
    "build_mixing",
    "build_structure",
    "descendants",
    "format_edges",
    "is_acyclic",
    "parse_edges",
    "project_to_dag",
    "sub_dags",
]

__getattr__ = lazy_names(__name__, ("kinds", "order", "graph", "acyclicity", "mixing", "structure"), __all__)
