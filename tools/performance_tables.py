"""Write the tables of the pages on performance from the reports in results/benchmarks/.

    python tools/performance_tables.py [--check]

Every table lies between its marks and names the report that it was made from and the machine. A benchmark may have
several reports, for pieces of the whole: NAME.json, NAME-anything.json. Where there is none, the page says what makes
one.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGES = tuple(
    ROOT / "docs" / name
    for name in (
        "performance.md",
        "performance-reconstruction.md",
        "growth.md",
        "renderer-peers.md",
        "endurance.md",
        "structures.md",
    )
)
RESULTS = ROOT / "results" / "benchmarks"
MARK = re.compile(r"(<!-- table: (?P<name>[^>]*) -->\n).*?(<!-- end -->)", re.DOTALL)
FORMAT = "scr3d-benchmark"

Report = dict[str, Any]


def reports(benchmark: str) -> dict[str, Report]:
    """The reports of a benchmark by file name."""
    found = {}
    for path in sorted(RESULTS.glob(f"{benchmark}*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        if report.get("format") == FORMAT and report["benchmark"] == benchmark:
            found[path.name] = report
    return found


def ms(timing: dict[str, float]) -> str:
    """Median and quartiles."""
    middle, low, high = (number(timing[key]) for key in ("median_ms", "first_quartile_ms", "third_quartile_ms"))
    return f"{middle} ({low} to {high})"


def number(value: float) -> str:
    """Three significant digits, no exponent."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def percent(value: float) -> str:
    """A share."""
    return f"{value:.1%}"


def table(head: str, rows: list[list[str]]) -> str:
    """A table of Markdown; all columns but the first are numbers."""
    columns = [column.strip() for column in head.split("|")]
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def step(report: Report) -> str:
    """Images a second and limits."""
    head = (
        "network, size, structure, precision | images a second | step, ms | least, ms | of least | "
        "convolutions, ms | of convolutions"
    )
    rows = [
        [
            name,
            number(found["images_per_s"]),
            ms(found["step"]),
            number(found["least_ms"]),
            percent(found["of_least"]),
            ms(found["convolutions"]),
            percent(found["of_convolutions"]),
        ]
        for name, found in report["results"]["steps"].items()
    ]
    return table(head, rows)


def limits(report: Report) -> str:
    """Rates in the same rounds."""
    head = "run | fastest product | GFLOP/s | matrices, GFLOP/s | copying, GB/s"
    rows = []
    for name, found in report["results"]["limits"].items():
        best = max((found["matrices"], found["convolution"]), key=lambda product: product["gflops"])
        rows.append(
            [
                name,
                best["what"],
                number(found["gflops"]),
                number(found["matrices"]["gflops"]),
                number(found["copy_gb_per_s"]),
            ]
        )
    return table(head, rows)


def parts(report: Report) -> str:
    """Shares of the parts of a step."""
    found = report["results"]["parts"]
    if not found:
        return "No parts were recorded."
    names = list(next(iter(found.values()))["parts"])
    rows = []
    for part in names:
        row = [part]
        for one in found.values():
            single = one["parts"][part]
            row.append(f"{number(single['forward_ms'] + single['backward_ms'])} ({percent(single['share'])})")
        rows.append(row)
    whole = ["recorded step, ms", *(number(one["recorded_ms"]) for one in found.values())]
    against = ["recorded / unrecorded", *(number(one["recorded_against_step"]) for one in found.values())]
    return table(" | ".join(["part, ms (share)", *found]), [*rows, whole, against])


def fused(report: Report) -> str:
    """Fused kernels against PyTorch."""
    rows = [
        [
            name,
            ms(found["fused"]),
            ms(found["plain"]),
            f"{found['times_as_fast']:.2f}",
            f"{found['times_as_fast_by_processor']:.2f}",
        ]
        for name, found in report["results"]["pieces"].items()
    ]
    return table("what | fused, ms | PyTorch, ms | times as fast | by processor time", rows)


def compiled(report: Report) -> str:
    """torch.compile between PyTorch and the kernels."""
    rows = [
        [
            name,
            *(ms(found[way]) for way in ("plain", "compiled", "fused")),
            *(f"{found[ratio]:.2f}" for ratio in ("compiled_against_plain", "fused_against_plain")),
            *(number(found[time]) for time in ("compiling_s", "again_s")),
        ]
        for name, found in report["results"]["pieces"].items()
    ]
    head = "what | PyTorch, ms | compiled, ms | fused, ms | compiled, times as fast | fused, times as fast"
    return table(f"{head} | compiling, s | again, s", rows)


