"""The running studio against clients that are up to no good: a real process, real connections."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from raw_client import RawClient, RunningStudio
from studio_files import EXAMPLES, bomb_bytes, photo_bytes

from scr3d.cli import main
from scr3d.studio.viser_parts import same_origin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("where-the-studio-runs")


@pytest.fixture(scope="module")
def studio(folder: Path) -> Iterator[RunningStudio]:
    running = RunningStudio("--browsers", "3", folder=folder)
    yield running
    assert running.stop() == 130
    assert not [line for line in running.lines if "Traceback" in line], "\n".join(running.lines)


@pytest.fixture
def client(studio: RunningStudio) -> Iterator[RawClient]:
    opened = RawClient(studio.port)
    yield opened
    opened.close()


def test_a_photo_comes_back_as_a_mesh(client: RawClient) -> None:
    client.upload("me.jpg", photo_bytes(1, (200, 180), "JPEG"))
    client.await_photo("me.jpg")
    client.await_message(lambda message: message["type"] == "GlbMessage")
    assert client.notifications() == []


def test_a_face_is_found_in_a_larger_photo(client: RawClient) -> None:
    photo = Image.new("RGB", (900, 600), (90, 120, 150))
    photo.paste(Image.open(EXAMPLES / "head-25.png").convert("RGB"), (500, 200))
    content = io.BytesIO()
    photo.save(content, "PNG")
    client.upload("party.png", content.getvalue())
    client.await_photo("party.png, face 1")


def test_dragging_the_lamp_sets_the_light(client: RawClient) -> None:
    client.upload("me.png", (EXAMPLES / "head-06.png").read_bytes())
    client.await_photo("me.png")
    sliders = {client.control("from the left"): -0.5, client.control("from above"): 0.25}
    lamp = client.await_message(lambda m: m.get("name") == "/object0/lamp" and "position" in m)
    depth = lamp["position"][2]
    client.send(
        "TransformControlsUpdateMessage",
        name="/object0/lamp",
        wxyz=(1.0, 0.0, 0.0, 0.0),
        position=(0.5 * depth, 0.25 * depth, depth),
        owner=lamp["owner"],
    )
    for slider, value in sliders.items():

        def shows(message: dict, slider: str = slider, value: float = value) -> bool:
            updated = message.get("updates", {}).get("value") if message.get("uuid") == slider else None
            return updated is not None and abs(updated - value) < 1e-3

        client.await_message(shows)


def test_bad_files_are_refused_with_one_line_each_and_the_studio_goes_on(client: RawClient, folder: Path) -> None:
    client.upload("forty.jpg", b"", declared=40_000_000)
    line = client.await_notification("forty.jpg")
    assert line == "forty.jpg has 40 MB, at most 20 MB are taken; scale it down"
    client.upload("liar.jpg", bytes(23_000_000), declared=10)
    client.await_notification("liar.jpg has 2")
    client.upload("notes.jpg", b"no picture at all")
    assert "is damaged, or no image that scr3d reads" in client.await_notification("notes.jpg")
    client.upload("bomb.png", bomb_bytes())
    assert "too large" in client.await_notification("bomb.png")
    client.upload("empty.png", b"")
    assert client.await_notification("empty.png") == "empty.png is empty; expected an image"
    assert client.meshes() == 0
    client.upload("../../../tmp/evil\n.png", photo_bytes(2))
    client.await_photo("evil_.png")
    assert len(client.notifications()) == 5
    assert all("\n" not in line for line in client.notifications())
    assert list(folder.iterdir()) == []


def test_browsers_do_not_see_each_others_photos(studio: RunningStudio, client: RawClient) -> None:
    other = RawClient(studio.port)
    other.control("Choose a photo, or drop one anywhere")
    client.upload("secret.png", photo_bytes(3))
    client.await_photo("secret.png")
    other.upload("mine.png", photo_bytes(4))
    other.await_photo("mine.png")
    late = RawClient(studio.port)
    late.control("Choose a photo, or drop one anywhere")
    time.sleep(1)
    for stranger, foreign in ((other, "secret"), (client, "mine"), (late, "secret"), (late, "mine")):
        assert f"{foreign}.png".encode() not in stranger.received
    assert late.meshes() == 0
    # A browser cannot press another's buttons: identities of controls count for their own connection alone.
    photos = client.meshes()
    other.send("GuiUpdateMessage", uuid=client.control("Synthetic head"), updates={"value": True})
    time.sleep(1)
    assert client.meshes() == photos
    other.close()
    late.close()


@pytest.mark.parametrize(
    ("origin", "host"),
    [("https://evil.example", None), ("http://evil.example:80", "evil.example:80"), (None, "evil.example")],
)
def test_pages_of_others_get_nothing(studio: RunningStudio, origin: str | None, host: str | None) -> None:
    stranger = RawClient(studio.port, origin, host)
    assert stranger.closed.wait(20)
    assert stranger.of("GuiUploadButtonMessage") == []
    assert b"scr3d studio" not in stranger.received or stranger.of("GuiTabGroupMessage") == []


@pytest.mark.parametrize(
    ("origin", "host", "listening", "own"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1", True),
        ("http://localhost:8080", "localhost:8080", "127.0.0.1", True),
        ("http://[::1]:8080", "[::1]:8080", "::1", True),
        (None, "127.0.0.1:8080", "127.0.0.1", True),
        ("http://127.0.0.1:9999", "127.0.0.1:8080", "127.0.0.1", False),
        ("http://evil.example", "127.0.0.1:8080", "127.0.0.1", False),
        ("null", "127.0.0.1:8080", "127.0.0.1", False),
        ("http://evil.example:8080", "evil.example:8080", "127.0.0.1", False),
        ("http://my-machine:8080", "my-machine:8080", "0.0.0.0", True),
        ("http://evil.example", "my-machine:8080", "0.0.0.0", False),
        ("http://my-machine:8080", "my-machine:8080", "my-machine", True),
    ],
)
def test_whose_page_it_is(origin: str | None, host: str, listening: str, own: bool) -> None:
    assert same_origin(origin, host, listening) is own


def test_nobody_can_have_the_studio_shared(client: RawClient) -> None:
    client.control("Choose a photo, or drop one anywhere")
    client.send("ShareUrlRequest")
    time.sleep(1)
    assert client.of("ShareUrlUpdated") == []


def test_too_many_browsers_are_told_so(studio: RunningStudio, client: RawClient) -> None:
    client.control("Choose a photo, or drop one anywhere")
    more = [RawClient(studio.port) for _ in range(2)]
    for one in more:
        one.control("Choose a photo, or drop one anywhere")
    last = RawClient(studio.port)
    last.await_message(lambda message: "The studio is full" in str(message.get("props", {}).get("_markdown", "")))
    for one in (*more, last):
        one.close()
    deadline = time.monotonic() + 20
    while True:
        again = RawClient(studio.port)
        time.sleep(0.5)
        if again.of("GuiUploadButtonMessage") or time.monotonic() > deadline:
            break
        again.close()
    assert again.of("GuiUploadButtonMessage")
    again.close()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_stays_level_over_200_uploads(studio: RunningStudio) -> None:
    client = RawClient(studio.port)

    def send(number: int) -> None:
        client.upload(f"photo-{number}.jpg", photo_bytes(number, (800, 700), "JPEG"))
        client.await_photo(f"photo-{number}.jpg", timeout_s=60)
        client.messages.clear()
        client.messages.append({"type": "GuiUploadButtonMessage", "props": {"label": label}, "uuid": button})

    label = "Choose a photo, or drop one anywhere"
    button = client.control(label)
    for number in range(40):
        send(number)
    before = studio.megabytes()
    for number in range(40, 240):
        send(number)
    after = studio.megabytes()
    client.close()
    assert after - before < 40, (before, after)


def error_line(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["studio", *map(str, args)])
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Warp")]
    return line


def test_mistakes_are_refused_with_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    assert "is damaged, or no image" in error_line(capsys, text)
    assert "No such file" in error_line(capsys, tmp_path / "nothing.png")
    assert "holds no model" in error_line(capsys, "--model", tmp_path)
    assert "none of the 1 given" in error_line(capsys, tmp_path)
    assert "cannot listen on 192.0.2.1" in error_line(capsys, "--host", "192.0.2.1", EXAMPLES / "head-01.png")


def test_a_missing_extra_is_refused_with_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    assert error_line(capsys) == "scr3d: scr3d studio needs viser: pip install 'scr3d[studio]'"
