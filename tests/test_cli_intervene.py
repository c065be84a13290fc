"""`scr3d intervene` as a user meets it, with the shipped model and the example images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scr3d.cli import main
from scr3d.commands import intervene as command
from scr3d.commands.intervene import parse_spec
from scr3d.factors import Factor

EXAMPLES = Path(__file__).parent.parent / "examples"
PHOTO, OTHER = EXAMPLES / "head-01.png", EXAMPLES / "head-25.png"


def error_line(*args: object, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["intervene", *(str(arg) for arg in args)])
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Warp")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("scr3d: ")
    return lines[0]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cause replaced and a value set, written twice: the second run takes the place of the first."""
    out = tmp_path_factory.mktemp("intervene") / "deep" / "out"
    main(["intervene", str(PHOTO), "--set", "view=yaw:20", "--out", str(out)])
    main(["intervene", str(PHOTO), "--do", f"light=from:{OTHER}", "--set", "depth=scale:1.5", "--out", str(out)])
    return out


def test_a_face_anywhere_in_a_photo_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Image.open(PHOTO) as head:
        photo = Image.new("RGB", (3 * head.width, 2 * head.height), (90, 110, 90))
        photo.paste(head, (2 * head.width - 10, 5))
    photo.save(tmp_path / "photo.png")
    options = ["intervene", str(tmp_path / "photo.png"), "--set", "view=yaw:20", "--out", str(tmp_path / "out")]
    main(options)
    found = json.loads((tmp_path / "out" / "interventions.json").read_text())["factors"]
    main(["intervene", str(PHOTO), "--set", "view=yaw:20", "--out", str(tmp_path / "alone")])
    alone = json.loads((tmp_path / "alone" / "interventions.json").read_text())["factors"]
    for name in ("ambient", "diffuse"):
        assert found["light"]["before"][name] == pytest.approx(alone["light"]["before"][name], abs=0.1)
    photo.crop((0, 0, 64, 64)).save(tmp_path / "nobody.png")
    assert "shows no face" in error_line(
        tmp_path / "nobody.png", "--set", "view=yaw:20", "--out", tmp_path / "no", capsys=capsys
    )


def test_numbers_of_the_shipped_model(result: Path) -> None:
    record = json.loads(
        (result / "interventions.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON")
    )
    assert record["format"] == "scr3d-intervention"
    assert (record["image"], record["model"], record["order"]) == ("head-01.png", "shipped", "ADLV")
    assert record["interventions"] == [
        {"on": "cause", "factor": "light", "spec": f"light=from:{OTHER}"},
        {"on": "value", "factor": "depth", "spec": "depth=scale:1.5"},
    ]
    roles = {name: factor["role"] for name, factor in record["factors"].items()}
    assert roles == {"view": "follows", "depth": "set", "light": "replaced", "albedo": "unchanged"}
    view, depth, light, albedo = (record["factors"][name] for name in ("view", "depth", "light", "albedo"))
    assert view["must_follow"]
    assert view["moved"]["rotation_deg"] > 0
    assert view["own_embedding_relative_distance"] == 0 < view["mixed_embedding_relative_distance"]
    assert light["own_embedding_relative_distance"] > 0
    assert light["moved"]["ambient"] == pytest.approx(light["after"]["ambient"] - light["before"]["ambient"])
    assert depth["mixed_embedding_relative_distance"] == 0 < depth["moved"]["mean_abs_log_depth"]
    relief = [factor["farthest"] - factor["nearest"] for factor in (depth["before"], depth["after"])]
    assert relief[1] == pytest.approx(1.5 * relief[0], rel=1e-4)
    assert albedo["before"] == albedo["after"]
    assert albedo["moved"] == {"mean_abs_albedo": 0}
    assert record["image_mean_abs_difference"] > 0.01


def test_the_strip_shows_what_changed_and_what_did_not(result: Path) -> None:
    with Image.open(result / "strip.png") as file:
        pixels = np.asarray(file.convert("RGB")).astype(int)
    assert pixels.shape[0] > 400
    assert pixels.shape[1] > 1500
    for colour in ((0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00), (0x8A, 0x8F, 0x98)):
        # A frame as long as a picture, not only the dot of the legend.
        assert (abs(pixels - colour).sum(axis=2) < 12).sum() > 1500
    assert sorted(path.name for path in result.iterdir()) == ["interventions.json", "strip.png"]
    assert [path.name for path in result.parent.iterdir()] == ["out"]


def test_the_table_names_causes_and_effects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["intervene", str(PHOTO), "--do", "D=noise:0.5", "--seed", "3", "--out", str(tmp_path / "out")])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "replaced" in lines["depth"]
    assert all("follows" in lines[name] for name in ("light", "view"))
    assert "same to the last bit" in lines["albedo"]
    assert "%" not in lines["albedo"]


