"""Pictures of graphs: what is drawn, where it lies, and that equal graphs make equal bytes."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scr3d.causal import Order, parse_edges, sub_dags
from scr3d.errors import ConfigError, ShapeError
from scr3d.export.graph_layout import NODE_RADIUS, bezier, causal_depth, lay_out, place_nodes
from scr3d.export.graph_picture import GraphPanel, describe_panel, draw_graph, draw_graphs, number_text

SIZE = (0.6, 0.3)
DENSE = Order.parse("VDLA").mask()


def drawn(path: Path, graph: int = 1) -> list[str]:
    return sorted(re.findall(rf'id="graph{graph}-edge-(\w-\w)"', path.read_text(encoding="utf-8")))


def labels(path: Path) -> list[str]:
    """Texts of a picture: matplotlib writes each as a comment beside its outlines."""
    return re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8"))


def test_nodes_arrows_and_numbers(tmp_path: Path) -> None:
    weights = parse_edges("V>D,V>L,D>A") * torch.tensor([[0.25], [0.5], [0.75], [0.125]])
    draw_graph(weights, None, tmp_path / "g.svg", "a title", "a note")
    assert drawn(tmp_path / "g.svg") == ["D-A", "V-D", "V-L"]
    found = labels(tmp_path / "g.svg")
    assert {"V", "D", "L", "A", "view", "depth", "light", "albedo", "a title", "a note"} <= set(found)
    assert {"0.50", "0.75", "0.12"} <= set(found)
    assert "<text" not in (tmp_path / "g.svg").read_text(encoding="utf-8")


def test_spread_is_written_below_the_mean(tmp_path: Path) -> None:
    draw_graph(0.5 * DENSE, 0.25 * DENSE, tmp_path / "g.svg")
    found = labels(tmp_path / "g.svg")
    assert any("0.50" in text for text in found)
    assert any("± 0.25" in text for text in found)


def test_an_edge_of_mean_zero_with_a_spread_is_drawn(tmp_path: Path) -> None:
    draw_graph(torch.zeros(4, 4), parse_edges("V>D"), tmp_path / "g.svg")
    assert drawn(tmp_path / "g.svg") == ["V-D"]


def test_panels_side_by_side_share_a_scale(tmp_path: Path) -> None:
    cyclic = torch.zeros(4, 4)
    cyclic[0, 1], cyclic[1, 0] = 0.9, 0.3
    draw_graphs([GraphPanel(cyclic), GraphPanel(0.3 * parse_edges("V>D"))], tmp_path / "g.svg")
    assert drawn(tmp_path / "g.svg") == ["D-V", "V-D"]
    assert drawn(tmp_path / "g.svg", 2) == ["V-D"]
    text = (tmp_path / "g.svg").read_text(encoding="utf-8")
    style = [
        re.search(rf'id="graph{n}-edge-V-D".*?stroke-width: ([\d.]+)', text, re.DOTALL).group(1)  # type: ignore[union-attr]
        for n in (1, 2)
    ]
    assert style[0] == style[1]


def test_stronger_edges_are_thicker(tmp_path: Path) -> None:
    weights = torch.zeros(4, 4)
    weights[1, 0], weights[2, 0] = 0.2, 0.8
    draw_graph(weights, None, tmp_path / "g.svg")
    text = (tmp_path / "g.svg").read_text(encoding="utf-8")
    weak, strong = (
        float(re.search(rf'id="graph1-edge-{edge}".*?stroke-width: ([\d.]+)', text, re.DOTALL).group(1))  # type: ignore[union-attr]
        for edge in ("V-D", "V-L")
    )
    assert strong > 1.5 * weak


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_graph_makes_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        draw_graph(DENSE, 0.1 * DENSE, tmp_path / f"{name}{suffix}", "title")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    draw_graph(DENSE, 0.2 * DENSE, tmp_path / f"c{suffix}", "title")
    assert (tmp_path / f"a{suffix}").read_bytes() != (tmp_path / f"c{suffix}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


def test_the_users_own_style_does_not_matter(tmp_path: Path) -> None:
    import matplotlib

    draw_graph(DENSE, None, tmp_path / "a.png", "title")
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "savefig.transparent": True}):
        draw_graph(DENSE, None, tmp_path / "b.png", "title")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_png_has_no_empty_margins_and_no_cut_nodes(tmp_path: Path) -> None:
    draw_graph(DENSE, None, tmp_path / "g.png")
    pixels = np.asarray(Image.open(tmp_path / "g.png").convert("L"))
    rows, columns = np.nonzero((pixels < 250).any(1))[0], np.nonzero((pixels < 250).any(0))[0]
    for first, last, length in ((rows[0], rows[-1], len(pixels)), (columns[0], columns[-1], pixels.shape[1])):
        assert 0 < first < 80
        assert 0 < length - 1 - last < 80


def test_depth_is_the_longest_path() -> None:
    edges = parse_edges("V>D,D>L,V>L,V>A").numpy() > 0
    assert causal_depth(edges) == [0, 1, 2, 1]
    assert causal_depth(edges | edges.T) is None


def test_causes_lie_left_of_effects_in_all_sub_graphs() -> None:
    for mask in sub_dags(Order.parse("LVAD")):
        edges = mask.numpy() > 0
        nodes = place_nodes(edges)
        assert all(nodes[parent, 0] < nodes[child, 0] for child, parent in np.argwhere(edges))
        gaps = [np.linalg.norm(a - b) for a, b in combinations(nodes, 2)]
        assert min(gaps) > 3 * NODE_RADIUS


def crosses(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two curves come closer than neighbouring points of a fine sampling."""
    a, b = bezier(one, 300)[20:-20], bezier(two, 300)[20:-20]
    return bool(np.linalg.norm(a[:, None] - b[None], axis=2).min() < 0.02)


