"""What a run writes down while it trains: scalars, lines of the log, pictures. One process writes for all."""

from __future__ import annotations

import json
from pathlib import Path

from jaxtyping import Float
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from scr3d.data.images import write_png8


class Journal:
    """The files of a run that grow; where another process writes, nothing is done."""

    def __init__(self, out: Path, images_seen: int, writes: bool = True):
        """Open the journal of a run that has seen so many images; what was written after them is dropped."""
        self.out = out
        self.writer = SummaryWriter(str(out / "tensorboard"), purge_step=images_seen) if writes else None

    def scalars(self, group: str, images_seen: int, values: dict[str, float]) -> None:
        """Numbers for TensorBoard and a line of log.jsonl."""
        if self.writer is None:
            return
        for name, value in values.items():
            self.writer.add_scalar(f"{group}/{name}", value, images_seen)
        line = {"images": images_seen, "group": group, **values}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def picture(self, images_seen: int, grid: Float[Tensor, "3 rows columns"]) -> None:
        """A picture for TensorBoard and the folder `pictures`."""
        if self.writer is None:
            return
        self.writer.add_image("validation", grid, images_seen)
        self.writer.flush()
        folder = self.out / "pictures"
        folder.mkdir(exist_ok=True)
        write_png8(folder / f"{images_seen:09d}.png", grid.permute(1, 2, 0).numpy())

    def close(self) -> None:
        """End it."""
        if self.writer is not None:
            self.writer.close()
