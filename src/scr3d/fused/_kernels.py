"""The fused kernels: C++ in `native/`, which Warp compiles for this processor when it is first needed.

Each file there holds statements of a function's body. A kernel is given one array of addresses and whole numbers, whose
names are stated here, and real numbers; that costs a launch far less time than arguments of their own. Maps lie in
memory as [image, row, column, channel] unless said otherwise.

An image's maps fit the processor's second-level cache, so everything that belongs to one layer is done with them before
the next image is begun, and only what the convolutions give is written to memory: normalised maps are computed anew
where they are needed. A row of a convolution's footprint is one run of numbers, so that every product is a small matrix
product: of P pixels with `depth` numbers each and a panel of 8 or 16 columns. `tile` in tiles.inc is that product, and
nearly all arithmetic of a network is done in it.

A 3x3 convolution of a bilinearly enlarged map is linear in the map, and mixing channels commutes with enlarging: the
channels are mixed at the low resolution, to 9 maps for the 9 taps, which are then enlarged, shifted and added up along
one axis after the other. That takes a quarter of the products and 15 multiply-adds a value instead.
"""

from __future__ import annotations

from importlib.resources import files

import warp as wp

LAYER = (
    "scratch_at",  # see `scr3d.fused.convolution.scratch_size`
    "source_at",
    "extra_at",  # maps that are put before the activated source, or 0
    "gains_at",  # of the normalisation of the source, one for each channel; 0 for none
    "shifts_at",
    "statistics_at",  # mean and inverse deviation of each group of each image; written forward
    "batch",
    "height",
    "width",
    "extra",  # channels
    "channels",
    "count",  # of convolutions
    "source_gradient_at",  # only backward; 0 if it is not wanted
    "gains_gradient_at",  # likewise: zeros that it is added to
    "shifts_gradient_at",
)
CONVOLUTION = (
    "kind",  # see `scr3d.fused.convolution.Kind`
    "outputs",
    "weights_at",  # [output, row, column, input]
    "bias_at",  # or 0
    "result_at",  # forward: where it is written; backward: the gradient that is given for it, or 0
    "weights_gradient_at",  # only backward; 0 if it is not wanted; like the weights
    "bias_gradient_at",  # only backward: zeros that it is added to, or 0
)
"""Of each of a layer's convolutions, after `LAYER`."""
ENLARGE = (
    "scratch_at",  # see `scr3d.fused.enlarging`
    "small_at",
    "added_at",  # to the large maps, or 0
    "result_at",
    "batch",
    "height",  # of the small maps
    "width",
    "channels",  # 1 to 3
    "given_at",  # only backward, like the next
    "small_gradient_at",
)
LIT = (
    "depth_at",
    "albedo_at",
    "ambient_at",
    "diffuse_at",
    "direction_at",
    "rays_at",  # [3, height, width]
    "normal_at",  # [batch, 3, height, width]
    "shading_at",
    "image_at",
    "scratch_at",  # 6 * width numbers, only backward
    "batch",
    "height",
    "width",
    "given_image_at",  # gradients that are given, or 0; only backward, like the rest
    "given_shading_at",
    "given_normal_at",
    "depth_gradient_at",  # zeros that it is added to
    "albedo_gradient_at",  # zeros
    "ambient_gradient_at",
    "diffuse_gradient_at",
    "direction_gradient_at",
)
SEEN = (
    "depth_at",
    "texture_at",
    "origin_at",  # of the view, in the canonical frame: [batch, 3]
    "turn_at",  # from the view to the canonical frame: [batch, 3, 3]
    "triangle_at",  # int64, -1 where nothing is seen
    "corners_at",  # int32: pixel of every triangle's right angle
    "rays_at",
    "image_at",  # forward: where it is written; backward: the gradient that is given for it
    "view_depth_at",  # likewise, or 0
    "mask_at",  # bytes; only forward
    "scratch_at",  # 2 * height * width numbers
    "batch",
    "height",
    "width",
    "channels",
    "triangles",
    "continued",
    "depth_gradient_at",  # only backward, like the rest
    "texture_gradient_at",  # zeros that it is added to, or 0
    "origin_gradient_at",
    "turn_gradient_at",
)
LOSS = (
    "reconstruction_at",
    "target_at",
    "sigma_at",
    "loss_at",  # forward: where the mean is written; backward: the gradient that is given for it
    "pixels",
    "channels",
    "squared",  # 1 for the perceptual loss, 0 for the photometric one
    "reconstruction_gradient_at",  # only backward, or 0
    "sigma_gradient_at",
)
FRONT = (
    "image_at",  # [batch, height, width, 3], the mean subtracted
    "result_at",  # [batch, height / 4, width / 4, 128]
    "pooled_at",  # of the first convolution, rectified
    "winner_at",  # bytes: which of the 9 positions was the largest
    "squeezed2_at",
    "expanded2_at",
    "squeezed3_at",
    "scratch_at",
    "batch",
    "height",
    "width",
    "kept",  # 1 where the maps in between are kept for the gradient
    "given_at",  # only backward, like the next
    "image_gradient_at",
    *(
        f"{layer}_{part}_at"
        for layer in ("first", "squeeze2", "point2", "wide2", "squeeze3", "point3", "wide3")
        for part in ("weights", "bias")
    ),
)


