"""A search as it goes, as HTML: scores of its candidates, what the surrogate expects, the best so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from scr3d.causal.order import all_orders
from scr3d.search.candidates import Space, label
from scr3d.studio.markup import box, escape, note, table
from scr3d.studio.runs import Candidate

BAR = "#2f6ea8"
Posterior = dict[str, tuple[float, float]]


def posterior(found: Sequence[Candidate]) -> Posterior | None:
    """Mean and standard deviation that the search's Gaussian process expects of every order.

    Returns:
        None where too little is known, the candidates are no orders, or the search extra is not installed.
    """
    scored = tuple((one.name, one.score, one.images) for one in found if one.score is not None)
    return _posterior(scored)


@lru_cache(maxsize=16)
def _posterior(scored: tuple[tuple[str, float, int], ...]) -> Posterior | None:
    orders = tuple(map(str, all_orders()))
    if not scored or any(name not in orders for name, _, _ in scored):
        return None
    try:
        from scr3d.search.expectation import expect
        from scr3d.search.results import Observation
    except ModuleNotFoundError:
        return None
    longest = max(images for _, _, images in scored)
    found = [Observation(name, 0, images, score, 0.0, images, 0.0, "") for name, score, images in scored]
    expected = expect(Space("order", orders), found, longest, "l1")
    return {one.name: (one.mean, one.deviation) for one in expected} or None


def as_html(found: Sequence[Candidate], expected: Posterior | None) -> str:
    """Table of all candidates, best first."""
    scored = [one for one in found if one.score is not None]
    running = [one.name for one in found if one.training]
    if not found:
        return note("This search has not begun to train.")
    best = scored[0] if scored else None
    words = f"{len(scored)} scored, {len(running)} in training"
    if best is not None and best.score is not None:
        words += f"; best so far: {label(best.name)} with {best.score:.4f}"
    names = [one.name for one in found] + sorted(
        (name for name in expected or {} if name not in {one.name for one in found}),
        key=lambda name: (expected or {})[name][0],
    )
    by_name = {one.name: one for one in found}
    spread = _spread(scored, expected)
    rows = [_row(name, by_name.get(name), (expected or {}).get(name), spread, best) for name in names]
    lines = box(f"<b>{escape(words)}</b>") + box(table(("candidate", "score", "expected", ""), rows))
    if expected is None:
        lines += note("What the surrogate expects is shown for orders, from three scores on, with scr3d[search].")
    return lines + note("Scores are means over validation images; lower is better. Expected: mean ± deviation.")


def _spread(scored: Sequence[Candidate], expected: Posterior | None) -> tuple[float, float]:
    values = [one.score for one in scored if one.score is not None] + [mean for mean, _ in (expected or {}).values()]
    return (min(values), max(values)) if values else (0.0, 1.0)


def _row(
    name: str,
    one: Candidate | None,
    expected: tuple[float, float] | None,
    spread: tuple[float, float],
    best: Candidate | None,
) -> list[str]:
    score = one.score if one else None
    value = score if score is not None else expected[0] if expected else math.nan
    low, high = spread
    share = 0.0 if math.isnan(value) else 1 - 0.9 * (value - low) / max(high - low, 1e-12)
    mark = " ★" if best is not None and name == best.name else ""
    state = "in training" if one is not None and one.training else ""
    cells = [f"<code>{escape(label(name))}</code>{mark}", "" if score is None else f"{score:.4f}"]
    if one is not None and len(one.scores) > 1:
        cells[1] += f" ({len(one.scores)} seeds)"
    cells.append(f"{expected[0]:.4f} ± {expected[1]:.4f}" if expected else "")
    width = f"{100 * share:.0f}%"
    opacity = 1.0 if score is not None else 0.35
    bar = f'<div style="background:{BAR};opacity:{opacity};height:.7em;width:{width};min-width:1px"></div>'
    return [*cells, state or (bar if share else "")]
