"""Photos as browsers send them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from studio_files import EXAMPLES, bomb_bytes, photo_bytes

from scr3d.data.photos import read_photos
from scr3d.errors import ConfigError, DataError
from scr3d.studio.config import StudioConfig, UploadLimits
from scr3d.studio.photos import (
    KEPT_SIDE,
    LONGEST_NAME,
    Frame,
    Photo,
    display_name,
    read_file,
    read_upload,
    synthetic_head,
)

LIMITS = UploadLimits()


def one_line(error: pytest.ExceptionInfo[DataError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 200
    return text


def test_a_photo_is_explained_as_by_reconstruct() -> None:
    path = EXAMPLES / "head-01.png"
    photo = read_file(path, LIMITS)
    assert photo.name == "head-01.png"
    torch.testing.assert_close(photo.image(64, Frame()), read_photos([path], 64), rtol=0, atol=0)


@pytest.mark.parametrize("size", [(90, 60), (60, 90), (61, 90)])
def test_the_plain_frame_is_the_middle_square(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(photo_bytes(1, size))
    torch.testing.assert_close(read_file(path, LIMITS).image(16, Frame()), read_photos([path], 16), rtol=0, atol=0)


def test_a_frame_zooms_and_moves() -> None:
    pixels = np.arange(100 * 80 * 3, dtype=np.uint32).astype(np.uint8).reshape(100, 80, 3)
    photo = Photo("a", pixels)
    np.testing.assert_array_equal(photo.square(Frame(2, -1, -1)), pixels[:40, :40])
    np.testing.assert_array_equal(photo.square(Frame(2, 1, 1)), pixels[60:, 40:])
    assert photo.square(Frame(1000, 0, 0)).shape == (1, 1, 3)


def test_large_photos_are_kept_small_and_long_ones_cut() -> None:
    assert read_upload("a.jpg", photo_bytes(2, (3000, 2000), "JPEG"), LIMITS).pixels.shape == (1536, KEPT_SIDE, 3)
    assert read_upload("a.png", photo_bytes(3, (40, 4000)), LIMITS).pixels.shape == (40, 120, 3)


def test_too_large_a_file_is_refused() -> None:
    with pytest.raises(DataError) as error:
        read_upload("huge.jpg", bytes(40_000_000), LIMITS)
    assert one_line(error) == "huge.jpg has 40 MB, at most 20 MB are taken; scale it down"


def test_a_text_file_named_like_a_photo_is_refused() -> None:
    with pytest.raises(DataError) as error:
        read_upload("notes.jpg", b"dear diary, " * 100, LIMITS)
    assert one_line(error).startswith("notes.jpg is damaged, or no image that scr3d reads")


def test_a_decompression_bomb_is_refused_without_its_memory() -> None:
    bomb = bomb_bytes()
    assert len(bomb) < 200_000
    tracemalloc.start()
    with pytest.raises(DataError) as error:
        read_upload("bomb.png", bomb, LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "too large" in one_line(error)
    assert peak < 5_000_000
    with pytest.raises(DataError, match=r"30x25, at most 500 pixels"):
        read_upload("photo.png", photo_bytes(size=(25, 30)), UploadLimits(megapixels=0.0005))


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\me.jpg", "me.jpg"),
        ("a\nb\x00\x1b[31m.png", "a_b__[31m.png"),
        ("..", ".."),
        ("/", "photo"),
        ("", "photo"),
        ("x" * 500, "x" * (LONGEST_NAME - 1) + "…"),
    ],
)
def test_names_are_shown_on_one_line_and_lead_nowhere(sent: str, shown: str) -> None:
    assert display_name(sent) == shown


def test_an_upload_touches_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened")

    data = photo_bytes(4)
    read_upload("warm-up.png", data, LIMITS)  # Pillow loads its readers
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("pathlib.Path.open", refuse)
    assert read_upload("../evil.png", data, LIMITS).name == "evil.png"
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_a_head_is_the_same_at_every_size_and_knows_its_truth() -> None:
    photo = synthetic_head(0, 5)
    assert photo.head is not None
    made = photo.head.make(64)
    torch.testing.assert_close(photo.image(64, Frame()), made.image, rtol=0, atol=0.5 / 255 + 1e-6)
    torch.testing.assert_close(photo.image(32, Frame()), photo.head.make(32).image, rtol=0, atol=0)
    truth = photo.head.truth(32)
    assert truth.foreground.any()
    torch.testing.assert_close(truth.depth[truth.foreground], photo.head.make(32).depth[truth.foreground])
    assert (truth.depth[~truth.foreground] == 1.1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 70_000}, "--port must lie between 0 and 65535; got 70000"),
        ({"browsers": 0}, "--browsers must be at least 1; got 0"),
        ({"runs": Path("/nowhere")}, "--runs expects a folder of training runs or searches, but /nowhere is missing"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        StudioConfig(**options)
    assert str(error.value) == message


def test_limits_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="--megabytes must lie between 0 and 1000; got 0"):
        UploadLimits(megabytes=0)
