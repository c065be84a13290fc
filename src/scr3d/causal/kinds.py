"""The kinds of structures, weights, mixing and penalties; without torch, since options name them."""

from __future__ import annotations

from enum import StrEnum

DEFAULT_ORDER = "VLAD"
"""Order of a dynamic structure unless one is given: that of the authors' scripts."""


class StructureKind(StrEnum):
    """The causal structures."""

    INDEPENDENT = "independent"
    DENSE = "dense"
    GRAPH = "graph"
    GENERIC = "generic"
    DYNAMIC = "dynamic"


class Attention(StrEnum):
    """How a dynamic structure gets its weights from the embeddings."""

    SIGMOID = "sigmoid"
    COSINE = "cosine"
    LEARNED = "learned"


class WeightForm(StrEnum):
    """How a learned structure gets its weights from its parameters."""

    ABSOLUTE = "absolute"
    LOW_RANK = "low-rank"


class MixingKind(StrEnum):
    """The forms of mixing."""

    ADDITIVE = "additive"
    CONCAT = "concat"
    RECURSIVE = "recursive"


class ParentFlow(StrEnum):
    """What a factor gets from its parents: the way of the paper, and two controls for experiments.

    `detached` passes the embeddings but no gradient back to the parents, so that a parent is not shaped by its
    children; `shuffled` passes those of another image, so that nothing can be learned from them.
    """

    JOINT = "joint"
    DETACHED = "detached"
    SHUFFLED = "shuffled"


class PenaltyKind(StrEnum):
    """The acyclicity penalties."""

    POLYNOMIAL = "polynomial"
    EXPONENTIAL = "exponential"
    LOGDET = "logdet"
