"""Write down what the shipped model makes of the example that `scr3d doctor` tries: src/scr3d/assets/doctor.json.

python tools/doctor_expectation.py
"""

from __future__ import annotations

import hashlib

from scr3d.doctor.content import EXPECTATION, explain_example, summary
from scr3d.files import write_json
from scr3d.models import load_model, shipped_model


def main() -> None:
    digest = hashlib.sha256((shipped_model() / "weights.safetensors").read_bytes()).hexdigest()
    write_json(EXPECTATION, {"weights_sha256": digest, "reconstruction": summary(explain_example(load_model()))})


if __name__ == "__main__":
    main()