def body(names: tuple[str, ...], *parts: str, more: str = "") -> str:
    """A function's body: what reads the array of arguments, and files of `native/`."""
    lines = [
        "",
        "#pragma clang fp contract(fast)",
        "const wp::int64* const given_numbers = (const wp::int64*)numbers_at;",
    ]
    for position, name in enumerate(names):
        kind = _kind(name)
        lines.append(f"const {kind} {name} = ({kind})given_numbers[{position}];")
    folder = files("scr3d") / "fused" / "native"
    return "\n".join([*lines, more, *((folder / f"{part}.inc").read_text(encoding="utf-8") for part in parts)])


def read_convolutions() -> str:
    """C++ that reads what follows a layer's own arguments."""
    lines = ["struct Convolution {", *(f"    {_kind(name)} {name};" for name in CONVOLUTION)]
    lines += [
        "    int padded, mixed, high, wide, side, stride, step, few_line, pair, depth;",
        "    bool few;",
        "    float* panels;",
        "    float* sums;",
        "};",
    ]
    lines += ["Convolution convolutions[2];", "for (int c = 0; c < count; ++c) {"]
    lines.append(f"    const wp::int64* from = given_numbers + {len(LAYER)} + c * {len(CONVOLUTION)};")
    for position, name in enumerate(CONVOLUTION):
        lines.append(f"    convolutions[c].{name} = ({_kind(name)})from[{position}];")
    return "\n".join([*lines, "}"])


def _kind(name: str) -> str:
    return "wp::int64" if name.endswith("_at") else "int"


@wp.func_native(body(LAYER, "tiles", "layer", "layer_forward", more=read_convolutions()))
def _layer_forward(numbers_at: wp.uint64, slope: float, epsilon: float): ...  # type: ignore[valid-type]


@wp.kernel(enable_backward=False)
def layer_forward(numbers_at: wp.uint64, slope: float, epsilon: float):  # type: ignore[valid-type]
    """Normalisation, rectifier with `slope` below 0 and convolutions of a batch; numbers as in `LAYER`."""
    _layer_forward(numbers_at, slope, epsilon)


@wp.func_native(body(LAYER, "tiles", "layer", "layer_backward", more=read_convolutions()))
def _layer_backward(numbers_at: wp.uint64, slope: float): ...  # type: ignore[valid-type]


@wp.kernel(enable_backward=False)
def layer_backward(numbers_at: wp.uint64, slope: float):  # type: ignore[valid-type]
    """Gradients of `layer_forward`."""
    _layer_backward(numbers_at, slope)


@wp.func_native(body(ENLARGE, "tiles", "enlarge", "enlarge_forward"))
def _enlarge_forward(numbers_at: wp.uint64): ...  # type: ignore[valid-type]


@wp.kernel(enable_backward=False)
def enlarge_forward(numbers_at: wp.uint64):  # type: ignore[valid-type]
    """Maps enlarged to twice their size and added to others; numbers as in `ENLARGE`."""
    _enlarge_forward(numbers_at)


@wp.func_native(body(ENLARGE, "tiles", "enlarge", "enlarge_backward"))
def _enlarge_backward(numbers_at: wp.uint64): ...  # type: ignore[valid-type]


