"""The panel of the photo: add one, choose one, frame it, choose the model that explains it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import viser

from scr3d.errors import Scr3dError
from scr3d.studio.faces import add_faces
from scr3d.studio.library import SHIPPED
from scr3d.studio.markup import box, figure, image, note, row
from scr3d.studio.photos import Frame, read_upload, synthetic_head
from scr3d.studio.viser_parts import set_value, take_upload

if TYPE_CHECKING:
    from scr3d.studio.session import Session

NONE = "no photo yet"
LARGEST_ZOOM = 6.0
SHOWN_SIDE = 256
HEADS = 1_000_000
"""So many different synthetic heads a click can bring."""


def build(session: Session) -> None:
    """The controls."""
    gui, limits = session.client.gui, session.shared.config.upload
    upload = gui.add_upload_button(
        "Choose a photo, or drop one anywhere",
        icon=viser.Icon.PHOTO_UP,
        mime_type="image/*",
        hint=f"Any photo with a face, or one that the object fills; at most {limits.megabytes:g} MB",
    )
    # At once: a file may come before the rest of the page is there. Jobs wait until it is.
    upload.on_upload(lambda event: session.submit(f"upload {secrets.token_hex(8)}", lambda: receive()))
    head = gui.add_button("Synthetic head", icon=viser.Icon.DICE_5, hint="A random one, of which the truth is known")
    chosen = gui.add_dropdown("photo", (NONE,), initial_value=NONE)
    model = gui.add_dropdown("model", session.shared.library.names, initial_value=session.bench.model.name)
    pictures = gui.add_html("")
    search = gui.add_button("Find faces", icon=viser.Icon.FACE_ID, hint="Each face of the photo as one of its own")
    with gui.add_folder("frame", expand_by_default=False):
        zoom = gui.add_slider("zoom", 1.0, LARGEST_ZOOM, 0.05, 1.0, hint="The face should fill three quarters")
        x = gui.add_slider("left, right", -1.0, 1.0, 0.01, 0.0)
        y = gui.add_slider("up, down", -1.0, 1.0, 0.01, 0.0)

    def receive() -> None:
        sent = take_upload(upload)
        try:
            photo = read_upload(sent.name, sent.content, limits)
        except Scr3dError as error:
            session.say("Photo refused", str(error))
            return
        photo = session.bench.add(photo)
        # The shipped model knows heads alone; what others were trained on is for the user to say.
        faces = add_faces(session.bench, photo) if session.bench.model.name == SHIPPED else []
        use((faces or [photo])[0].label)

    def find() -> None:
        if session.bench.photo is None:
            session.say("No photo yet", "drop or choose one first")
            return
        faces = add_faces(session.bench, session.bench.photo)
        if faces:
            use(faces[0].label)
        else:
            session.say("No face found", "none that is not framed already; choose the square by hand under frame")

    def take_head() -> None:
        use(session.bench.add(synthetic_head(0, secrets.randbelow(HEADS))).label)

    def use(label: str) -> None:
        session.bench.choose(label)
        session.renew()

    def list_photos() -> None:
        bench = session.bench
        if bench.photos:
            chosen.options = tuple(bench.photos)
            set_value(chosen, bench.photo.label if bench.photo else next(iter(bench.photos)))

    def reframe() -> None:
        session.bench.set_frame(Frame(zoom.value, x.value, y.value))
        session.tell("explained")
        session.redraw(mesh=True)

    def choose_model() -> None:
        session.bench.set_model(model.value)
        session.renew()

    def list_models() -> None:
        model.options = session.shared.library.names
        set_value(model, session.bench.model.name)

    def show_frame() -> None:
        frame = session.bench.frame
        for slider, number in ((zoom, frame.zoom), (x, frame.x), (y, frame.y)):
            set_value(slider, number)

    def draw() -> None:
        pictures.content = picture_row(session)

    session.when_used(head, take_head)
    session.when_used(search, find)
    session.when_used(chosen, lambda: use(chosen.value) if chosen.value != NONE else None)
    session.when_used(model, choose_model)
    for slider in (zoom, x, y):
        session.when_used(slider, reframe)
    session.on("photos", list_photos)
    session.on("models", list_models)
    session.on("explained", show_frame)
    session.on("drawn", draw)
    if session.bench.photo is None:
        pictures.content = note("Drop a photo to see it in 3D, or take a synthetic head.")


def picture_row(session: Session) -> str:
    """Photo and picture side by side."""
    bench = session.bench
    if bench.photo is None:
        return ""
    square = bench.photo.square(bench.frame)
    step = max(1, len(square) // SHOWN_SIDE)
    name = "as edited" if bench.edits else "explained"
    return box(
        row(
            [
                figure(image(square[::step, ::step], f"photo {bench.photo.name}"), "photo"),
                figure(image(bench.picture(), f"the object, {bench.shown}, {name}"), f"{bench.shown}, {name}"),
            ]
        )
    )
