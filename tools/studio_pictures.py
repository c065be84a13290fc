"""Makes the pictures of docs/studio.md: the studio's page in a headless Chromium, with the shipped model.

python tools/studio_pictures.py        # needs Debian's chromium and chromium-driver
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "studio"))

from page_driver import CHROMIUM, DRIVER, Page  # noqa: E402
from raw_client import RunningStudio  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

EXAMPLES = ROOT / "examples"
IMAGES = ROOT / "docs" / "images"
DESK, PHONE = (1400, 900), (390, 844)


def main() -> None:
    """Start the studio, and take the pictures."""
    if CHROMIUM is None or DRIVER is None:
        raise SystemExit("needs Debian's chromium and chromium-driver: apt-get install them")
    with tempfile.TemporaryDirectory() as folder:
        studio = RunningStudio(EXAMPLES / "head-01.png", EXAMPLES / "head-04.png", folder=Path(folder))
        try:
            for take, size, dark in ((edited, DESK, False), (asked, DESK, False), (on_a_phone, PHONE, True)):
                page = Page(studio.port, Path(folder), size, dark)
                try:
                    page.await_picture("head-01.png")
                    take(page)
                finally:
                    page.close()
        finally:
            studio.stop()


def edited(page: Page) -> None:
    """A photo on its surface, turned and under another light, with the lamp."""
    page.tab("Edit")
    page.choose("show", "photo")
    page.driver.find_element("tag name", "body").send_keys("l")
    slide(page, "yaw (°)", Keys.ARROW_LEFT, -13.0)
    slide(page, "from the left", Keys.ARROW_RIGHT, 0.8)
    slide(page, "ambient", Keys.ARROW_LEFT, 0.13)
    save(page, "edit")


def asked(page: Page) -> None:
    """The cause of the light taken from another photo, before and after side by side."""
    page.tab("What if")
    page.choose("factor", "light")
    page.press("Intervene")
    page.find("//*[contains(text(), 'stay')]")
    save(page, "what-if")


def on_a_phone(page: Page) -> None:
    """A narrow screen in the dark."""
    page.tab("Photo")
    save(page, "phone")


def slide(page: Page, label: str, key: str, wanted: float) -> None:
    """Move a slider by the keyboard until it is there."""
    up = key == Keys.ARROW_RIGHT
    while (float(page.slider(label).get_attribute("aria-valuenow")) < wanted) == up:
        page.slider(label).send_keys(key)


def save(page: Page, name: str) -> None:
    """Keep the page once it stands still, without the remark that this machine has no GPU."""
    for button in page.driver.find_elements("css selector", ".mantine-Notification-closeButton"):
        button.click()
    page.settled_canvas()
    time.sleep(1.0)
    page.driver.save_screenshot(str(IMAGES / f"studio-{name}.png"))


if __name__ == "__main__":
    main()
