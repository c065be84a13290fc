"""Write the short table of results into README.md from results/benchmark/cpu.

python tools/readme_results.py
"""

from __future__ import annotations

from pathlib import Path

from scr3d.benchmark import tables
from scr3d.benchmark.protocol import PROTOCOLS
from scr3d.benchmark.records import Results
from scr3d.benchmark.statistics import paired_ratio

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "README.md"
BEGIN, END = "<!-- results-table -->", "<!-- /results-table -->"


def short_table(found: dict[str, tables.Row]) -> str:
    """SIDE and MAD of every row, and their ratios to independent factors."""
    independent = found["independent"]
    lines = []
    for row in found.values():
        cells = [tables.plus_minus(row.values(tables.SIDE), 3), tables.plus_minus(row.values(tables.MAD), 2)]
        for score in (tables.SIDE, tables.MAD):
            ratio = paired_ratio(row.values(score), independent.values(score))
            cells.append("1" if row is independent else tables.ratio_text(ratio))
        lines.append([row.method.title, *cells, str(len(row.results))])
    return tables.markdown(["", "SIDE x 1e-2", "MAD, degrees", "SIDE ratio", "MAD ratio", "seeds"], lines)


def main() -> None:
    protocol = PROTOCOLS["cpu"]
    table = short_table(tables.rows(Results.read(ROOT / "results" / "benchmark" / protocol.name)))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    assert after, f"{PAGE} has no {BEGIN} ... {END}"
    text = (
        f"Built-in heads at {protocol.size}x{protocol.size}, {protocol.images:,} images for every row, test split, "
        "mean ± standard deviation over images; ratios to Independent SCR with 95 % intervals, bold where they "
        "exclude 1:"
    )
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
