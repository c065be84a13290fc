"""`python -m scr3d.data.heads --split val --count 100 --out DIR`: the same as `scr3d data heads`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from scr3d.data.heads.samples import HeadsConfig, generate
from scr3d.errors import Scr3dError


@dataclass(frozen=True)
class Arguments:
    """Make a split of the synthetic heads."""

    out: Path
    """Folder of the data set; the split gets a folder of its own in it."""
    heads: tyro.conf.OmitArgPrefixes[HeadsConfig] = HeadsConfig()  # noqa: RUF009 (frozen)
    device: str = "cpu"
    """Where to compute: cpu, cuda or cuda:N."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    try:
        chosen = tyro.cli(Arguments, args=arguments)
        print(generate(chosen.heads, chosen.out, device=chosen.device))
    except Scr3dError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
