"""Put a trained model into the package, score it on the test split, and write the scores into the pages.

    python tools/ship_model.py RUN --data DATA

The weights are stored in float16 and what is scored is what is shipped.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import doctor_expectation
import group_table
from scr3d.api.sharing import without_places
from scr3d.evaluation import EvaluateConfig, evaluate
from scr3d.models import load_model, save_model, shipped_model
from scr3d.models.io import find_model, read_description

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results" / "shipped-model"
BEGIN, END = "<!-- shipped-model-table -->", "<!-- /shipped-model-table -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    provenance = without_places(read_description(find_model(given.run))["provenance"])
    save_model(shipped_model(), load_model(given.run), provenance, half=True)
    evaluation = evaluate(None, EvaluateConfig(data=given.data, out=RESULTS))
    doctor_expectation.main()
    shutil.rmtree(RESULTS / "data", ignore_errors=True)
    print(evaluation.table())
    write_pages()
    group_table.main(given.data)


def write_pages() -> None:
    """The table of scores, in README and model card."""
    record = json.loads((RESULTS / "scores.json").read_text(encoding="utf-8"))
    for page in (ROOT / "README.md", ROOT / "docs" / "model-card.md"):
        text = page.read_text(encoding="utf-8")
        head, _, rest = text.partition(BEGIN)
        tail = rest.partition(END)[2] if END in rest else rest
        page.write_text(f"{head}{BEGIN}\n{scores_table(record)}\n{END}{tail}", encoding="utf-8")


def scores_table(record: dict) -> str:
    """Rows of the evaluation in Markdown, and how the model compares with the average depth."""
    lines = [
        f"Test split of the synthetic heads, {record['images']:,} images, mean ± standard deviation over images:",
        "",
        "| | SIDE (x 1e-2) | MAD (degrees) | coverage | strict SIDE | strict MAD |",
        "|---|---|---|---|---|---|",
    ]
    columns = ("side_e2", "mad_deg", "coverage", "strict_side_e2", "strict_mad_deg")
    for name, row in record["rows"].items():
        cells = [f"{row[key]['mean']:.3f} ± {row[key]['std']:.3f}" for key in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    model, average = record["rows"]["model"], record["rows"]["average depth"]
    ratios = [model[key]["mean"] / average[key]["mean"] for key in ("side_e2", "mad_deg")]
    lines += ["", f"Against the average depth: SIDE {ratios[0]:.2f}, MAD {ratios[1]:.2f} times as large."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
