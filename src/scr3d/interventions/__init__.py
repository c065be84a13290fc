"""Interventions on the causes and on the values of a reconstruction."""

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