@pytest.mark.parametrize("order", ["VDLA", "ALVD"])
def test_a_dense_graph_has_no_crossings_and_avoids_nodes(order: str) -> None:
    layout = lay_out(Order.parse(order).mask().numpy() > 0, SIZE)
    assert len(layout.arrows) == 6
    assert not any(crosses(a.control, b.control) for a, b in combinations(layout.arrows, 2))
    for arrow in layout.arrows:
        curve = bezier(arrow.control, 200)
        for node, centre in enumerate(layout.nodes):
            gap = np.linalg.norm(curve - centre, axis=1).min()
            assert gap > NODE_RADIUS + (0.0 if node in (arrow.parent, arrow.child) else 0.2)


def test_arrows_point_from_parent_to_child() -> None:
    layout = lay_out(DENSE.numpy() > 0, SIZE)
    for arrow in layout.arrows:
        for end, node in ((0, arrow.parent), (2, arrow.child)):
            gaps = np.linalg.norm(layout.nodes - arrow.control[end], axis=1)
            assert gaps.argmin() == node
            assert gaps[node] < NODE_RADIUS + 0.1


def test_mutual_arrows_are_two_curves_and_numbers_stay_apart() -> None:
    layout = lay_out(~np.eye(4, dtype=bool), SIZE)
    assert len(layout.arrows) == 12
    for arrow in layout.arrows:
        back = next(a for a in layout.arrows if (a.parent, a.child) == (arrow.child, arrow.parent))
        assert np.linalg.norm(bezier(arrow.control, 3)[1] - bezier(back.control, 3)[1]) > 0.3
    for a, b in combinations(layout.arrows, 2):
        assert (np.abs(a.number - b.number) > np.array(SIZE) * 0.99).any()


def test_numbers() -> None:
    assert [number_text(x) for x in (0.0, 1.0, 0.254, 0.001, -0.001, 12.5)] == [
        "0",
        "1",
        "0.25",
        "<0.01",
        ">-0.01",
        "12.50",
    ]
    assert describe_panel(GraphPanel(parse_edges("V>D"), title="t")) == "t: view → depth 1"
    assert describe_panel(GraphPanel(torch.zeros(4, 4))) == "no edges"


def test_bad_graphs_and_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.png or \.svg; got g.gif"):
        draw_graph(DENSE, None, tmp_path / "g.gif")
    with pytest.raises(ShapeError, match=r"\(4, 4\) weights"):
        GraphPanel(torch.zeros(3, 3))
    with pytest.raises(ConfigError, match="not finite"):
        GraphPanel(DENSE * float("nan"))
    with pytest.raises(ConfigError, match="at least one graph"):
        draw_graphs([], tmp_path / "g.svg")
    assert not list(tmp_path.iterdir())
