"""The page's panels: each builds its controls and listens to its session."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import viser

from scr3d.studio.panels import compare, edit, photo, runs, save, what_if

if TYPE_CHECKING:
    from scr3d.studio.session import Session

BRAND = (31, 78, 121)
PANEL_WIDTH_PX = 430.0
DARK_KEY = "scr3d-dark"
STORAGE_SECONDS = 5.0


def build_panels(session: Session) -> None:
    """All tabs, the theme, and the commands that keys reach."""
    gui = session.client.gui
    gui.set_panel_label("scr3d studio")
    set_theme(session, dark=False)
    gui.main_panel.dock_right()
    gui.main_panel.set_width(PANEL_WIDTH_PX)
    tabs = gui.add_tab_group()
    for label, build in (
        ("Photo", photo.build),
        ("Edit", edit.build),
        ("What if", what_if.build),
        ("Compare", compare.build),
        ("Runs", runs.build),
        ("Save", save.build),
    ):
        with tabs.add_tab(label):
            build(session)
    # The browser's answer is waited for elsewhere than where pictures are made.
    threading.Thread(target=_remembered_theme, args=(session,), daemon=True, name="studio theme").start()


def set_theme(session: Session, dark: bool) -> None:
    """Light or dark."""
    session.client.gui.configure_theme(
        dark_mode=dark, show_logo=False, show_share_button=False, brand_color=BRAND if not dark else (76, 155, 232)
    )


def _remembered_theme(session: Session) -> None:
    """As in the browser's last visit; at the first, as its system is set."""
    try:
        dark = session.client.local_storage.get_item(DARK_KEY, timeout=STORAGE_SECONDS) == "yes"
    except (RuntimeError, TimeoutError):
        dark = False  # the browser keeps nothing, or has gone
    set_theme(session, dark)
    command = session.client.gui.add_command(
        "Dark or light", description="Switch between dark and light colours", hotkey="D", icon=viser.Icon.MOON
    )
    state = {"dark": dark}

    def switch(event: viser.CommandEvent) -> None:
        state["dark"] = not state["dark"]
        set_theme(session, state["dark"])
        session.client.local_storage.set_item(DARK_KEY, "yes" if state["dark"] else "no")

    command.on_trigger(switch)
