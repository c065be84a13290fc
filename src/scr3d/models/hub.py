"""Models on the Hugging Face hub: how they are named, and how they are fetched.

A name begins with `hf://`, so that no folder is ever taken for one: `runs/mine` is a folder or an error, never a model
of somebody's. Needs the extra `hub`; without torch, since commands look at names before they load anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from scr3d.errors import CheckpointError, ConfigError
from scr3d.offline import is_offline

PREFIX = "hf://"
"""How a name on the hub begins."""
MODEL_FILES = ("model.json", "weights.safetensors")
"""What is fetched."""
OWNER_AND_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# One slash, because a path joins two.
HUB_NAME = re.compile(rf"hf:/{{1,2}}(?P<repository>{OWNER_AND_NAME.pattern})(?:@(?P<revision>[\w./-]+))?")


def is_hub_name(name: str | Path) -> bool:
    """Whether a name is one on the hub: it begins with `hf://`."""
    return Path(name).as_posix().split("/")[0] == "hf:"


def written_name(name: str | Path) -> str:
    """A name as it was given: a path has joined the slashes of `hf://`."""
    return PREFIX + Path(name).as_posix().removeprefix("hf:/") if is_hub_name(name) else str(name)


def split_name(name: str | Path) -> tuple[str, str | None]:
    """Repository and revision of `hf://owner/name` or `hf://owner/name@revision`.

    Raises:
        ConfigError: it is written otherwise.
    """
    found = HUB_NAME.fullmatch(Path(name).as_posix())
    if found is None:
        raise ConfigError(f"a model on the hub is {PREFIX}owner/name or {PREFIX}owner/name@revision; got {name}")
    return found["repository"], found["revision"]


def fetch(name: str | Path, revision: str | None = None, token: str | None = None) -> Path:
    """The folder in the hub's cache that holds a model; what is there already is not fetched again.

    Args:
        name: `hf://owner/name`, or with `@revision`.
        revision: branch, tag or commit.
        token: of the hub; without it, the one of `hf auth login` or `HF_TOKEN`.

    Raises:
        CheckpointError: there is no such model, it may not be read, or the hub cannot be reached.
        ConfigError: the name is written otherwise, or the extra is not installed.
    """
    repository, named_revision = split_name(name)
    hub = import_hub()
    revision = revision or named_revision
    what = f"{PREFIX}{repository}" + ("" if revision is None else f"@{revision}")
    with hub_errors(what):
        found = hub.snapshot_download(
            repository,
            revision=revision,
            token=token,
            allow_patterns=list(MODEL_FILES),
            local_files_only=is_offline(),
            library_name="scr3d",
        )
    return Path(found)


def import_hub() -> Any:
    """The package `huggingface_hub`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"models on the Hugging Face hub need the package {error.name}: pip install 'scr3d[hub]'"
        ) from error
    return huggingface_hub


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Let what can go wrong with the hub be said in one line.

    Args:
        what: the model.

    Raises:
        CheckpointError: instead of the hub's errors.
    """
    from huggingface_hub import errors

    # The package has changed its HTTP library; the base of both kinds of errors is the base of this one.
    http_error = cast(type[Exception], errors.HfHubHTTPError.__bases__[0])
    try:
        yield
    except errors.GatedRepoError as error:
        raise CheckpointError(f"{what} is given out on request: ask on its page, then `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"there is no model {what}, or it is private: look at the name, or log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{what} does not have this revision; give a branch, a tag or a commit") from error
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{what} is not on this machine yet, and the hub cannot be reached: go online once (HF_HUB_OFFLINE and"
            " SCR3D_OFFLINE unset)"
        ) from error
    except (http_error, OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CheckpointError(f"the hub does not do it for {what}: {reason}") from error
