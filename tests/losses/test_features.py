import numpy as np
import pytest
import torch

from scr3d.errors import CheckpointError, ShapeError
from scr3d.losses import features, squeezenet
from scr3d.losses.features import Vgg16Front, squeezenet_features, vgg16_features


@pytest.fixture(scope="module")
def network():
    return squeezenet_features()


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vgg") / features.VGG16_FILE
    torch.save({**Vgg16Front().state_dict(), "classifier.0.weight": torch.zeros(1)}, path)
    return path


def smooth_images(batch, size, seed=0):
    noise = torch.rand(batch, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, size=(size, size), mode="bilinear")


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 64), (64, 32), (100, 128)])
def test_map_has_a_quarter_of_the_resolution(network, height, width):
    assert network(torch.rand(2, 3, height, width)).shape == (2, 128, height // 4, width // 4)


def test_features_are_of_unit_size_on_smooth_images(network):
    assert 0.3 < network(smooth_images(8, 64)).square().mean().sqrt() < 3


def test_same_as_the_layers_written_out(network):
    """The folded factors 255 and 1/64 change nothing but the scale."""
    state = squeezenet.load((squeezenet.files("scr3d") / "assets" / squeezenet.ASSET).read_bytes())
    image = smooth_images(1, 32)

    def conv(values, name, **options):
        weight, bias = (state[f"{name}.{part}"].double() for part in ("weight", "bias"))
        return torch.nn.functional.conv2d(values, weight, bias, **options).relu()

    values = image.double() * 255 - torch.tensor([123.68, 116.779, 103.939]).double()[:, None, None]
    values = torch.nn.functional.max_pool2d(conv(values, "conv1", stride=2, padding=1), 3, 2, 1)
    for fire in ("fire2", "fire3"):
        squeezed = conv(values, f"{fire}.squeeze1x1")
        values = torch.cat([conv(squeezed, f"{fire}.expand1x1"), conv(squeezed, f"{fire}.expand3x3", padding=1)], dim=1)
    torch.testing.assert_close(network(image), (values / 64).float(), rtol=1e-4, atol=1e-4)


def test_colour_channels_are_not_interchangeable(network):
    image = smooth_images(2, 32)
    assert (network(image) - network(image.flip(1))).abs().mean() > 0.05


def test_channels_last_gives_the_same(network):
    image = smooth_images(2, 32)
    result = network(image.contiguous(memory_format=torch.channels_last))
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, network(image), rtol=1e-4, atol=1e-4)


def test_frozen_and_indifferent_to_train_mode(network):
    assert not any(parameter.requires_grad for parameter in network.parameters())
    image = smooth_images(1, 32)
    before = network(image)
    network.train()
    assert torch.equal(before, network(image))


def test_twice_differentiable():
    torch.manual_seed(3)
    network = squeezenet_features().double()
    other = network(torch.rand(1, 3, 8, 8, dtype=torch.float64))
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)

    def loss(values):
        return (network(values) - other).square().mean()

    assert torch.autograd.gradcheck(loss, (image,), eps=1e-7, atol=1e-4)
    assert torch.autograd.gradgradcheck(loss, (image,), eps=1e-7, atol=1e-3)
    (gradient,) = torch.autograd.grad(loss(image), image, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), image)
    assert second.abs().max() > 0


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 30, 32), (1, 3, 32, 31)])
def test_bad_shapes_are_refused(network, shape):
    with pytest.raises(ShapeError, match="multiples of 4"):
        network(torch.zeros(shape))


def test_damaged_shipped_file_is_reported(monkeypatch, tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / squeezenet.ASSET).write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    monkeypatch.setattr(squeezenet, "files", lambda package: tmp_path)
    with pytest.raises(CheckpointError, match="install scr3d again"):
        squeezenet_features()


def test_vgg_reads_torchvisions_file(vgg_file):
    network = vgg16_features(vgg_file)
    names = list(network.network.state_dict())
    assert names[-1] == "features.14.bias"  # relu3_3 is the rectifier after torchvision's features.14
    assert network(torch.rand(1, 3, 32, 64)).shape == (1, 256, 8, 16)


def test_vgg_normalises_as_imagenet(vgg_file):
    network = vgg16_features(vgg_file)
    image = smooth_images(1, 16)
    mean, std = (torch.tensor(v)[:, None, None] for v in (features.IMAGENET_MEAN, features.IMAGENET_STD))
    values = (image - mean) / std
    state = torch.load(vgg_file, weights_only=True)
    for position in range(16):
        if position in (4, 9):
            values = torch.nn.functional.max_pool2d(values, 2)
        elif f"features.{position}.weight" in state:
            layer = [state[f"features.{position}.{part}"] for part in ("weight", "bias")]
            values = torch.nn.functional.conv2d(values, *layer, padding=1).relu()
    torch.testing.assert_close(network(image), values, rtol=1e-4, atol=1e-5)


def test_vgg_without_file_or_network(monkeypatch, tmp_path, vgg_file):
    with pytest.raises(CheckpointError, match="there is no VGG16 weight file"):
        vgg16_features(tmp_path / "none.pth")

    def fail(*args, **options):
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    with pytest.raises(CheckpointError, match="could not be downloaded"):
        vgg16_features()
    monkeypatch.setattr(
        torch.hub,
        "load_state_dict_from_url",
        lambda *args, **options: torch.load(vgg_file, weights_only=True),
    )
    assert vgg16_features().channels == 256


def test_vgg_refuses_other_files(tmp_path):
    path = tmp_path / "other.pth"
    path.write_bytes(b"no weights at all")
    with pytest.raises(CheckpointError, match="cannot be read as PyTorch weights"):
        vgg16_features(path)
    torch.save({"features.0.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(CheckpointError, match=r"features\.0\.weight should be \[64, 3, 3, 3\], got \[2, 2\]"):
        vgg16_features(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="no dictionary"):
        vgg16_features(path)


def test_vgg_file_with_code_is_not_run(tmp_path):
    """A pickle that names anything but tensors is refused, not executed."""
    path = tmp_path / "code.pth"
    torch.save({"features.0.weight": np.random.default_rng(0)}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        vgg16_features(path)
