"""The errors scr3d raises on purpose. Each message says what was expected, what came and what to do."""

LONGEST_MESSAGE = 1000
"""Of a longer message, beginning and end are kept."""


class Scr3dError(Exception):
    """Base of all errors that a user can act on; the command line prints them as one line."""

    def __str__(self) -> str:
        """The message on one line that a terminal shows as it is, whatever names and contents it quotes."""
        text = "".join(letter if letter.isprintable() else " " for letter in super().__str__())
        half = LONGEST_MESSAGE // 2
        return text if len(text) <= LONGEST_MESSAGE else f"{text[:half]} ... {text[-half:]}"


class ConfigError(Scr3dError):
    """An option or a configuration file has a value that cannot work."""


class DataError(Scr3dError):
    """A data set, image or annotation is missing, unreadable or of the wrong kind."""


class ShapeError(Scr3dError, ValueError):
    """A tensor has a shape that the function cannot take."""


class CheckpointError(Scr3dError):
    """A checkpoint is missing, damaged, of another version or of another model."""


class MemoryLimitError(Scr3dError):
    """There is not enough memory for what is asked for; the message says what would fit."""


class OfflineError(Scr3dError):
    """Something needs the network, which was forbidden."""


class ExportError(Scr3dError):
    """A file that was written for other programs does not compute what the model does."""


class CollapseError(Scr3dError):
    """Training has reached a state from which it does not return."""


class StoppedError(Scr3dError):
    """A run was told to end, has saved, and asks to be started again."""


class ProcessLostError(StoppedError):
    """Another process of the same run has gone, so that this one cannot go on."""


class ElsewhereError(Scr3dError):
    """Another process of the same run has met with an error, and says so; this one ends in silence."""
