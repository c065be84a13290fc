import base64
import json
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
import torch

from scr3d.export.gallery import PREVIEW_SIZE, GalleryEntry, Picture, mesh_preview, write_gallery
from scr3d.export.media import write_animation, write_png
from scr3d.export.mesh import mesh_from_depth
from scr3d.geometry import Camera, DepthRange

NASTY = 'a&b <i>"quo\'ted" </script><script>alert(1)</script> #1 100%?.png'


class Page(HTMLParser):
    """Collects what a page refers to, its elements and its text."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.tags, self.texts, self.scripts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "poster", "srcset")]

    def handle_data(self, data):
        (self.scripts if self.cdata_elem == "script" else self.texts).append(data)


def preview(size=24, trim=2):
    axis = torch.linspace(-1, 1, size)
    depth = 1 - 0.05 * torch.exp(-2 * (axis[None, :] ** 2 + axis[:, None] ** 2))
    texture = torch.rand(3, size, size, generator=torch.Generator().manual_seed(0))
    png = mesh_from_depth(depth, texture, Camera(size, size)).texture_png
    return depth, mesh_preview(depth, png, Camera(size, size), DepthRange(), trim)


@pytest.fixture
def gallery(tmp_path):
    folder = tmp_path / "a&b #1 ä"
    folder.mkdir()
    write_png(folder / "input.png", torch.rand(3, 8, 8))
    write_animation(folder / "turntable.mp4", torch.rand(4, 3, 8, 8))
    (folder / "mesh.glb").write_bytes(b"")
    pictures = [Picture("input.png", "Input", "<note>", large=True), Picture("turntable.mp4", "Turntable")]
    entry = GalleryEntry(NASTY, folder.name, pictures, [("mesh.glb", "GLB")], ["yaw < 3°"], preview()[1])
    write_gallery(tmp_path / "index.html", [entry, entry], lead="<lead>", skipped=[("<bad>.png", "a & b")])
    return tmp_path / "index.html"


def test_every_address_is_a_file_beside_the_page_or_inlined(gallery):
    page = Page(gallery.read_text("utf-8"))
    assert page.addresses
    for address in page.addresses:
        if not address.startswith(("data:", "#")):
            assert address.startswith("./")
            assert (gallery.parent / unquote(address)).exists(), address
    assert "//" not in "".join(a for a in page.addresses if not a.startswith("data:"))
    assert "@import" not in gallery.read_text("utf-8")
    assert "iframe" not in page.tags


def test_names_and_reasons_are_escaped(gallery):
    page = Page(gallery.read_text("utf-8"))
    assert {"i", "bad", "lead", "note"}.isdisjoint(page.tags)
    # One script per viewer and the page's own.
    assert page.tags.count("script") == 3
    for text in (NASTY, "<bad>.png", ": a & b", "<lead>", "<note>", "yaw < 3°"):
        assert text in page.texts


def test_page_is_made_for_phones_and_for_the_dark(gallery):
    text = gallery.read_text("utf-8")
    assert "width=device-width" in text
    assert "prefers-color-scheme: dark" in text
    assert "prefers-reduced-motion" in text


def test_mesh_preview_holds_depth_and_texture(gallery):
    page = Page(gallery.read_text("utf-8"))
    data = json.loads(page.scripts[0])
    depth, _ = preview()
    assert (data["rows"], data["columns"], data["trim"]) == (24, 24, 2)
    codes = np.frombuffer(base64.b64decode(data["depth"]), "<u2").reshape(24, 24)
    read = data["far"] - codes / 65535 * (data["far"] - data["near"])
    np.testing.assert_allclose(read, depth, atol=2e-6)
    assert base64.b64decode(data["texture"].split(",")[1]).startswith(b"\x89PNG")


def test_large_meshes_are_thinned_to_16_bit_vertex_numbers():
    data = json.loads(preview(256)[1])
    assert data["rows"] == data["columns"] == PREVIEW_SIZE
    assert data["rows"] * data["columns"] < 2**16
    assert data["trim"] == 1


def test_a_page_without_mesh_or_skipped_images_has_neither(tmp_path):
    write_gallery(tmp_path / "p.html", [GalleryEntry("a.png", "a", [Picture("x.png", "X")])])
    text = tmp_path.joinpath("p.html").read_text("utf-8")
    assert 'class="viewer"' not in text
    assert "Skipped" not in text
    assert "<nav" not in text


@pytest.mark.slow
def test_the_page_draws_its_meshes_in_a_browser(gallery, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed")
    flags = ["--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
    command = [browser, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000"]
    # Meshes are drawn when they come into sight.
    command += ["--window-size=1200,3000"]
    done = subprocess.run(
        [*command, "--dump-dom", gallery.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    page = Page(done.stdout)
    assert page.tags.count("canvas") == 2
