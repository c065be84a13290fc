"""The command line: `scr3d COMMAND`. Every command is one function here, its options one frozen dataclass."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from scr3d.errors import ConfigError, Scr3dError

T = TypeVar("T")

USER_ERROR = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; an error that the user can act on is one line on the error output and exit code 2."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        print(usage())
        return
    if args[0] == "--version":
        import scr3d

        print(f"scr3d {scr3d.__version__}")
        return
    try:
        if args[0] not in COMMANDS:
            raise ConfigError(f"there is no command {args[0]!r}; the commands are {', '.join(COMMANDS)}")
        COMMANDS[args[0]](args[1:])
    except Scr3dError as error:
        print(f"scr3d: {error}", file=sys.stderr)
        raise SystemExit(USER_ERROR) from None
    except KeyboardInterrupt:
        print("scr3d: interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def usage() -> str:
    """The overview that `scr3d --help` prints."""
    lines = [f"  {name:12} {(command.__doc__ or '').strip().splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(
        ["usage: scr3d COMMAND [options]", "", *lines, "", "scr3d COMMAND --help lists the options of a command."]
    )


def train_command(args: list[str]) -> None:
    """Train a model on a data set, or go on with an interrupted run."""
    import tyro

    from scr3d.training.config import TrainConfig, recipe_defaults

    name, rest = _take_option(args, "--recipe", "robust")
    model, recipe, optimiser = recipe_defaults(name)
    defaults = TrainConfig(data=tyro.MISSING, out=tyro.MISSING, model=model, recipe=recipe, optimiser=optimiser)
    about = (
        "Train a model on a data set, or go on with an interrupted run.\n\n--recipe robust|paper chooses the defaults "
        f"of the options below (now: {name}): losses and schedules of this project, or those of the papers."
    )
    config = _parse(TrainConfig, rest, "train", about, defaults)
    from scr3d.training.trainer import train

    scalars = train(config)
    print(f"done: {config.out / 'best'} holds the model with the lowest held-out reconstruction loss")
    for name in ("reconstruction", "side_e2", "mad_deg", "coverage"):
        if name in scalars:
            print(f"  {name:16} {scalars[name]:.3f}")


def reconstruct_command(args: list[str]) -> None:
    """Turn photos into depth, normals, albedo, light, meshes and a gallery page."""
    import tyro

    from scr3d.export.outputs import ReconstructOptions

    @dataclass(frozen=True)
    class Args:
        """Options of `scr3d reconstruct`."""

        images: tyro.conf.Positional[tuple[Path, ...]]
        """Photos, or folders of photos, each showing one object that fills the frame."""
        out: Path
        """Folder of the results."""
        model: Path | None = None
        """Run or model folder; without it, the model that comes with scr3d."""
        device: str = "cpu"
        """cpu, cuda or cuda:N."""
        options: ReconstructOptions = field(default_factory=ReconstructOptions)
        """What is written."""

    given = _parse(Args, args, "reconstruct", reconstruct_command.__doc__ or "")
    from scr3d.reconstruct import reconstruct_files

    reconstruct_files(given.images, given.out, given.model, given.device, given.options)


def evaluate_command(args: list[str]) -> None:
    """Score a run against the truth, next to the baselines, on the same images."""
    import tyro

    from scr3d.evaluation import EvaluateConfig, evaluate

    @dataclass(frozen=True)
    class Args:
        """Options of `scr3d evaluate`."""

        run: tyro.conf.Positional[Path | None] = None
        """Run or model folder; without it, the model that comes with scr3d."""
        options: EvaluateConfig = field(default_factory=lambda: EvaluateConfig(data=tyro.MISSING))
        """What is scored and where the results go."""

    given = _parse(Args, args, "evaluate", evaluate_command.__doc__ or "")
    print(evaluate(given.run, given.options).table())


def data_command(args: list[str]) -> None:
    """Make, import or export data sets: scr3d data heads|import|export."""
    actions: dict[str, Callable[[list[str]], None]] = {
        "heads": _data_heads,
        "import": _data_import,
        "export": _data_export,
    }
    if not args or args[0] in ("-h", "--help"):
        print("usage: scr3d data heads|import|export [options]\n")
        for name, action in actions.items():
            print(f"  {name:8} {(action.__doc__ or '').strip().splitlines()[0]}")
        return
    if args[0] not in actions:
        raise ConfigError(f"scr3d data expects one of {', '.join(actions)}; got {args[0]!r}")
    actions[args[0]](args[1:])


def _data_heads(args: list[str]) -> None:
    """Generate synthetic heads with exact depth, normals, albedo, light and view."""
    from scr3d.data.heads import HeadsConfig, generate

    @dataclass(frozen=True)
    class Args:
        """Options of `scr3d data heads`."""

        out: Path
        """Folder of the data set; the split gets a folder in it."""
        heads: HeadsConfig = field(default_factory=HeadsConfig)
        """Which samples."""
        device: str = "cpu"
        """cpu, cuda or cuda:N."""
        threads: int = 0
        """CPU threads; 0 takes all."""

    given = _parse(Args, args, "data heads", _data_heads.__doc__ or "")
    if given.threads:
        import torch

        torch.set_num_threads(given.threads)
    print(f"{generate(given.heads, given.out, device=given.device)} is complete")


def _data_import(args: list[str]) -> None:
    """Turn a folder of images (and depth maps) into a data store."""

    @dataclass(frozen=True)
    class Args:
        """Options of `scr3d data import`."""

        folder: Path
        """Folder of images, see docs/data.md for its layouts."""
        out: Path
        """Folder of the data set; the split gets a folder in it."""
        size: int = 64
        """Height and width of the stored images in pixels."""
        split: Literal["train", "val", "test"] = "train"
        """Which split."""
        recursive: bool = False
        """Take images in folders within folders as well."""

    given = _parse(Args, args, "data import", _data_import.__doc__ or "")
    from scr3d.data.folder import import_folder

    report = import_folder(given.folder, given.out / given.split, given.size, given.split, recursive=given.recursive)
    depth = "with" if report.has_depth else "without"
    print(f"{report.folder}: {report.imported} images {depth} depth, {len(report.skipped)} skipped")
    for name, reason in report.skipped:
        print(f"  {name}: {reason}")


def _data_export(args: list[str]) -> None:
    """Write a data store as image/ and depth/ PNG files in the papers' layout."""

    @dataclass(frozen=True)
    class Args:
        """Options of `scr3d data export`."""

        store: Path
        """Folder of one split of a data store."""
        out: Path
        """Folder that gets image/ and depth/."""

    given = _parse(Args, args, "data export", _data_export.__doc__ or "")
    from scr3d.data.folder import export_store

    print(f"{given.out}: {export_store(given.store, given.out)} images")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "reconstruct": reconstruct_command,
    "train": train_command,
    "evaluate": evaluate_command,
    "data": data_command,
}


def _parse(kind: type[T], args: list[str], command: str, about: str, default: Any = None) -> T:
    """Options of a command from its arguments; nested options need no prefix."""
    import tyro

    extra = {} if default is None else {"default": default}
    return tyro.cli(
        kind,
        args=args,
        prog=f"scr3d {command}",
        description=about.strip(),
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff),
        **extra,
    )


def _take_option(args: list[str], name: str, default: str) -> tuple[str, list[str]]:
    """Value of an option that decides the defaults of the others, and the remaining arguments."""
    rest, value = [], default
    words = iter(args)
    for word in words:
        if word == name:
            value = next(words, "")
        elif word.startswith(name + "="):
            value = word.partition("=")[2]
        else:
            rest.append(word)
    return value, rest


if __name__ == "__main__":
    main()
