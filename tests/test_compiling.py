"""Whoever waits for a compiler is told so, once."""

import time

import pytest

from scr3d import compiling


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_said", type(compiling._said)())


def test_what_takes_long_is_announced_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with compiling.announced(patience_s=0.01):
            time.sleep(0.2)
    assert capsys.readouterr().err == compiling.MESSAGE + "\n"


def test_what_is_quick_or_fails_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with compiling.announced(patience_s=0.2):
        pass
    with pytest.raises(RuntimeError), compiling.announced(patience_s=0.2):
        raise RuntimeError
    time.sleep(0.4)
    assert capsys.readouterr().err == ""
