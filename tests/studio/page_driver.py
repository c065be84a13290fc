"""A headless Chromium on the studio's page."""

from __future__ import annotations

import base64
import io
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
PATIENCE_SECONDS = 45.0
"""On a busy machine without a GPU."""
HARMLESS = ("THREE.Clock", "favicon")
VIEW = """
    const size = (canvas) => canvas.width * canvas.height;
    const [largest] = [...document.querySelectorAll('canvas')].sort((a, b) => size(b) - size(a));
    return largest && size(largest) > 10000 ? largest.toDataURL() : null;
"""
"""Content of the 3D view as a data URL, once it has a size."""
VIEW_SIZE = (320, 280)
T = TypeVar("T")


class Page:
    """A browser on the studio's page."""

    def __init__(self, port: int, downloads: Path, size: tuple[int, int] = (1000, 640), dark: bool = False):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--use-gl=angle",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            f"--window-size={size[0]},{size[1]}",
        ):
            options.add_argument(argument)
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        if size[0] < 500:  # narrower than a window can be
            metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": True}
            self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.set_script_timeout(PATIENCE_SECONDS)
        self.driver.get(f"http://127.0.0.1:{port}/")
        self.find("//button[contains(., 'Choose a photo')]")

    def wait(self, what: Callable[[], T | None]) -> T:
        """The first value that is not empty."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if found := what():
                return found
            time.sleep(0.1)
        raise AssertionError("waited in vain")

    def find(self, path: str) -> WebElement:
        """The first visible element."""
        return self.wait(lambda: next((e for e in self.driver.find_elements(By.XPATH, path) if shown(e)), None))

    def tab(self, name: str) -> None:
        """Open a tab."""
        self.find(f"//*[normalize-space(text())='{name}' and not(ancestor-or-self::button[@type='submit'])]").click()

    def press(self, label: str) -> None:
        """Press a button of the panel; tabs are no such buttons."""
        self.find(f"//button[contains(@class, 'mantine-Button-root') and contains(., '{label}')]").click()

    def choose(self, label: str, option: str) -> None:
        """Choose from a list."""
        self.find(f"//label[.='{label}']/following::input[not(@type='hidden')][1]").click()
        self.find(f"//*[@role='option' and normalize-space(.)='{option}']").click()

    def slider(self, label: str) -> WebElement:
        """The handle of a slider."""
        return self.find(f"//*[@role='slider' and @aria-label='{label}']")

    def move(self, label: str, keys: str, times: int = 1) -> None:
        """Move a slider by the keyboard."""
        for _ in range(times):
            self.slider(label).send_keys(keys)

    def upload(self, path: Path) -> None:
        """Choose a file."""
        self.driver.find_element(By.CSS_SELECTOR, "input[type=file][name=file]").send_keys(str(path))

    def await_picture(self, name: str) -> None:
        """Wait until a photo is shown with its picture."""
        self.find(f"//img[@alt='photo {name}']")

    def notification(self, part: str) -> str:
        """Text of a message that contains something."""
        return self.find(f"//*[contains(@class, 'mantine-Notification-description') and contains(., '{part}')]").text

    def canvas(self) -> np.ndarray:
        """RGBA of the 3D view, transparent where there is nothing."""
        source = self.wait(lambda: self.driver.execute_script(VIEW))
        image = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
        # viser draws with fewer pixels while the machine is slow.
        return np.asarray(image.convert("RGBA").resize(VIEW_SIZE, Image.Resampling.BOX)).astype(int)

    def settled_canvas(self) -> np.ndarray:
        """The 3D view once it stands still."""
        last = self.canvas()

        def still() -> bool:
            nonlocal last
            time.sleep(0.6)
            before, last = last, self.canvas()
            return before.shape == last.shape and np.abs(before - last).max() < 8

        self.wait(still)
        return last

    def errors(self) -> list[str]:
        """What the console calls an error or a warning, but for what is known to be harmless."""
        lines = [entry for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        return [line["message"] for line in lines if not any(part in line["message"] for part in HARMLESS)]

    def script(self, source: str, *args: Any) -> Any:
        """Run JavaScript."""
        return self.driver.execute_script(source, *args)

    def close(self) -> None:
        """End the browser."""
        self.driver.quit()


def shown(element: WebElement) -> bool:
    """Whether an element can be seen."""
    try:
        return element.is_displayed()
    except StaleElementReferenceException:
        return False  # it has been replaced meanwhile


def covered(pixels: np.ndarray) -> float:
    """Share of the view that shows something."""
    return float((pixels[..., 3] > 128).mean())
