"""Times training steps of whatever scr3d is on its path; `against_commit.py` starts one for each side.

It gets the run as JSON, says where its scr3d lies, and then takes as many steps as each line of its input says. It may
only use what every version has: the model's and the run's configuration, and the trainer's step.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import scr3d
from scr3d.models import ModelConfig, Preset
from scr3d.training.config import OptimiserConfig, TrainConfig
from scr3d.training.trainer import Trainer


def main() -> None:
    # Whatever prints while it trains must not get into the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    wanted = json.loads(sys.argv[1])
    batch = wanted["batch"]
    model = ModelConfig(**(wanted["model"] | {"preset": Preset(wanted["model"]["preset"])}))
    run = Trainer(
        TrainConfig(
            data=Path(wanted["data"]),
            out=Path(wanted["out"]),
            model=model,
            optimiser=OptimiserConfig(batch_size=batch),
            images=wanted["images"],
            threads=wanted["threads"],
            device=wanted["device"],
        )
    )
    run.step = wanted["images_seen"] // batch
    print(json.dumps({"scr3d": scr3d.__file__}), file=answers, flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start, start_processor = time.perf_counter(), time.process_time()
            run.train_step()  # returns numbers, so a GPU has finished
            times.append([1e3 * (time.perf_counter() - start), 1e3 * (time.process_time() - start_processor)])
        print(json.dumps(times), file=answers, flush=True)


if __name__ == "__main__":
    main()
