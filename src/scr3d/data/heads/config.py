"""Which synthetic heads to make; without torch, since these are options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scr3d.data.heads.draws import SPLIT_CODES
from scr3d.data.store import SPLITS
from scr3d.errors import ConfigError

GENERATOR = "scr3d synthetic heads"
"""What stores of these heads call their source."""


@dataclass(frozen=True)
class HeadsConfig:
    """Which samples to make."""

    split: Literal["train", "val", "test"] = "train"
    """Which split; the splits share no identity, view, light or background."""
    count: int = 40_000
    """Number of images."""
    size: int = 64
    """Height and width of the images in pixels."""
    seed: int = 0
    """Seed of the whole set; the frozen benchmark is seed 0."""
    background: Literal["textured", "plain"] = "textured"
    """What is behind the heads: random textures, or black as in the papers' set."""
    look: Literal["plain", "photo"] = "plain"
    """Images as rendered, or as photographs show heads: with hair, glasses and beards before them, cut off at a photo's
    edge, in other colours or grey, blurred, noisy, compressed. The frozen benchmark is plain."""
    images_per_identity: int | None = None
    """Views of each head; by default 4 in train, 1 in val and test."""
    fov_deg: float = 10.0
    """Field of view of the camera."""

    def __post_init__(self) -> None:
        if self.split not in SPLIT_CODES:
            raise ConfigError(f"expected split to be one of {', '.join(SPLITS)}, got {self.split!r}")
        if self.background not in ("textured", "plain"):
            raise ConfigError(f"expected background to be textured or plain, got {self.background!r}")
        if self.look not in ("plain", "photo"):
            raise ConfigError(f"expected look to be plain or photo, got {self.look!r}")
        if self.count < 1:
            raise ConfigError(f"expected a count of at least 1, got {self.count}")
        if not 16 <= self.size <= 1024:
            raise ConfigError(f"expected a size between 16 and 1024 pixels, got {self.size}")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"expected a seed between 0 and 2^63 - 1, got {self.seed}")
        if self.images_per_identity is not None and self.images_per_identity < 1:
            raise ConfigError(f"expected at least 1 image per identity, got {self.images_per_identity}")
        if not 5.0 <= self.fov_deg <= 30.0:
            raise ConfigError(f"expected a field of view between 5 and 30 degrees, got {self.fov_deg}")

    @property
    def views(self) -> int:
        """Images of each identity."""
        return self.images_per_identity or (4 if self.split == "train" else 1)

    @property
    def block(self) -> int:
        """Samples made at a time: about a million pixels."""
        return min(max(2**20 // self.size**2, 1), 256)

    @property
    def subsamples(self) -> int:
        """Rays along a pixel's side: a small image shows the same detail with fewer pixels, so it takes more."""
        return 4 if self.size <= 48 else 3 if self.size <= 96 else 2
