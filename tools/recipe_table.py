"""Write the table of recipe trials into docs/training.md from results/recipe/*.json."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "training.md"
BEGIN, END = "<!-- trials -->", "<!-- /trials -->"

# What each trial changed, and what came of it; the numbers beside are read from its file.
TRIALS = {
    "a0": (
        "first recipe: wide shallow bump, smoothness 2, black uncovered pixels",
        "light and yaw get mixed signs; eyes in the depth",
    ),
    "b0": ("smoothness 6 with a time constant of 150,000", "smooth shape, eyes in the albedo; signs still mixed"),
    "c0": ("b0, and uncovered pixels continue the frame", "best held-out loss, views do not matter to it"),
    "d1": ("b0 with a narrower, deeper bump", "yaw and light find their sign"),
    "d0": ("d1, and uncovered pixels continue the frame", "likewise, a little better; kept"),
    "d2": ("d0 with a shallower bump", "signs mixed again"),
    "e0": ("d0, smoothness decays in 60,000, view penalty 0.03", "relief relaxes faster"),
    "f0": ("e0, smoothness on the whole surface", "flattens the bump, views lose their sign"),
    "g0": ("e0, smoothness decays in 25,000", "faster still; stays too deep, with timid turns and frontal lights"),
    "h0": (
        "g0 after 60,000 images, on 0.6 times the bump",
        "goes back to the depth of g0: not the start, the penalties",
    ),
    "h1": ("g0 after 100,000 images, 0.6 times the bump, no penalty on view and light", "better, drifts slowly"),
    "g1": (
        "g0 with 0.75 times the bump, light penalty 0.002, view penalty decays to 0",
        "better than g0 at equal length",
    ),
    "i0": (
        "half an ellipsoid, shifts limited to 0.02 with a penalty",
        "much better shape; dark hair lit away from below",
    ),
    "i1": ("i0, shifts limited to 0.01, penalty 0.1", "likewise, slower turns"),
    "j0": ("i0, light penalty 0.02 that decays", "likewise, hair still lit away"),
    "j1": ("j0, smoothness 12 with a time constant of 40,000", "hair in the albedo, right ambient light; kept"),
    "m0": ("j1 with an ellipsoid as deep as wide", "turns get mixed signs and stay so"),
    "m1": ("m0, shifts limited to 0.01, penalty 0.3", "likewise, worse"),
    "n0": ("64x64, grown from j1 after 140,000 images, on the surface of m0", "relief deepens, diffuse light fades"),
    "p0": ("64x64, grown from j1 after 140,000 images", "sharper; relief and turns as in j1, and no better with time"),
    "r0": ("j1 with border and start plane at depth 1.0", "no difference from j1"),
    "s0": (
        "64x64, p0 after 70,000 images with the relief prior",
        "relief, turns, normals come right at once",
    ),
    "t0": ("s0 after 30,000 images, prior on the level too, shift penalty 0.2", "rims too steep"),
    "u0": ("32x32 from scratch with the relief prior", "much better than all before"),
    "v0": ("64x64, s0 after 30,000 images, relief prior 0.5, shift penalty 0.2", "no difference in so short a run"),
    "w0": ("64x64, grown from u0 after 140,000 images", "like s0; was not trained to its end"),
    "x0": (
        "32x32, u0 after 240,000 images, border and start plane at depth 1.0, prior on the level too",
        "larger turns, not a better shape",
    ),
    "y0": ("64x64, s0 after 30,000 images, relief prior 0.5, falling rate", "no better, folds beside turned heads"),
    "q1": ("u0 with border and start plane at depth 1.02", "worse"),
    "q2": ("q1 with depth at full resolution", "clearly better than q1"),
    "q3": ("u0 with depth at full resolution", "best at 32x32; kept as the default"),
    "q4": ("64x64, grown from q2 after 220,000 images", "turns grow, shape does not get better"),
    "q5": ("64x64, grown from q3 after 180,000 images", "panels beside the head hide it; falls apart"),
    "q6": ("q5, second differences cost at most 0.2", "later, but likewise"),
    "q7": (
        "32x32, q3 after 180,000 images, second differences cost at most 0.1",
        "ambient light drifts up, shape gets worse",
    ),
    "q8": (
        "q6, view, depth and light rest for the first 30,000 images",
        "keeps the shape for 100,000 images, then likewise",
    ),
    "q9": ("32x32, q3 after 180,000 images, flip weight 2", "worse"),
    "q10": ("q3 after 180,000 images, a flat background behind the outline", "no difference from q3"),
    "q11": (
        "q3 after 180,000 images, background (where the flipped reconstruction is unsure) pulled to the border depth",
        "rims begin to follow the head, scores do not",
    ),
    "q12": ("q3 after 180,000 images, smoothness on the whole surface", "rims begin to follow the head; no better"),
    "q13": ("q11 and q12 together", "likewise more, depth of the face suffers"),
    "q14": (
        "q3 after 180,000 images, an outline for each object (--outline-range 0.3)",
        "best after 20,000 images (0.50, 12.3), then drifts",
    ),
    "q15": ("q3 with an outline for each object from the start, falling rate", "light too strong from the start"),
    "q16": (
        "q3 after 180,000 images, depth mirrored and averaged by construction, an outline for each object",
        "folds beside turned heads on both sides; much worse with time",
    ),
    "q17": ("q16, depth outside the outline held to the start surface", "no better"),
    "q18": ("q17 without the mirroring", "drifts like q14"),
    "q19": ("q3 after 180,000 images, shape penalty 30", "ambient light stays, no folds, better shape"),
    "q20": ("q19, and a penalty on the spread of albedo", "no better views; worse"),
    "q21": ("q19 with an outline for each object", "best at 32x32 so far, best after 20,000 images"),
    "q22": ("q21, 24,000 images with a falling rate", "holds its shape"),
    "q23": ("q22, mean view of a batch pulled to zero", "no difference that counts"),
    "q24": ("64x64, grown from q22", "does not drift any more, nor fold"),
    "q25": ("q22 on a start surface tapered with 0.5", "0.45 after 8,000 images, then goes back"),
    "q26": ("64x64, grown from q22, start surface tapered with 0.5", "better than q24; likewise goes back slowly"),
    "q27": ("q26 with taper 0.4 and smoothness 1", "no better"),
    "q28": ("q26, 18,000 images with a falling rate", "shipped before q31"),
    "q29": (
        "from scratch with shape penalty 30, an outline for each object and taper 0.5",
        "best at 32x32, neither drift nor folds",
    ),
    "q30": ("q29 with the independent structure", "a little worse throughout"),
    "q31": ("64x64, grown from q29, 52,000 images with a falling rate", "shipped before q32"),
    "q32": ("q31, 40,000 more images with a falling rate from 6e-4", "shipped before q40"),
    "q33": (
        "32x32, the default recipe with its schedules halved, 80,000 images",
        "after 80,000 images q29 stood at 0.58 and 15.5; the benchmark's protocol cpu",
    ),
    "q34": (
        "q33 with schedules of a fifth of the length and rate 2e-3",
        "the relief comes too early: normals stand still",
    ),
    "q35": (
        "q32, on heads as photos show them (no targets), falling rate from 5e-4; scored on such heads",
        "explains photos better, and bends the surface where hair and glasses are",
    ),
    "q36": (
        "likewise, compared with targets without hair and glasses; scored on photo-like heads",
        "sees through them: the best shapes and turns of such heads; a little worse on plain ones",
    ),
    "q37": (
        "q36, on a mixture of plain and photo-like heads, rate 8e-4 that falls over the last 70 %",
        "good at both looks, but folds beside turned heads grow with time",
    ),
    "q38": ("the same with a falling rate throughout", "ended early: the same folds already, they are those of q36"),
    "q39": (
        "q37, 48,000 more images with shape penalty 100 and smoothness from 0.5, falling rate from 4e-4",
        "smaller folds",
    ),
    "q40": (
        "q37, 48,000 more images with shape penalty 100 and smoothness 2, falling rate from 4e-4",
        "hardly any; shipped",
    ),
    "q41": (
        "128x128, grown from q40, 64,000 images of 14,000 plain and as many photo-like heads, falling rate from 4e-4",
        "sharper pictures, the shape is a little worse than the grown one's (docs/photos.md)",
    ),
}


def table() -> str:
    """The rows of all trials that have a result file."""
    lines = [
        "| trial | change | images | SIDE | MAD | yaw corr. / slope | light x corr. | what came of it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (change, outcome) in TRIALS.items():
        record = json.loads((ROOT / "results" / "recipe" / f"{name}.json").read_text(encoding="utf-8"))
        last = record["validation"][-1]
        lines.append(
            f"| {name} | {change} | {last['images']:,} | {last['side_e2']:.2f} | {last['mad_deg']:.1f} | "
            f"{last['yaw_correlation']:.2f} / {last['yaw_slope']:.2f} | {last['light_x_correlation']:.2f} | {outcome} |"
        )
    return "\n".join(lines)


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n{table()}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
