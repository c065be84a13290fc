"""All that the doctor looks at, in order."""

from __future__ import annotations

from pathlib import Path

from scr3d.doctor import compute, content, environment, machine, packages
from scr3d.doctor.findings import Report


def examine(model: Path | None = None, data: Path | None = None, device: str = "cpu") -> Report:
    """Look at machine, packages, what computes, a model, and a data set if one is given.

    Args:
        model: run or model folder; None takes the shipped model.
        data: data set.
        device: where the model computes: cpu, cuda or cuda:N.
    """
    found = [
        *machine.findings(),
        *packages.findings(),
        *compute.findings(device),
        *content.model_findings(model, device),
        *(content.data_findings(data) if data is not None else []),
        *environment.findings(),
    ]
    return Report(tuple(found))
