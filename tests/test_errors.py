import pytest

from scr3d.errors import LONGEST_MESSAGE, CheckpointError, DataError, ShapeError


@pytest.mark.parametrize("kind", [DataError, CheckpointError, ShapeError])
def test_a_message_is_one_line_that_cannot_command_the_terminal(kind):
    error = kind("photos/a\n\x1b[2Jb.png is damaged")
    assert str(error) == "photos/a  [2Jb.png is damaged"
    assert f"{error}" == str(error)


def test_a_long_message_keeps_its_beginning_and_its_end():
    text = str(DataError("begin " + "x" * 10_000 + " end"))
    assert text.startswith("begin x")
    assert text.endswith("x end")
    assert len(text) < LONGEST_MESSAGE + 10
