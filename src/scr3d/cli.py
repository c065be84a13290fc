"""The command line: `scr3d COMMAND [options]`."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from importlib import import_module

from scr3d.errors import ConfigError, ElsewhereError, Scr3dError, StoppedError
from scr3d.offline import OPTION as OFFLINE
from scr3d.offline import go_offline, is_offline

COMMANDS = {
    "reconstruct": "turn photos into depth, normals, albedo, light, meshes and a gallery page",
    "train": "train a model on a data set, or go on with an interrupted run",
    "search": "find the causal order that suits a data set",
    "intervene": "replace a cause or set a value in a reconstruction, and see what follows",
    "studio": "open a page to look, turn, relight and intervene",
    "describe": "say what a model is, and draw its causal graph",
    "export-onnx": "write a model for programs without torch",
    "evaluate": "score a run against the truth, next to the baselines",
    "benchmark": "measure every row of the paper's table side by side",
    "data": "make, prepare, check or export data sets",
    "doctor": "say what this installation has, whether it works, and what to do",
}
USER_ERROR = 2
START_AGAIN = 75
"""Exit code of a command that was told to end, has saved, and would go on (EX_TEMPFAIL of sysexits.h)."""
INTERRUPTED = 130
ADVICE = {
    errno.ENOSPC: "free some space and give the same command again",
    errno.EDQUOT: "free some space and give the same command again",
    errno.EROFS: "give an --out that can be written to",
    errno.EACCES: "give a place that you may read or write",
    errno.EPERM: "give a place that you may read or write",
}
"""What to do about an error of the system."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; an error that the user can act on is one line on the error output and exit code 2."""
    args = list(sys.argv[1:] if argv is None else argv)
    if OFFLINE in args:
        args = [word for word in args if word != OFFLINE]
        go_offline()
    if not args or args[0] in ("-h", "--help"):
        print(usage())
        return
    if args[0] == "--version":
        import scr3d

        print(f"scr3d {scr3d.__version__}")
        return
    if is_offline():
        go_offline()
    try:
        if args[0] not in COMMANDS:
            raise ConfigError(f"there is no command {args[0]!r}; the commands are {', '.join(COMMANDS)}")
        import_module(f"scr3d.commands.{args[0].replace('-', '_')}").run(args[1:])
    except StoppedError as error:
        print(f"scr3d: {error}", file=sys.stderr)
        raise SystemExit(START_AGAIN) from None
    except ElsewhereError:
        raise SystemExit(USER_ERROR) from None
    except Scr3dError as error:
        print(f"scr3d: {error}", file=sys.stderr)
        raise SystemExit(USER_ERROR) from None
    except ModuleNotFoundError as error:
        missing = (error.name or "scr3d").partition(".")[0]
        if missing == "scr3d":
            raise
        print(
            f"scr3d: the package {missing} is missing; `pip install scr3d` brings it, `scr3d doctor` says more",
            file=sys.stderr,
        )
        raise SystemExit(USER_ERROR) from None
    except OSError as error:
        if error.errno not in ADVICE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"scr3d: {where}{error.strerror}; {ADVICE[error.errno]}", file=sys.stderr)
        raise SystemExit(USER_ERROR) from None
    except KeyboardInterrupt:
        print("scr3d: interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def usage() -> str:
    """The overview that `scr3d --help` prints."""
    lines = [f"  {name:12} {about}" for name, about in COMMANDS.items()]
    return "\n".join(
        [
            "usage: scr3d COMMAND [options]",
            "",
            *lines,
            "",
            "scr3d COMMAND --help lists the options of a command.",
            "--offline, with any command: nothing is fetched from or sent to other machines.",
        ]
    )


if __name__ == "__main__":
    main()