def grouped(report: Report) -> str:
    """Encoders as one network between PyTorch one after another and the kernels."""
    rows = [
        [
            name,
            *(ms(found[way]) for way in ("apart", "grouped", "fused")),
            *(f"{found[ratio]:.2f}" for ratio in ("grouped_against_apart", "fused_against_apart")),
        ]
        for name, found in report["results"]["pieces"].items()
    ]
    head = "what | one after another, ms | grouped, ms | fused, ms"
    return table(f"{head} | grouped, times as fast | fused, times as fast", rows)


def against_commit(report: Report) -> str:
    """Present step against an earlier one."""
    results = report["results"]
    rows = []
    for name, timing in results["versions"].items():
        row = [f"{results['commit'][:7]}" if name == "commit" else f"this version, {name}", ms(timing)]
        found = results["times_as_fast"].get(name)
        row += ["", ""] if found is None else [quartiles(found["elapsed"]), quartiles(found["processor"])]
        rows.append(row)
    return table("version | step, ms | times as fast | by processor time", rows)


def quartiles(found: dict[str, float]) -> str:
    """Median and quartiles of a ratio."""
    return f"{found['median']:.2f} ({found['first_quartile']:.2f} to {found['third_quartile']:.2f})"


def bilevel(report: Report) -> str:
    """Cost of learning the graph."""
    rows = [
        [
            name,
            number(found["ms_per_training_step"]),
            f"{found['ratio']:.2f}",
            number(found["peak_mib"]) if "peak_mib" in found else "",
        ]
        for name, found in report["results"].items()
    ]
    return table("form | ms of a training step | against plain | memory, MiB", rows)


def hypergradient(report: Report) -> str:
    """Foretold against measured slopes."""
    rows = []
    for place, by_steps in report["results"].items():
        for steps, found in by_steps.items():
            ways = [found[way] for way in ("first-order", "autograd", "differences")]
            values = [f"{way['error']:.2f} / {way['correlation']:.2f}" for way in ways]
            times = [number(way["ms"]) for way in ways]
            rows.append([place.removeprefix("after ").removesuffix(" images"), steps.split()[-1], *values, *times])
    head = "images seen | inner steps | first-order, error / correlation | autograd | differences"
    return table(f"{head} | first-order, ms | autograd, ms | differences, ms", rows)


def generator(report: Report) -> str:
    """Rates of the synthetic heads."""
    rows = [
        [size, number(found["samples_per_s"]), number(found["samples_per_cpu_s"]), number(found["times_as_fast"])]
        for size, found in report["results"].items()
    ]
    return table("size | samples a second | a processor second | times as fast as the reference", rows)


def renderer(report: Report) -> str:
    """Times of the renderer."""
    results = report["results"]
    rows = [[name, ms(timing), number(timing["cpu_ms"])] for name, timing in results["times"].items()]
    rows.append(["render / step", percent(results["share"]["median"]), percent(results["share"]["processor"])])
    return table("what | ms | processor, ms", rows)


def peers(report: Report) -> str:
    """The renderer against other libraries."""
    rows = []
    for size, found in report["results"]["sizes"].items():
        for one in found["renderers"].values():
            agreement = one["agreement"]
            rows.append(
                [
                    f"{found['maps']} of {size}x{size}",
                    f"{one['title']} {one['version']}",
                    ms(one["total"]),
                    ms(one["query"]),
                    f"{one['times_scr3d']['total']:.1f}",
                    f"{one['times_scr3d']['query']:.1f}",
                    f"{100 * agreement['mask_differs']:.4f} %",
                    f"{100 * agreement['depth_differs_smooth']:.4f} %",
                ]
            )
    head = (
        "maps | renderer | in all, ms | query, ms | times as long as scr3d | query alone | mask differs | depth differs"
    )
    return table(head, rows)


def peers_parts(report: Report) -> str:
    """Processor time of the peers, and how often it holds that of scr3d."""
    rows = []
    for size, found in report["results"]["sizes"].items():
        for one in found["renderers"].values():
            cells = [number(one[part]["cpu_ms"]) for part in ("build", "query", "total")]
            ratios = [f"{one['times_scr3d_by_processor'][part]:.1f}" for part in ("query", "total")]
            rows.append([f"{found['maps']} of {size}x{size}", one["title"], *cells, *ratios])
    head = "maps | renderer | build, processor ms | query | in all | query / scr3d | in all / scr3d"
    return table(head, rows)


