"""Configurations as plain JSON values, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import cattrs
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError

from scr3d.errors import ConfigError

T = TypeVar("T")


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(Path, lambda value, _: Path(value))
    converter.register_unstructure_hook(Path, lambda value: value.as_posix())
    return converter


CONVERTER = _converter()


def to_json(value: Any) -> dict[str, Any]:
    """A configuration as plain JSON values."""
    return CONVERTER.unstructure(value)


def from_json(kind: type[T], value: Any, source: str) -> T:
    """A configuration from JSON values; unknown and missing fields are refused.

    Raises:
        ConfigError: the values are not those of the configuration.
    """
    try:
        found = CONVERTER.structure(value, kind)
    except (BaseValidationError, ForbiddenExtraKeysError, ValueError, TypeError, KeyError, AttributeError) as error:
        reasons = "; ".join(cattrs.transform_error(error)) if isinstance(error, BaseValidationError) else str(error)
        raise ConfigError(f"{source} is no {kind.__name__} of this version: {reasons}") from error
    # Today's default is not what an older version computed with, so a field that is not there is not made up.
    if missing := _missing(to_json(found), value):
        raise ConfigError(f"{source} is no {kind.__name__} of this version: {', '.join(missing)} missing")
    return found


def _missing(whole: dict[str, Any], found: dict[str, Any], above: str = "") -> list[str]:
    names = []
    for name, value in whole.items():
        if name not in found:
            names.append(above + name)
        elif isinstance(value, dict):
            names += _missing(value, found[name], f"{above}{name}.")
    return names
