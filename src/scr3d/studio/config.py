"""Options of the studio; without torch, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from scr3d.errors import ConfigError

LARGEST_PORT = 65_535


@dataclass(frozen=True)
class UploadLimits:
    """What a browser may send."""

    megabytes: float = 20.0
    """Largest photo file that is taken, in millions of bytes."""
    megapixels: float = 40.0
    """Largest photo that is decoded, in millions of pixels."""

    def __post_init__(self) -> None:
        for name in ("megabytes", "megapixels"):
            if not 0 < getattr(self, name) <= 1000:
                raise ConfigError(f"--{name} must lie between 0 and 1000; got {getattr(self, name)}")

    @property
    def bytes(self) -> int:
        """Largest file in bytes."""
        return round(self.megabytes * 1e6)

    @property
    def pixels(self) -> int:
        """Largest image in pixels."""
        return round(self.megapixels * 1e6)


@dataclass(frozen=True)
class StudioConfig:
    """What the studio serves, and where."""

    host: str = "127.0.0.1"
    """Address to listen on; 127.0.0.1 lets this machine alone in, 0.0.0.0 everyone who reaches it."""
    port: int = 8080
    """Port to listen on; the next free one if it is taken, any free one for 0."""
    model: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Run or model folder, or hf://owner/name; can be repeated, the first is shown and all can be compared.
    Without it, the model that comes with scr3d."""
    runs: Path | None = None
    """Folder of training runs and searches to watch; their models can be compared as well."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    threads: int = 0
    """CPU threads; 0 takes all."""
    browsers: int = 16
    """Browsers that may be connected at the same time."""
    upload: UploadLimits = field(default_factory=UploadLimits)
    """What a browser may send."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= LARGEST_PORT:
            raise ConfigError(f"--port must lie between 0 and {LARGEST_PORT}; got {self.port}")
        if self.browsers < 1:
            raise ConfigError(f"--browsers must be at least 1; got {self.browsers}")
        if self.runs is not None and not self.runs.is_dir():
            state = "is a file" if self.runs.exists() else "is missing"
            raise ConfigError(f"--runs expects a folder of training runs or searches, but {self.runs} {state}")