def peers_agreement(report: Report) -> str:
    """Where the peers' pictures differ from that of scr3d."""
    rows = []
    for size, found in report["results"]["sizes"].items():
        for one in found["renderers"].values():
            agrees = one["agreement"]
            shares = ("mask_differs", "mask_differs_off_outline", "depth_differs", "depth_differs_smooth")
            rows.append(
                [
                    f"{found['maps']} of {size}x{size}",
                    one["title"],
                    f"{100 * agrees['coverage']:.3f} %",
                    *(f"{100 * agrees[share]:.4f} %" for share in shares),
                    f"{agrees['depth_median_difference']:.1e}",
                ]
            )
    head = (
        "maps | renderer | coverage | mask differs | of it off the outline | depth differs | of it smooth | "
        "median difference"
    )
    return table(head, rows)


def batch_parts(report: Report) -> str:
    """Two ways of using two threads."""
    rows = [
        [f"{name}, {where}", ms(timing), number(timing["cpu_ms"])]
        for where, found in report["results"].items()
        for name, timing in found["times"].items()
    ]
    return table("step | ms | processor, ms", rows)


def deterministic(report: Report) -> str:
    """A step with deterministic algorithms against one without."""
    rows = [
        [
            name,
            *(ms(found["times"][mode]) for mode in ("usual", "deterministic")),
            *(f"{found[ratio]:.3f}" for ratio in ("ratio", "ratio_least", "ratio_cpu")),
        ]
        for name, found in report["results"].items()
    ]
    return table("step | usual, ms | deterministic, ms | ratio | of the least times | of processor times", rows)


def cold_start(report: Report) -> str:
    """Processes from start to end, against the import of torch."""
    found = report["results"]["cold_start"]
    limit = found["import torch"]["median_ms"]
    rows = [
        [f"`{name}`", number(time["median_ms"] / 1e3), number(time["cpu_ms"] / 1e3), f"{time['median_ms'] / limit:.2f}"]
        for name, time in found.items()
    ]
    return table("process | seconds | processor seconds | of `import torch`", rows)


def bulk(report: Report) -> str:
    """Photos a second by kind of output."""
    rows = [
        [
            name,
            number(found["photos_per_s"]),
            number(found["photos_per_cpu_s"]),
            number(found["per_photo"]["cpu_ms"]),
            f"{found['of_network_cpu']:.1%}",
        ]
        for name, found in report["results"]["in_bulk"].items()
    ]
    return table("written | photos a second | a processor second | processor ms a photo | network's share", rows)


def step_growth(report: Report) -> str:
    """Slopes of the training step."""
    rows = [
        [
            name,
            *(f"{found[what][slope]:.2f}" for what in ("time", "peak_mib") for slope in ("slope", "last_slope")),
        ]
        for name, found in report["results"]["step"]["slopes"].items()
    ]
    return table("along | time, slope | last slope | memory, slope | last slope", rows)


def step_cells(report: Report) -> str:
    """Time and memory of every cell."""
    rows = [
        [
            f"{cell['size']}",
            str(cell["batch"]),
            number(cell["time"]["median_ms"]),
            number(cell["time"]["cpu_ms"]),
            number(cell["peak_mib"]),
        ]
        for cell in report["results"]["step"]["cells"]
    ]
    return table("size | batch | ms | processor ms | memory, MiB", rows)


def step_memory(report: Report) -> str:
    """Memory of a step, foreseen and measured."""
    rows = [
        [name.replace("-", " "), number(cell["foreseen_mib"]), number(cell["peak_mib"]), f"{cell['ratio']:.2f}"]
        for name, cell in report["results"].items()
    ]
    return table("network, size, structure, batch | foreseen, MiB | measured, MiB | ratio", rows)


def data_growth(report: Report) -> str:
    """Memory and time of reading, by the number of images."""
    rows = [
        [
            f"{cell['images']:,}",
            number(cell["before_mib"]),
            number(cell["own_mib"]),
            number(cell["first_ms"]),
            number(cell["ms"]),
        ]
        for cell in report["results"]["data"]["cells"]
    ]
    return table("images | before, MiB | for the data, MiB | first batch, ms | a later batch, ms", rows)


def search_growth(report: Report) -> str:
    """Memory and time of a search, by the number of orders."""
    rows = [
        [
            strategy,
            str(cell["orders"]),
            number(cell["ms"] / 1e3),
            number(cell["cpu_ms"] / 1e3),
            number(cell["before_mib"] + cell["own_mib"]),
        ]
        for strategy, found in report["results"]["search"].items()
        for cell in found["cells"]
    ]
    return table("strategy | orders | seconds | processor seconds | own memory, MiB", rows)


def preparation(report: Report) -> str:
    """Time and memory of `data prepare`, by the number of photos."""
    rows = [
        [
            f"{cell['photos']:,}",
            str(cell["starts"]),
            number(cell["seconds"]),
            number(cell["ms_per_photo"]),
            number(cell["own_mib"]),
            number(cell["again_seconds"]),
            f"{sum(cell['samples'].values()):,}",
            ", ".join(f"{count:,} {reason}" for reason, count in cell["skipped"].items()),
        ]
        for cell in report["results"]["cells"]
    ]
    heading = "photos | starts | seconds | ms a photo | own memory, MiB | once more, seconds | samples | left out"
    return table(heading, rows)


