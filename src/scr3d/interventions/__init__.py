"""Interventions on the causes and on the values of a reconstruction.

>>> import torch
>>> from scr3d.interventions import MixEmbedding, SetView, intervene
>>> from scr3d.models import ModelConfig, PhotoGeometricAutoencoder
>>> from scr3d.names import Factor
>>> model = PhotoGeometricAutoencoder(ModelConfig(size=32, width=4, order="ADLV")).eval()
>>> image, other = torch.rand(2, 1, 3, 32, 32)
>>> result = intervene(model, image, [MixEmbedding(Factor.LIGHT, other)])
>>> {factor.name: str(role) for factor, role in result.roles().items()}  # light causes the view alone
{'VIEW': 'follows', 'DEPTH': 'unchanged', 'LIGHT': 'replaced', 'ALBEDO': 'unchanged'}
"""

from typing import TYPE_CHECKING

from scr3d.lazy import lazy_names

if TYPE_CHECKING:
    from scr3d.interventions.apply import InterventionResult, Movement, Role, State, dependent, intervene, movement
    from scr3d.interventions.kinds import (
        Intervention,
        MixEmbedding,
        NoisyEmbedding,
        OnCause,
        OnValue,
        ScaleDepth,
        SetLight,
        SetView,
        ValueFrom,
    )

__all__ = [
    "Intervention",
    "InterventionResult",
    "MixEmbedding",
    "Movement",
    "NoisyEmbedding",
    "OnCause",
    "OnValue",
    "Role",
    "ScaleDepth",
    "SetLight",
    "SetView",
    "State",
    "ValueFrom",
    "dependent",
    "intervene",
    "movement",
]

__getattr__ = lazy_names(__name__, ("kinds", "apply"), __all__)
