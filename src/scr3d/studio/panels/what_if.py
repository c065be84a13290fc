"""The panel of interventions."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import viser

from scr3d.errors import ConfigError
from scr3d.factors import FACTORS
from scr3d.interventions import InterventionResult
from scr3d.studio.display_mesh import frame_scale
from scr3d.studio.graph_svg import drawing_of, plain_drawing, svg
from scr3d.studio.markup import box, escape, figure, image, note
from scr3d.studio.photos import Frame
from scr3d.studio.scene import Object
from scr3d.studio.viser_parts import set_value
from scr3d.studio.what_if import Question, Way, answer, ask, summary
from scr3d.studio.workbench import mesh_of

if TYPE_CHECKING:
    from scr3d.studio.session import Session

NONE = "no other photo yet"
NAMES = {factor.name.lower(): factor for factor in FACTORS}
THUMB_SIDE = 72


def build(session: Session) -> None:
    """The controls."""
    gui = session.client.gui
    graph = gui.add_html("")
    factor = gui.add_dropdown("factor", tuple(NAMES), initial_value="light")
    way = gui.add_dropdown("what", tuple(Way), initial_value=Way.CAUSE)
    other = gui.add_dropdown("other photo", (NONE,), initial_value=NONE)
    thumb = gui.add_html("")
    share = gui.add_slider("share", 0.0, 1.0, 0.01, 1.0, hint="Of the other photo's embedding")
    sigma = gui.add_slider("noise", 0.0, 4.0, 0.05, 1.0, hint="In standard deviations", visible=False)
    button = gui.add_button("Intervene", icon=viser.Icon.GIT_BRANCH)
    beside = gui.add_checkbox("before and after in 3D", True)
    result_text = gui.add_html("")
    seed = secrets.randbelow(2**31)

    def asked() -> tuple[Question, InterventionResult]:
        bench = session.bench
        size = bench.network.config.size
        picture = bench.photo.image(size, bench.frame) if bench.photo else None
        if picture is None:
            raise ConfigError("there is no photo yet: drop or choose one, or take a synthetic head")
        source = None
        if Way(way.value) in (Way.CAUSE, Way.VALUE) and other.value != NONE:
            source = bench.find(other.value).image(size, Frame())
        question = Question(NAMES[factor.value], Way(way.value), share.value, sigma.value, seed, bench.edits)
        return question, ask(bench.network, picture, source, question)

    def run() -> None:
        bench = session.bench
        question, result = asked()
        words = summary(question, None if other.value == NONE else bench.find(other.value).name, result)
        graph.content = box(svg(drawing_of(result)))
        result_text.content = box(f"<b>{escape(words)}</b>") + answer(bench.network, result)
        objects = []
        if beside.value:
            bench.show_factors()
            factors = result.after.reconstruction.factors
            mesh = mesh_of(bench.model, factors, bench.shown)
            objects = [Object(mesh, factors.view, frame_scale(bench.network), "after")]
        session.beside(objects, first="before")

    def again() -> None:
        """A result that is shown follows its controls."""
        if result_text.content:
            run()

    def adapt() -> None:
        chosen = Way(way.value)
        share.visible, sigma.visible = chosen is Way.CAUSE, chosen is Way.NOISE
        other.visible = thumb.visible = chosen in (Way.CAUSE, Way.VALUE)

    def list_photos() -> None:
        bench = session.bench
        labels = tuple(label for label in bench.photos if bench.photo is None or label != bench.photo.label)
        kept = other.value
        other.options = labels or (NONE,)
        set_value(other, kept if kept in labels else other.options[0])
        show_thumb()

    def show_thumb() -> None:
        thumb.content = ""
        if other.value != NONE:
            photo = session.bench.find(other.value)
            square = photo.square(Frame())
            step = max(1, len(square) // THUMB_SIDE)
            small = image(square[::step, ::step], f"other photo {photo.name}", f"width:{THUMB_SIDE}px;margin:auto")
            thumb.content = box(figure(small, f"other: {photo.name}"))

    def forget() -> None:
        result_text.content = ""
        bench = session.bench
        words = note(f"{bench.model.structure}. Arrows lead from causes to effects.")
        if bench.photo is not None:
            import torch

            with torch.no_grad():
                image_ = bench.photo.image(bench.network.config.size, bench.frame)
                weights = bench.network.structure(bench.network.encode(image_))
            graph.content = box(svg(plain_drawing(weights[0] if weights.ndim == 3 else weights))) + words

    session.when_used(button, run)
    session.when_used(beside, again)
    for slider in (share, sigma):
        session.when_used(slider, again)
    session.when_used(way, adapt)
    session.when_used(other, show_thumb)
    session.on("photos", list_photos)
    session.on("explained", forget)