@wp.kernel(enable_backward=False)
def enlarge_backward(numbers_at: wp.uint64):  # type: ignore[valid-type]
    """Gradient of `enlarge_forward` with respect to the small maps."""
    _enlarge_backward(numbers_at)


@wp.func_native(body(LIT, "lit", "lit_forward"))
def _lit_forward(numbers_at: wp.uint64, focal_px: float, guard: float): ...  # type: ignore[valid-type]


@wp.kernel(enable_backward=False)
def lit_forward(numbers_at: wp.uint64, focal_px: float, guard: float):  # type: ignore[valid-type]
    """Normals, shading and picture of a batch; numbers as in `LIT`."""
    _lit_forward(numbers_at, focal_px, guard)


@wp.func_native(body(LIT, "lit", "lit_backward"))
def _lit_backward(numbers_at: wp.uint64, focal_px: float, guard: float): ...  # type: ignore[valid-type]


@wp.kernel(enable_backward=False)
def lit_backward(numbers_at: wp.uint64, focal_px: float, guard: float):  # type: ignore[valid-type]
    """Gradients of `lit_forward`."""
    _lit_backward(numbers_at, focal_px, guard)


@wp.func_native(body(SEEN, "seen", "seen_forward"))
def _seen_forward(
    numbers_at: wp.uint64,  # type: ignore[valid-type]
    focal_px: float,
    center_x: float,
    center_y: float,
    limit: float,
    border: float,
    grazing: float,
): ...


@wp.kernel(enable_backward=False)
def seen_forward(
    numbers_at: wp.uint64,  # type: ignore[valid-type]
    focal_px: float,
    center_x: float,
    center_y: float,
    limit: float,
    border: float,
    grazing: float,
):
    """Picture, depth and mask of a view; numbers as in `SEEN`, the others as in `scr3d.fused.surface.Eye`."""
    _seen_forward(numbers_at, focal_px, center_x, center_y, limit, border, grazing)


@wp.func_native(body(SEEN, "seen", "seen_backward"))
def _seen_backward(
    numbers_at: wp.uint64,  # type: ignore[valid-type]
    focal_px: float,
    center_x: float,
    center_y: float,
    limit: float,
    border: float,
    grazing: float,
): ...


@wp.kernel(enable_backward=False)
def seen_backward(
    numbers_at: wp.uint64,  # type: ignore[valid-type]
    focal_px: float,
    center_x: float,
    center_y: float,
    limit: float,
    border: float,
    grazing: float,
):
    """Gradients of `seen_forward`."""
    _seen_backward(numbers_at, focal_px, center_x, center_y, limit, border, grazing)


@wp.func_native(body(LOSS, "loss", "loss_forward"))
def _loss_forward(numbers_at: wp.uint64, epsilon: float): ...  # type: ignore[valid-type]


@wp.kernel(enable_backward=False)
def loss_forward(numbers_at: wp.uint64, epsilon: float):  # type: ignore[valid-type]
    """Mean of a loss over pixels and channels; numbers as in `LOSS`."""
    _loss_forward(numbers_at, epsilon)


@wp.func_native(body(LOSS, "loss", "loss_backward"))
def _loss_backward(numbers_at: wp.uint64, epsilon: float): ...  # type: ignore[valid-type]


@wp.kernel(enable_backward=False)
def loss_backward(numbers_at: wp.uint64, epsilon: float):  # type: ignore[valid-type]
    """Gradients of `loss_forward`."""
    _loss_backward(numbers_at, epsilon)


@wp.func_native(body(FRONT, "tiles", "front", "front_forward"))
def _front_forward(numbers_at: wp.uint64): ...  # type: ignore[valid-type]


@wp.kernel(enable_backward=False)
def front_forward(numbers_at: wp.uint64):  # type: ignore[valid-type]
    """Features of a batch; numbers as in `FRONT`."""
    _front_forward(numbers_at)


@wp.func_native(body(FRONT, "tiles", "front", "front_backward"))
def _front_backward(numbers_at: wp.uint64): ...  # type: ignore[valid-type]


@wp.kernel(enable_backward=False)
def front_backward(numbers_at: wp.uint64):  # type: ignore[valid-type]
    """Gradient of `front_forward` with respect to the images."""
    _front_backward(numbers_at)