def test_a_failed_run_leaves_the_earlier_result(
    result: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from scr3d.interventions import strip

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = {path.name: path.read_bytes() for path in result.iterdir()}
    monkeypatch.setattr(strip, "write_strip", full)
    line = error_line(PHOTO, "--set", "view=yaw:5", "--out", result, capsys=capsys)
    assert "No space left" in line
    assert {path.name: path.read_bytes() for path in result.iterdir()} == before
    assert [path.name for path in result.parent.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("text", "on_cause", "factor", "form", "image", "numbers"),
    [
        ("light=from:a/b:c.png", True, Factor.LIGHT, "from", "a/b:c.png", {}),
        ("D=mix:a:b.png:0.25", True, Factor.DEPTH, "mix", "a:b.png", {"share": 0.25}),
        ("Albedo=noise:0.5", True, Factor.ALBEDO, "noise", None, {"sigma": 0.5}),
        ("view=yaw:-20,x:.01", False, Factor.VIEW, "values", None, {"yaw": -20.0, "x": 0.01}),
        ("depth=scale:1.5", False, Factor.DEPTH, "values", None, {"scale": 1.5}),
    ],
)
def test_specs_are_read(
    text: str, on_cause: bool, factor: Factor, form: str, image: str | None, numbers: dict[str, float]
) -> None:
    spec = parse_spec(text, on_cause)
    assert (spec.factor, spec.form, spec.numbers) == (factor, form, numbers)
    assert spec.image == (None if image is None else Path(image))


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], "nothing to do"),
        (["--do", "colour=from:OTHER"], "view, depth, light, albedo before the =; got 'colour'"),
        (["--do", "light"], "FACTOR=HOW"),
        (["--do", "light=OTHER"], "from:IMAGE, mix:IMAGE:SHARE or noise:SIGMA"),
        (["--do", "light=from:"], "from:IMAGE"),
        (["--do", "light=mix:OTHER"], "mix:IMAGE:SHARE"),
        (["--do", "light=mix:OTHER:half"], "share must be a number, got 'half'"),
        (["--do", "light=mix:OTHER:1.5"], "from 0 to 1; got 1.5"),
        (["--do", "light=noise:-1"], "at least 0; got -1"),
        (["--do", "light=noise:a:1"], "noise:SIGMA"),
        (["--do", "light=ambient:0.2"], "ambient is a value: write --set light=ambient:0.2"),
        (["--set", "light=noise:0.2"], "noise acts on the cause: write --do light=noise:0.2"),
        (["--set", "light=brightness:0.2"], "some of ambient:A,diffuse:D"),
        (["--set", "light=ambient:2"], "ambient must be a number from 0 to 1; got 2"),
        (["--set", "light=ambient:"], "ambient must be a number, got ''"),
        (["--set", "view=yaw:5,yaw:6"], "gives a value twice"),
        (["--set", "view=yaw:120"], "from -80 to 80; got 120"),
        (["--set", "albedo=scale:2"], "--set albedo expects from:IMAGE; got 'scale:2'"),
        (["--set", "view=yaw:5", "--do", "view=from:OTHER"], "view can be replaced or set once"),
        (["--do", "light=from:OTHER", "--do", "L=noise:1"], "light can be replaced or set once"),
        (["--do", "light=from:NOWHERE.png"], "NOWHERE.png cannot be read"),
        (["--set", "view=yaw:5", "--model", "NOWHERE"], "holds no model"),
        (["--set", "view=yaw:5", "--device", "cuda:9"], "'cuda:9' is not available here"),
    ],
)
def test_refuses_in_one_line(
    args: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [arg.replace("OTHER", str(OTHER)) for arg in args]
    assert expected in error_line(PHOTO, *filled, "--out", tmp_path / "out", capsys=capsys)
    assert not (tmp_path / "out").exists()


def test_refuses_a_missing_photo_and_a_folder_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = error_line(tmp_path / "none.png", "--set", "view=yaw:5", "--out", tmp_path / "out", capsys=capsys)
    assert "none.png cannot be read" in line
    (tmp_path / "thesis.tex").write_text("x")
    line = error_line(PHOTO, "--set", "view=yaw:5", "--out", tmp_path, capsys=capsys)
    assert "other files" in line
    line = error_line(PHOTO, "--set", "view=yaw:5", "--out", tmp_path / "thesis.tex" / "out", capsys=capsys)
    assert "is a file" in line
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_label_leaves_out_folders() -> None:
    assert command.parse_spec("light=mix:some/where/other.png:0.5", True).label == "do(light=mix:other.png:0.5)"
