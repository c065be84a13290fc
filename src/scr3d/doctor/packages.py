"""The packages that scr3d needs: there, new enough, and whether they can be imported at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version

import scr3d
from scr3d.doctor.findings import Finding, Level, first_line

IMPORT_NAMES = {"warp-lang": "warp", "pillow": "PIL", "lightning-fabric": "lightning_fabric"}
"""Names for `import` that are not the package's name with underscores."""
FOR_DEVELOPERS = frozenset({"test", "docs", "notebooks"})
"""Extras that nobody needs for use."""
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[[^]]*\])?\s*\(?(?P<range>[^;)]*)\)?")
EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")


@dataclass(frozen=True)
class Need:
    """A package that is needed: its name, the versions that will do, and the extra it belongs to ('' for none)."""

    name: str
    versions: str
    extra: str


def needs() -> list[Need] | None:
    """What the installed scr3d says that it needs; None where it is not installed but lies on the path."""
    try:
        lines = requires("scr3d") or []
    except PackageNotFoundError:
        return None
    found = []
    for line in lines:
        parts, extra = REQUIREMENT.match(line), EXTRA.search(line)
        if parts is not None and parts["name"] != "scr3d":
            found.append(Need(parts["name"], parts["range"].strip(), extra[1] if extra else ""))
    return found


def findings() -> list[Finding]:
    """All packages: what is always needed one by one, extras as a whole."""
    found = [Finding("packages: scr3d", f"{scr3d.__version__}, {scr3d.__path__[0]}")]
    needed = needs()
    if needed is None:
        return [
            *found,
            Finding(
                "packages: installation",
                "scr3d is not installed, it lies on the path",
                Level.WARNING,
                "pip install scr3d, or `make install` in a clone, so that its packages come along",
            ),
        ]
    found += [_always(need) for need in needed if not need.extra]
    extras = dict.fromkeys(need.extra for need in needed if need.extra and need.extra not in FOR_DEVELOPERS)
    return found + [_extra(name, [need for need in needed if need.extra == name]) for name in extras]


def _always(need: Need) -> Finding:
    part = f"packages: {need.name}"
    install = f"pip install --force-reinstall '{need.name}{need.versions}'"
    try:
        number = version(need.name)
    except PackageNotFoundError:
        return Finding(part, "missing", Level.FAULT, f"pip install '{need.name}{need.versions}'")
    if not _in_range(number, need.versions):
        return Finding(
            part, f"{number}, needed is {need.versions}", Level.FAULT, f"pip install '{need.name}{need.versions}'"
        )
    try:
        import_module(IMPORT_NAMES.get(need.name, need.name.replace("-", "_")))
    # A broken package may raise anything: a missing library, a wrong build, its own checks.
    except Exception as error:
        return Finding(part, f"{number}, cannot be imported: {first_line(error)}", Level.FAULT, install)
    return Finding(part, number)


def _extra(name: str, needed: list[Need]) -> Finding:
    missing, wrong, there = [], [], []
    for need in needed:
        try:
            number = version(need.name)
        except PackageNotFoundError:
            missing.append(need.name)
            continue
        there.append(f"{need.name} {number}")
        if not _in_range(number, need.versions):
            wrong.append(f"{need.name} {number} (needed is {need.versions})")
    part, install = f"extras: {name}", f"pip install 'scr3d[{name}]'"
    if wrong:
        return Finding(part, ", ".join(wrong), Level.WARNING, install)
    if missing:
        # An extra that was never asked for is no fault of the installation.
        return Finding(part, f"not installed: {', '.join(missing)}; for it: {install}")
    return Finding(part, ", ".join(there))


def _in_range(number: str, versions: str) -> bool:
    """Whether a version is one that will do; True where that cannot be told."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True
    return SpecifierSet(versions).contains(number, prereleases=True)
