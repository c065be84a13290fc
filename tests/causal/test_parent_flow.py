"""The controls: what parents hand on, and encoders of other sizes."""

import pytest
import torch

from scr3d.causal import Order, build_mixing
from scr3d.causal.kinds import MixingKind, ParentFlow
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.models.config import EncoderKind, ModelConfig, Preset

KINDS = list(MixingKind)


def mixed(kind: MixingKind, flow: ParentFlow, embeddings: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    return build_mixing(kind, embeddings.shape[2], flow).double()(embeddings, Order.parse("VDLA").mask().double())


def some_embeddings() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(5, 4, 6, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("kind", KINDS)
def test_detached_parents_have_the_same_values_and_no_gradient(kind) -> None:
    embeddings = some_embeddings()
    joint, detached = (mixed(kind, flow, embeddings) for flow in (ParentFlow.JOINT, ParentFlow.DETACHED))
    torch.testing.assert_close(detached, joint)
    (gradient,) = torch.autograd.grad(detached[:, 3].sum(), embeddings)
    assert gradient[:, :3].abs().max() == 0
    assert gradient[:, 3].abs().max() > 0
    (gradient,) = torch.autograd.grad(joint[:, 3].sum(), embeddings)
    assert gradient[:, 0].abs().max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_shuffled_parents_are_those_of_another_image(kind) -> None:
    embeddings = some_embeddings()
    shuffled = mixed(kind, ParentFlow.SHUFFLED, embeddings)
    (gradient,) = torch.autograd.grad(shuffled[1, 3].sum(), embeddings)
    assert gradient[1, :3].abs().max() == 0
    assert gradient[1, 3].abs().max() > 0
    assert gradient[0, 2].abs().max() > 0
    assert gradient[2].abs().max() == 0


@pytest.mark.parametrize("preset", list(Preset))
def test_encoders_are_equal_or_not_as_asked(preset) -> None:
    def sizes(encoders: EncoderKind) -> list[int]:
        model = PhotoGeometricAutoencoder(ModelConfig(preset=preset, size=32, width=8, order="VDLA", encoders=encoders))
        return [sum(p.numel() for p in encoder.parameters()) for encoder in model.encoders.values()]

    assert len(set(sizes(EncoderKind.EQUAL))) == 1
    view, depth, light, albedo = sizes(EncoderKind.UNEQUAL)
    assert view == light < depth == albedo
    expected = EncoderKind.EQUAL if preset is Preset.COMPACT else EncoderKind.UNEQUAL
    assert sizes(EncoderKind.PRESET) == sizes(expected)
