"""The configuration of a model: all that is needed to build it again; without torch, since it holds options."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from scr3d.causal.kinds import Attention, MixingKind, ParentFlow, StructureKind, WeightForm
from scr3d.errors import ConfigError
from scr3d.geometry.depth_range import DepthRange

SIZES = (32, 64, 128, 256)
REFERENCE_EMBEDDING = 256


class Preset(StrEnum):
    """The network families; docs/networks.md writes their layers down."""

    COMPACT = "compact"
    REFERENCE = "reference"


class EncoderKind(StrEnum):
    """Which encoders the factors have."""

    PRESET = "preset"
    EQUAL = "equal"
    UNEQUAL = "unequal"


class DepthStart(StrEnum):
    """The surface before training."""

    BUMP = "bump"
    FLAT = "flat"


@dataclass(frozen=True)
class ModelConfig:
    """Networks, causal structure and the ranges of the factors."""

    preset: Preset = Preset.COMPACT
    """Network family: compact (for CPUs) or reference (as published)."""
    size: int = 64
    """Height and width of the images in pixels: 32, 64, 128 or 256."""
    width: int = 16
    """Channels of the compact networks at 32x32; the embedding has four times as many. Not used by reference."""
    structure: StructureKind = StructureKind.DENSE
    """Causal structure of the factors: independent, dense (all edges of an order), graph (edges given by hand), generic
    (one learned graph) or dynamic (a graph for every image)."""
    order: str | None = None
    """Causal order, causes first, a permutation of V, D, L, A. Needed by dense; for generic it masks the learned graph
    (without it any acyclic graph); for dynamic VLAD unless given."""
    edges: str | None = None
    """Edges of --structure graph, parent>child, as in V>D,V>L,D>A."""
    attention: Attention = Attention.SIGMOID
    """Weights of --structure dynamic: sigmoid or cosine of the embeddings, or learned queries and keys."""
    weight_form: WeightForm = WeightForm.ABSOLUTE
    """Weights of --structure generic: absolute |P|, or low-rank sigmoid(U V^T)."""
    split: bool = True
    """Split each factor's network into f1 and f2 around an embedding that the structure mixes; otherwise one
    encoder-decoder for each factor, as in Wu et al. (independent only)."""
    mixing: MixingKind = MixingKind.ADDITIVE
    """How parents' embeddings enter: additive, concat (as published) or recursive."""
    parents: ParentFlow = ParentFlow.JOINT
    """What parents hand on: their embeddings (joint), or, as controls in experiments, embeddings without a gradient
    back to them (detached) or those of another image (shuffled)."""
    encoders: EncoderKind = EncoderKind.PRESET
    """Encoders of the four factors: equal, or unequal with smaller ones without normalisation for view and light;
    preset means equal in compact networks and unequal in reference, as published."""
    depth_start: DepthStart = DepthStart.BUMP
    """Surface before training: half an ellipsoid before a plane, or flat (the papers)."""
    start_plane: float = 0.35
    """Raw depth of the plane behind the ellipsoid, in half depth ranges behind the middle."""
    start_height: float = 0.8
    """How far the ellipsoid stands out before it, in half depth ranges."""
    start_taper: float = 0.5
    """How the ellipsoid's depth narrows towards its top and bottom: with this power of its width; 1 for a round body,
    less for an upright one that is flatter from top to bottom than from side to side, such as a head on a neck."""
    outline_range: float = 0.3
    """How far the ellipsoid adapts to each object: in log of its width and height, and in half frames up or down;
    0 keeps it as it is."""
    depth_stride: int = 1
    """Image pixels per pixel of the compact depth decoder: 1, or 2 for a cheaper, softer surface."""
    max_rotation_deg: float = 60.0
    """Largest rotation about each axis, in degrees."""
    max_translation: float = 0.02
    """Largest shift along x and y, in camera distances; the half frame is 0.0875. The papers take 0.1."""
    max_translation_z: float = 0.0
    """Largest shift along z, in camera distances; 0 for faces, 0.1 for cats in the papers."""
    start_scale: float = 0.1
    """Factor on the last layers of view and light at the start; 1 leaves the usual initialisation."""
    depth_range: DepthRange = field(default_factory=DepthRange)
    """Interval of canonical depth."""
    fov_deg: float = 10.0
    """Field of view of the camera across the width, in degrees."""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ConfigError(f"--model.size must be one of {', '.join(map(str, SIZES))}; got {self.size}")
        if self.width < 4 or self.width % 4:
            raise ConfigError(f"--model.width must be a multiple of 4, at least 4; got {self.width}")
        if not 0 <= self.outline_range <= 0.5:
            raise ConfigError(f"--model.outline-range must lie in [0, 0.5]; got {self.outline_range}")
        if not 0 < self.start_taper <= 1:
            raise ConfigError(f"--model.start-taper must lie in (0, 1]; got {self.start_taper}")
        if not self.split and self.structure is not StructureKind.INDEPENDENT:
            raise ConfigError(
                f"--no-split has no embeddings to mix and needs --structure independent; got {self.structure}"
            )
        if self.depth_stride not in (1, 2):
            raise ConfigError(f"--model.depth-stride must be 1 or 2; got {self.depth_stride}")
        if not (abs(self.start_plane) < 1 and abs(self.start_plane - self.start_height) < 1):
            raise ConfigError(
                f"the start surface must lie inside the depth range (-1, 1); got a plane at {self.start_plane} and a "
                f"height of {self.start_height}"
            )
        if not 0 < self.depth_range.near < self.depth_range.far:
            raise ConfigError(f"depth range must satisfy 0 < near < far; got {self.depth_range}")
        if not 0 < self.fov_deg < 180:
            raise ConfigError(f"--model.fov-deg must lie between 0 and 180 degrees; got {self.fov_deg}")

    @property
    def equal_encoders(self) -> bool:
        """Whether the four encoders are the same network (with their own weights)."""
        if self.encoders is EncoderKind.PRESET:
            return self.preset is Preset.COMPACT
        return self.encoders is EncoderKind.EQUAL

    @property
    def adapts_outline(self) -> bool:
        """Whether the start surface has an outline for each image."""
        return self.depth_start is DepthStart.BUMP and self.outline_range > 0

    @property
    def embedding(self) -> int:
        """Length of one factor's embedding."""
        return 4 * self.width if self.preset is Preset.COMPACT else REFERENCE_EMBEDDING
