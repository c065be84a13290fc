import torch

from scr3d.factors import Light
from scr3d.rendering import shade


def light(ambient: float, diffuse: float, slopes: tuple[float, float]) -> Light:
    return Light.from_slopes(torch.tensor([ambient]), torch.tensor([diffuse]), torch.tensor([slopes]))


def test_closed_form():
    normal = torch.tensor([[0.0, 0.0, 1.0], [0.6, 0.0, 0.8], [0.0, -1.0, 0.0]]).T[None, :, None]
    shading = shade(normal, light(0.3, 0.9, (0.75, 0.0)))[0, 0]  # travels along (0.6, 0, 0.8)
    torch.testing.assert_close(shading, torch.tensor([0.3 + 0.9 * 0.8, 0.3 + 0.9, 0.3]))


def test_surfaces_turned_away_get_ambient_light_alone():
    normal = torch.tensor([-1.0, 0.0, 0.0])[None, :, None, None]
    assert torch.equal(shade(normal, light(0.2, 1.0, (1.0, 0.0))), torch.full((1, 1, 1), 0.2))


def test_light_direction_is_a_unit_vector():
    slopes = torch.randn(10, 2) * 3
    direction = Light.from_slopes(torch.zeros(10), torch.zeros(10), slopes).direction
    torch.testing.assert_close(direction.norm(dim=1), torch.ones(10))
    torch.testing.assert_close(direction[:, :2] / direction[:, 2:], slopes)


def test_every_image_has_its_own_light():
    normal = torch.nn.functional.normalize(torch.randn(3, 3, 4, 5), dim=1)
    lights = Light.from_slopes(torch.rand(3), torch.rand(3), torch.randn(3, 2))
    together = shade(normal, lights)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], shade(normal[i : i + 1], lights[i : i + 1]))
