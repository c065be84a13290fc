"""The names of the four factors; without torch, since options name them."""

from __future__ import annotations

from enum import StrEnum


class Factor(StrEnum):
    """One of the four causes of an image; the value is the letter used to write an order."""

    VIEW = "V"
    DEPTH = "D"
    LIGHT = "L"
    ALBEDO = "A"


FACTORS: tuple[Factor, ...] = (Factor.VIEW, Factor.DEPTH, Factor.LIGHT, Factor.ALBEDO)
"""The fixed storage order of the factors: row and column order of every mask."""
