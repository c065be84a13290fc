"""Write docs/licences.md: the licence of every package that scr3d needs at run time, from the installed packages.

python tools/licences.py [--check]
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).parent.parent / "docs" / "licences.md"
PROJECT = Path(__file__).parent.parent / "pyproject.toml"
FOR_DEVELOPERS = frozenset({"docs", "test"})
"""Extras whose packages are not handed on to anyone."""
OF_GPU_BUILDS = ("nvidia-", "cuda-", "triton")
"""Packages that PyTorch's builds for NVIDIA's GPUs bring along; they are not on the page, see its text."""
PERMISSIVE = frozenset(
    (
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT", "MIT-CMU"),
        *("PSF-2.0", "Python-2.0", "Unlicense", "Zlib"),
    )
)
WEAK_COPYLEFT = {
    "certifi": "MPL-2.0: a list of certificates, used as it is",
    "tqdm": "MPL-2.0 for some of its files, used as they are",
}
"""Known exceptions, and why they do no harm: a copyleft that ends at the files of the package."""
WRITTEN_OTHERWISE = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "the mit license (mit)": "MIT",
}
EXCEPTION = re.compile(r"\s+WITH\s+[\w.-]+")
"""Exceptions in licence expressions only allow more."""
TEXT = """# Licences

scr3d is under the [MIT licence](../LICENSE); data and weights of others that it carries are listed in
[NOTICE](../NOTICE). It needs the packages below, which `pip` installs from their makers. The table is written by
`tools/licences.py` from what the packages say about themselves; `A AND B` means that parts are under different
licences, `A OR B` leaves the choice.

- **imageio-ffmpeg** is under a BSD licence itself, but its wheels contain a build of the program FFmpeg, which is under
  the GPL. scr3d starts it as a program of its own, to write videos; where that is not wanted, set
  `IMAGEIO_FFMPEG_EXE` to another build, or ask for animations as GIF.
- **PyTorch's builds for NVIDIA's GPUs** bring NVIDIA's libraries along (packages called `nvidia-...`), under NVIDIA's
  own terms. The CPU build has none of them.
- The drivers for `--storage` on database servers are installed by hand: psycopg is under the LGPL, PyMySQL under the
  MIT licence.

`make audit` asks a public list whether versions in `constraints.txt` have known weaknesses; it is advice, not a gate.

| package | licence | needed |
|---|---|---|
"""


@dataclass(frozen=True)
class Licensed:
    """A package and its licence.

    Attributes:
        name: of the package.
        licence: as an SPDX expression.
        extra: that first needs it; empty for the package without extras.
    """

    name: str
    licence: str
    extra: str

    @property
    def line(self) -> str:
        """Its row of the table."""
        return f"| {self.name} | {self.licence} | {f'`scr3d[{self.extra}]`' if self.extra else 'always'} |"


def needed() -> list[Licensed]:
    """All packages that scr3d and its extras need here, by name."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    found: dict[str, Licensed] = {}
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    for extra, texts in groups.items():
        if extra in FOR_DEVELOPERS:
            continue
        for package in closure(texts):
            name = canonicalize_name(package.metadata["Name"])
            if not name.startswith(OF_GPU_BUILDS):
                found.setdefault(name, Licensed(name, licence_of(package), extra))
    return sorted(found.values(), key=lambda one: one.name)


def closure(texts: Iterable[str]) -> list[Distribution]:
    """What requirements name, and all that it needs on this machine."""
    found: dict[tuple[str, str], Distribution] = {}
    waiting = [key for text in texts for key in wanted(text, "")]
    while waiting:
        key = waiting.pop()
        if key in found or key[0] == "scr3d":
            continue
        try:
            package = found[key] = distribution(key[0])
        except PackageNotFoundError:
            sys.exit(f"{key[0]} is not installed; install scr3d with all extras: pip install -e '.[test]'")
        waiting += [other for text in package.requires or [] for other in wanted(text, key[1])]
    return list(found.values())


def wanted(text: str, extra: str) -> list[tuple[str, str]]:
    """Names and extras that a requirement asks for on this machine."""
    requirement = Requirement(text)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
        return []
    return [(canonicalize_name(requirement.name), each) for each in ("", *requirement.extras)]


def licence_of(package: Distribution) -> str:
    """What a package says about its licence: an expression, a short text, or a classifier."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [
        str(one).rpartition(" :: ")[2] for one in metadata.get_all("Classifier") or [] if "License ::" in one
    ]
    text = str(metadata.get("License") or "").strip()
    spdx = text if text and len(text) < 30 and "\n" not in text else ""
    named = [WRITTEN_OTHERWISE.get(one.lower(), one) for one in classifiers if one != "OSI Approved"]
    short = WRITTEN_OTHERWISE.get(spdx.lower(), spdx)
    return short if short and "=" not in short else " OR ".join(dict.fromkeys(named)) or "unknown"


def surprises(packages: Iterable[Licensed]) -> list[str]:
    """Packages whose licence is neither permissive nor one of the known exceptions."""
    return [
        f"{one.name}: {one.licence}" for one in packages if not permitted(one.licence) and one.name not in WEAK_COPYLEFT
    ]


def permitted(expression: str) -> bool:
    """Whether all parts of an expression, or one of its alternatives, are permissive."""
    plain = EXCEPTION.sub("", expression).replace("(", "").replace(")", "")
    return any(all(part.strip() in PERMISSIVE for part in one.split(" AND ")) for one in plain.split(" OR "))


def page(packages: Iterable[Licensed]) -> str:
    """The whole page."""
    lines = [one.line for one in packages]
    exceptions = "\n".join(f"- {name}: {reason}" for name, reason in sorted(WEAK_COPYLEFT.items()))
    return TEXT + "\n".join(lines) + f"\n\nNot permissive in all parts:\n\n{exceptions}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the page is not current")
    arguments = parser.parse_args()
    packages = needed()
    if found := surprises(packages):
        sys.exit(f"licences to look at: {'; '.join(found)}")
    if arguments.check:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == page(packages) else f"{PAGE} is not current")
    PAGE.write_text(page(packages), encoding="utf-8")


if __name__ == "__main__":
    main()
