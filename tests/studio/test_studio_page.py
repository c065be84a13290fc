"""The studio's page in a real headless Chromium."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import trimesh
from page_driver import CHROMIUM, DRIVER, Page, covered
from PIL import Image
from raw_client import RunningStudio
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from studio_files import EXAMPLES, bomb_bytes, photo_bytes
from test_watched_runs import write_result, write_run

from scr3d.data.images import write_png8

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="needs Debian's chromium and chromium-driver: apt-get install them"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Path:
    """A run as training leaves it, and a search in the middle."""
    root = tmp_path_factory.mktemp("runs")
    run = write_run(root / "first", images=8000)
    (run / "pictures").mkdir()
    write_png8(run / "pictures" / "000008000.png", np.full((64, 64, 3), 90, np.uint8))
    shutil.copytree(tiny_models["dense"], run / "best")
    for name, score in (("VDLA", 0.4), ("ADLV", 0.2)):
        write_result(write_run(root / "orders" / "trials" / f"{name}-s0", order=name), 4800, score)
    return root


@pytest.fixture(scope="module")
def studio(runs: Path, tiny_models: dict[str, Path]) -> Iterator[RunningStudio]:
    photos = [EXAMPLES / "head-01.png", EXAMPLES / "head-04.png"]
    running = RunningStudio(*photos, "--runs", runs)
    yield running
    running.stop()
    assert not [line for line in running.lines if "Traceback" in line], "\n".join(running.lines)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def page(studio: RunningStudio, downloads: Path) -> Iterator[Page]:
    opened = Page(studio.port, downloads)
    opened.await_picture("head-01.png")
    yield opened
    opened.close()


def test_the_page_loads_and_shows_the_mesh_in_its_colours(page: Page) -> None:
    assert page.driver.title == "scr3d studio"
    page.find("//img[contains(@alt, 'the object, texture')]")
    view = page.settled_canvas()
    assert 0.2 < covered(view) < 0.9
    # The mesh has the colours of the rendered picture, for all that the browser does to them.
    source = page.find("//img[contains(@alt, 'the object, texture')]").get_attribute("src")
    rgba = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
    expected = rgba[rgba[..., 3] == 255][:, :3].astype(float).mean(axis=0)
    np.testing.assert_allclose(view[view[..., 3] == 255][:, :3].mean(axis=0), expected, atol=8)
    assert page.errors() == []


@pytest.mark.slow
def test_a_chosen_photo_appears(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "chosen.jpg"
    path.write_bytes((EXAMPLES / "head-06.png").read_bytes())
    before = page.settled_canvas()
    page.tab("Photo")
    page.upload(path)
    page.await_picture("chosen.jpg")
    page.wait(lambda: np.abs(page.canvas() - before).mean() > 3)
    assert page.errors() == []


@pytest.mark.slow
def test_a_dropped_photo_appears(page: Page) -> None:
    data = list((EXAMPLES / "head-08.png").read_bytes())
    drop = """
        const file = new File([new Uint8Array(arguments[0])], 'dropped.png', {type: 'image/png'});
        const transfer = new DataTransfer(); transfer.items.add(file);
        const canvas = document.querySelector('canvas');
        for (const kind of ['dragover', 'drop'])
            canvas.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
    """
    page.script(drop, data)
    page.await_picture("dropped.png")
    assert page.errors() == []


@pytest.mark.slow
def test_bad_photos_are_refused_with_a_line(page: Page, tmp_path: Path) -> None:
    files = {"forty.jpg": bytes(40_000_000), "notes.jpg": b"dear diary", "bomb.png": bomb_bytes()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        page.upload(tmp_path / name)
        assert len(page.notification(name).splitlines()) == 1
    (tmp_path / "fine.png").write_bytes(photo_bytes(7, (120, 120)))
    page.upload(tmp_path / "fine.png")
    page.await_picture("fine.png")


@pytest.mark.slow
def test_sliders_move_picture_and_mesh_and_can_be_taken_back(page: Page) -> None:
    page.tab("Photo")
    page.press("Synthetic head")
    page.find("//img[starts-with(@alt, 'photo synthetic head')]")
    page.tab("Edit")
    start = page.settled_canvas()
    found = page.find("//img[contains(@alt, 'explained')]").get_attribute("src")
    page.move("yaw (°)", Keys.ARROW_RIGHT, 30)
    page.find("//img[contains(@alt, 'as edited')]")
    turned = page.settled_canvas()
    assert np.abs(turned - start).mean() > 3
    page.move("ambient", Keys.HOME)
    page.move("diffuse", Keys.HOME)
    dark = page.settled_canvas()
    assert dark[dark[..., 3] == 255][:, :3].mean() < 40
    page.press("As the model found it")
    assert page.find("//img[contains(@alt, 'explained')]").get_attribute("src") == found
    back = page.settled_canvas()
    # Not to the last bit: viser draws with more or fewer pixels as the machine has time.
    assert np.abs(back - start).mean() < np.abs(turned - start).mean() / 3
    assert page.errors() == []


@pytest.mark.slow
def test_every_kind_of_surface_is_shown_by_its_key(page: Page) -> None:
    views = []
    for key in "12345":
        page.driver.find_element(By.TAG_NAME, "body").send_keys(key)
        kind = ("texture", "photo", "albedo", "textureless", "normals", "depth")[int(key) - 1]
        page.find(f"//img[starts-with(@alt, 'the object, {kind}')]")
        views.append(page.settled_canvas())
    for first, second in itertools.pairwise(views):
        assert np.abs(first - second).mean() > 1
    page.driver.find_element(By.TAG_NAME, "body").send_keys("w")
    page.wait(lambda: np.abs(page.canvas() - views[-1]).mean() > 0.5)
    page.driver.find_element(By.TAG_NAME, "body").send_keys("w1")


@pytest.mark.slow
def test_an_intervention_leaves_non_descendants_unchanged(page: Page) -> None:
    page.tab("What if")
    page.press("Intervene")
    sentence = page.find("//b[starts-with(., 'do(light')]").text
    assert sentence.endswith("view follows; depth and albedo stay the same to the last bit.")
    for factor, unchanged in (("depth", True), ("albedo", True), ("light", False), ("view", False)):
        before, after = (
            page.find(f"//img[@alt='{factor} {when}']").get_attribute("src") for when in ("before", "after")
        )
        assert (before == after) is unchanged, factor
    assert page.find("//*[@role='img' and contains(@aria-label, 'view follows')]")
    labels = page.wait(lambda: page.script("return document.body.innerText").count("after"))
    assert labels
    assert page.errors() == []


@pytest.mark.slow
def test_models_are_compared_on_a_head_with_truth(page: Page) -> None:
    page.tab("Photo")
    page.press("Synthetic head")
    page.tab("Runs")
    page.find("//th[contains(., 'first')]")
    page.find("//*[contains(., 'best so far: ADLV with 0.2000')]")
    page.choose("run", "first")
    page.find("//img[starts-with(@alt, 'after 8,000 images')]")
    page.choose("curve", "train: total")
    page.find("//canvas[ancestor::*[contains(@class, 'uplot')]]")
    page.tab("Compare")
    page.choose("model 2", "run first")
    page.press("Compare")
    text = page.find("//table[contains(., 'run first')]").text
    assert len(re.findall(r"SIDE \d\.\d{3}", text)) == 2
    assert len(re.findall(r"MAD \d+\.\d\d°", text)) == 2
    assert page.errors() == []


@pytest.mark.slow
def test_downloads_open(page: Page, downloads: Path) -> None:
    page.tab("Save")
    for label, ending in (("Mesh (GLB)", ".glb"), ("Picture (PNG)", ".png"), ("Turntable (MP4)", ".mp4")):
        page.press(label)
        found = page.wait(lambda ending=ending: next(downloads.glob(f"*{ending}"), None))
        if ending == ".glb":
            (mesh,) = trimesh.load(found).geometry.values()
            assert len(mesh.faces) > 5000
        elif ending == ".png":
            assert Image.open(found).size == (1024, 1024)
        else:
            assert found.read_bytes()[4:8] == b"ftyp"


@pytest.mark.slow
def test_everything_is_reached_by_the_tab_key(page: Page) -> None:
    page.tab("Edit")
    page.script("document.activeElement.blur()")
    name = """
        const [e] = arguments, [label] = e.labels || [];
        return e.getAttribute('aria-label') || (label || e).textContent.trim();
    """
    reached = set()
    body = page.driver.switch_to.active_element
    for _ in range(60):
        body.send_keys(Keys.TAB)
        body = page.driver.switch_to.active_element
        reached.add(page.script(name, body))
    wanted = {"Photo", "What if", "Compare", "Runs", "Save", "ambient", "diffuse", "yaw (°)", "relief", "show"}
    wanted |= {"wire frame", "lamp", "As the model found it"}
    assert wanted <= reached, wanted - reached


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_in_light_and_dark(studio: RunningStudio, tmp_path: Path, dark: bool) -> None:
    page = Page(studio.port, tmp_path, (390, 844), dark)
    try:
        page.await_picture("head-01.png")
        background = "return getComputedStyle(document.documentElement).colorScheme"
        page.wait(lambda: page.script(background) == ("dark" if dark else "light"))
        view = page.settled_canvas()
        upper = view[: round(0.4 * len(view))]
        assert covered(upper) > 0.25  # the object is above the sheet
        assert page.script("return document.documentElement.scrollWidth") <= 390
        for name in ("Edit", "What if", "Compare", "Runs", "Save"):
            page.tab(name)
            wide = json.loads(
                page.script(
                    "return JSON.stringify([...document.querySelectorAll('button, input, table, img, svg')]"
                    ".filter(e => e.offsetParent).map(e => e.getBoundingClientRect().right))"
                )
            )
            assert max(wide) <= 391, name
        assert page.errors() == []
    finally:
        page.close()