def side_by_side(report: Report) -> str:
    """Images a second of one and of two runs."""
    names = {
        "together": "two runs, one thread each",
        "two_threads": "one run, two threads",
        "alone": "one run, one thread",
    }
    rows = [
        [words, number(found["images_per_s"]), f"{found['cpu_share']:.2f}"]
        for found, words in ((report["results"][name], words) for name, words in names.items())
    ]
    return table("runs | images a second, all together | processors in use", rows)


def same_scores(report: Report) -> str:
    """Scores of runs with the kernels and with the plain forms."""
    names = {
        "reconstruction": "held-out loss",
        "side_e2": "SIDE x 1e-2",
        "mad_deg": "MAD, degrees",
        "yaw_correlation": "correlation of yaw",
        "light_x_correlation": "correlation of light from the side",
    }
    rows = [
        [
            words,
            *(f"{found[key]:.4f}" for key in ("plain", "fused", "difference", "deviation_between_seeds")),
            f"{found['difference_in_standard_errors']:+.1f}",
        ]
        for found, words in ((report["results"]["compared"][name], words) for name, words in names.items())
    ]
    return table("score | plain | fused | difference | deviation between seeds | in standard errors", rows)


TABLES: dict[str, tuple[str, Callable[[Report], str]]] = {
    "step": ("step", step),
    "limits": ("step", limits),
    "parts": ("step", parts),
    "against commit": ("against_commit", against_commit),
    "fused": ("fused", fused),
    "same scores": ("same_scores", same_scores),
    "compiled": ("compiled", compiled),
    "grouped": ("grouped", grouped),
    "hypergradient": ("hypergradient", hypergradient),
    "bilevel": ("bilevel", bilevel),
    "renderer": ("renderer", renderer),
    "generator": ("generator", generator),
    "peers": ("peers", peers),
    "peers parts": ("peers", peers_parts),
    "peers agreement": ("peers", peers_agreement),
    "batch in parts": ("batch_parts", batch_parts),
    "deterministic": ("deterministic", deterministic),
    "cold start": ("reconstruction", cold_start),
    "bulk": ("reconstruction", bulk),
    "growth of a step": ("growth", step_growth),
    "steps by size and batch": ("growth", step_cells),
    "step memory": ("step_memory", step_memory),
    "growth of the data": ("growth", data_growth),
    "growth of a search": ("growth", search_growth),
    "preparation": ("preparation", preparation),
    "side by side": ("side_by_side", side_by_side),
}
"""Name of each table, its benchmark, and what makes it from a report."""


def origin(name: str, report: Report) -> str:
    """Where numbers come from."""
    machine, settings = report["machine"], report["settings"]
    load = machine["load_average"]
    options = ", ".join(
        f"{key.replace('_', '-')} {' '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in settings.items()
        if key not in ("threads", "device") and value is not None
    )
    device = "" if machine["device"] == "cpu" else f", {machine['device']}"
    return (
        f"[{name}](../results/benchmarks/{name}): {machine['processor']}{device}, {machine['threads']} of "
        f"{machine['cores']} cores, load {'unknown' if load is None else f'{load[0]:.1f}'} before, PyTorch "
        f"{machine['torch']}, commit {(machine.get('commit') or 'unknown')[:7]}; {options}."
    )


def made(name: str) -> str:
    """The tables of one name, one for each report."""
    benchmark, render = TABLES[name]
    found = reports(benchmark)
    if not found:
        return f"No result yet: `make bench-{benchmark.replace('_', '-')}` makes it."
    return "\n\n".join(f"{render(report)}\n\n{origin(file, report)}" for file, report in found.items())


def with_tables(page: str) -> str:
    """The page with the tables between its marks replaced; every mark must have a table."""
    unknown = [match["name"] for match in MARK.finditer(page) if match["name"] not in TABLES]
    if unknown:
        raise SystemExit(f"there are marks for {unknown}; expected {sorted(TABLES)}")
    return MARK.sub(lambda match: f"{match[1]}{made(match['name'])}\n{match[3]}", page)


def main() -> None:
    """Rewrite or check the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    arguments = parser.parse_args()
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        wanted = with_tables(page)
        if not arguments.check:
            path.write_text(wanted, encoding="utf-8")
        elif page != wanted:
            sys.exit(f"{path} is out of date; run python tools/performance_tables.py")


if __name__ == "__main__":
    main()
