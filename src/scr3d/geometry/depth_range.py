"""The interval of canonical depth; without torch, since options hold one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DepthRange:
    """The interval in which canonical depth lies, in units of the camera distance."""

    near: float = 0.9
    """Depth of the nearest surface."""
    far: float = 1.1
    """Depth of the farthest surface."""
    border_share: float = 0.7
    """Where between near (0) and far (1) the map's left and right border lie ([U], implementation details)."""

    @property
    def border(self) -> float:
        """Depth of the map's left and right border."""
        return self.border_share * self.far + (1 - self.border_share) * self.near

    @property
    def margin(self) -> float:
        """How far beyond `far` a rotated surface may reach before it is masked."""
        return (self.far - self.near) / 2
