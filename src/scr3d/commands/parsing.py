"""Options from arguments: types, defaults and help come from the dataclass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def parse(kind: type[T], args: list[str], command: str, about: str, default: Any = None) -> T:
    """Options of a command from its arguments; nested options need no prefix."""
    extra = {} if default is None else {"default": default}
    return tyro.cli(
        kind,
        args=args,
        prog=f"scr3d {command}",
        description=about.strip(),
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff, tyro.conf.EnumChoicesFromValues),
        **extra,
    )


def take_option(args: list[str], name: str, default: str) -> tuple[str, list[str]]:
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


def take_choice(args: list[str], name: str, choices: Sequence[str]) -> tuple[str | None, list[str]]:
    """Value of an option where it is one of some choices, and the remaining arguments; other values stay among them.

    For an option that stands for two things: `--preset cat` the kind of object, `--preset reference` the networks.
    """
    rest, value = [], None
    words = iter(args)
    for word in words:
        option, equals, given = word.partition("=")
        if option != name:
            rest.append(word)
            continue
        found = given if equals else next(words, None)
        if found in choices:
            value = found
        else:
            rest += [word] if equals or found is None else [word, found]
    return value, rest
