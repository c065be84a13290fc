"""Warp kernels that colour and light the synthetic heads and paint backgrounds; one source for CPU and CUDA.

Every pixel is one thread, so a sample's bytes do not depend on the batch it is made in.
"""

from __future__ import annotations

import warp as wp

from scr3d.data.heads import scene

EYE = wp.constant(1)
MOUTH = wp.constant(2)
CELLS = wp.constant(wp.vec4(*scene.NOISE_CELLS))
SHAPES = wp.constant(scene.SHAPES)
FIRST_SHAPE = wp.constant(scene.BACKGROUND_HEAD)
HASH_X = wp.constant(wp.uint32(0x9E3779B1))
HASH_Y = wp.constant(wp.uint32(0x85EBCA77))
HASH_A = wp.constant(wp.uint32(0x7FEB352D))
HASH_B = wp.constant(wp.uint32(0x846CA68B))

# mypy cannot see through Warp's types.
# mypy: disable-error-code="valid-type, misc, return-value, assignment, arg-type"


@wp.struct
class Textures:
    """Read-only pictures and per-triangle data."""

    triangles: wp.array2d(dtype=wp.int32)
    uvs: wp.array2d(dtype=wp.vec2)
    material: wp.array(dtype=wp.int32)
    skins: wp.array4d(dtype=wp.uint8)
    hair: wp.array2d(dtype=wp.uint8)
    brows: wp.array3d(dtype=wp.uint8)
    brow_box: wp.vec4


@wp.struct
class Looks:
    """Per-identity appearance; columns as in `scr3d.data.heads.identity.Identities`."""

    skin: wp.array(dtype=wp.int32)
    tint: wp.array(dtype=wp.vec3)
    hair: wp.array2d(dtype=float)
    brow: wp.array2d(dtype=float)
    iris: wp.array2d(dtype=float)


@wp.struct
class Stage:
    """Per-sample scene; columns as in `scr3d.data.heads.scene.Scenes`."""

    identity: wp.array(dtype=wp.int32)
    rotation: wp.array(dtype=wp.mat33)
    light: wp.array(dtype=wp.vec4)
    gaze: wp.array(dtype=wp.vec2)
    seed: wp.array(dtype=wp.int32)
    background: wp.array2d(dtype=float)
    textured: int


@wp.struct
class Fragment:
    """What one ray sees of the head."""

    albedo: wp.vec3
    normal: wp.vec3
    depth: float


@wp.func
def smooth(low: float, high: float, x: float) -> float:
    """Cubic step from 0 at `low` to 1 at `high`."""
    t = wp.clamp((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


@wp.func
def mix(a: wp.vec3, b: wp.vec3, t: float) -> wp.vec3:
    """A at t = 0, b at t = 1."""
    return a + t * (b - a)


@wp.func
def grey_texture(texture: wp.array2d(dtype=wp.uint8), u: float, v: float) -> float:
    """Bilinear sample in [0, 1]; u and v in [0, 1] over the picture's area."""
    height = texture.shape[0]
    width = texture.shape[1]
    x = wp.clamp(u * float(width) - 0.5, 0.0, float(width - 1))
    y = wp.clamp(v * float(height) - 0.5, 0.0, float(height - 1))
    x0 = wp.min(int(x), width - 2)
    y0 = wp.min(int(y), height - 2)
    fx = x - float(x0)
    fy = y - float(y0)
    top = float(texture[y0, x0]) * (1.0 - fx) + float(texture[y0, x0 + 1]) * fx
    bottom = float(texture[y0 + 1, x0]) * (1.0 - fx) + float(texture[y0 + 1, x0 + 1]) * fx
    return (top * (1.0 - fy) + bottom * fy) / 255.0


@wp.func
def texel(skins: wp.array4d(dtype=wp.uint8), skin: int, y: int, x: int) -> wp.vec3:
    """Colour of one pixel of a skin, 0 to 255."""
    return wp.vec3(float(skins[skin, y, x, 0]), float(skins[skin, y, x, 1]), float(skins[skin, y, x, 2]))


@wp.func
def skin_texture(skins: wp.array4d(dtype=wp.uint8), skin: int, u: float, v: float) -> wp.vec3:
    """Bilinear sample of a skin in [0, 1]."""
    height = skins.shape[1]
    width = skins.shape[2]
    x = wp.clamp(u * float(width) - 0.5, 0.0, float(width - 1))
    y = wp.clamp(v * float(height) - 0.5, 0.0, float(height - 1))
    x0 = wp.min(int(x), width - 2)
    y0 = wp.min(int(y), height - 2)
    fx = x - float(x0)
    fy = y - float(y0)
    top = mix(texel(skins, skin, y0, x0), texel(skins, skin, y0, x0 + 1), fx)
    bottom = mix(texel(skins, skin, y0 + 1, x0), texel(skins, skin, y0 + 1, x0 + 1), fx)
    return mix(top, bottom, fy) / 255.0


@wp.func
def skin_color(textures: Textures, looks: Looks, i: int, u: float, v: float) -> wp.vec3:
    """Skin with tint, hair and eyebrows."""
    color = skin_texture(textures.skins, looks.skin[i], u, v)
    light = (color[0] + color[1] + color[2]) / 3.0
    color = wp.cw_mul(color, looks.tint[i])
    threshold = looks.hair[i, 1]
    hair = smooth(threshold - 0.25, threshold + 0.25, grey_texture(textures.hair, u, v)) * looks.hair[i, 0]
    strands = 0.8 + 1.2 * wp.min(light, 0.5)
    color = mix(color, strands * wp.vec3(looks.hair[i, 2], looks.hair[i, 3], looks.hair[i, 4]), hair)
    box = textures.brow_box
    bu = (u - box[0]) / (box[2] - box[0])
    bv = (v - box[1]) / (box[3] - box[1])
    if bu > 0.0 and bu < 1.0 and bv > 0.0 and bv < 1.0:
        brow = grey_texture(textures.brows[int(looks.brow[i, 0])], bu, bv) * looks.brow[i, 1]
        color = mix(color, wp.vec3(looks.brow[i, 2], looks.brow[i, 3], looks.brow[i, 4]), brow)
    return color


@wp.func
def eye_color(looks: Looks, i: int, x: float, y: float, gaze: wp.vec2) -> wp.vec3:
    """Sclera, iris with a dark rim, pupil; x and y in eyeball radii. The upper lid darkens the eye."""
    radius = wp.length(wp.vec2(x - gaze[0], y - gaze[1]))
    iris_radius = looks.iris[i, 0]
    pupil_radius = looks.iris[i, 1]
    color = wp.vec3(0.80, 0.77, 0.74) * (1.0 - 0.35 * smooth(0.45, 0.95, wp.abs(x)))
    iris = wp.vec3(looks.iris[i, 2], looks.iris[i, 3], looks.iris[i, 4])
    iris = iris * (1.1 - 0.6 * smooth(0.75 * iris_radius, iris_radius, radius))
    color = mix(iris, color, smooth(iris_radius - 0.03, iris_radius + 0.03, radius))
    color = mix(wp.vec3(0.03, 0.03, 0.03), color, smooth(pupil_radius - 0.03, pupil_radius + 0.03, radius))
    return color * (1.0 - 0.3 * smooth(0.1, 0.6, y))


@wp.func
def fragment(
    textures: Textures,
    looks: Looks,
    stage: Stage,
    batch: int,
    t: int,
    points_px: wp.array2d(dtype=wp.vec3),
    normals: wp.array2d(dtype=wp.vec3),
    px: float,
    py: float,
) -> Fragment:
    """Attributes of triangle `t` at a point of the image, interpolated with perspective."""
    ia = textures.triangles[t, 0]
    ib = textures.triangles[t, 1]
    ic = textures.triangles[t, 2]
    a = points_px[batch, ia]
    b = points_px[batch, ib]
    c = points_px[batch, ic]
    wa = ((c[0] - b[0]) * (py - b[1]) - (c[1] - b[1]) * (px - b[0])) / a[2]
    wb = ((a[0] - c[0]) * (py - c[1]) - (a[1] - c[1]) * (px - c[0])) / b[2]
    wc = ((b[0] - a[0]) * (py - a[1]) - (b[1] - a[1]) * (px - a[0])) / c[2]
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    total = wa + wb + wc
    result = Fragment()
    result.depth = area / total
    wa = wa / total
    wb = wb / total
    wc = wc / total
    i = stage.identity[batch]
    result.normal = wp.normalize(wa * normals[i, ia] + wb * normals[i, ib] + wc * normals[i, ic])
    uv = wa * textures.uvs[t, 0] + wb * textures.uvs[t, 1] + wc * textures.uvs[t, 2]
    material = textures.material[t]
    if material == EYE:
        result.albedo = eye_color(looks, i, uv[0], uv[1], stage.gaze[batch])
    elif material == MOUTH or area > 0.0:
        # The mouth's inside, or the far side of the surface seen through the lips.
        result.albedo = wp.vec3(0.20, 0.07, 0.06)
    else:
        result.albedo = skin_color(textures, looks, i, uv[0], uv[1])
    result.albedo = wp.vec3(
        wp.clamp(result.albedo[0], 0.0, 1.0),
        wp.clamp(result.albedo[1], 0.0, 1.0),
        wp.clamp(result.albedo[2], 0.0, 1.0),
    )
    return result


@wp.func
def lattice(seed: wp.uint32, x: int, y: int) -> float:
    """A random value in [-1, 1] for every point of a lattice: an integer hash of murmur's finishing kind."""
    h = seed ^ (wp.uint32(x) * HASH_X) ^ (wp.uint32(y) * HASH_Y)
    h = (h ^ (h >> wp.uint32(16))) * HASH_A
    h = (h ^ (h >> wp.uint32(15))) * HASH_B
    h = h ^ (h >> wp.uint32(16))
    return float(h >> wp.uint32(8)) / 8388607.5 - 1.0


@wp.func
def noise(seed: wp.uint32, x: float, y: float) -> float:
    """Smoothly interpolated lattice values."""
    x0 = int(wp.floor(x))
    y0 = int(wp.floor(y))
    fx = smooth(0.0, 1.0, x - float(x0))
    fy = smooth(0.0, 1.0, y - float(y0))
    top = lattice(seed, x0, y0) * (1.0 - fx) + lattice(seed, x0 + 1, y0) * fx
    bottom = lattice(seed, x0, y0 + 1) * (1.0 - fx) + lattice(seed, x0 + 1, y0 + 1) * fx
    return top * (1.0 - fy) + bottom * fy


@wp.func
def background(stage: Stage, batch: int, x: float, y: float, pixel: float) -> wp.vec3:
    """Gradient, noise, stripes and soft shapes; x and y in [-1, 1] over the frame, `pixel` is a pixel's width."""
    p = stage.background
    b = batch
    color = wp.vec3(
        p[b, 0] + x * p[b, 3] + y * p[b, 4],
        p[b, 1] + x * p[b, 5] + y * p[b, 6],
        p[b, 2] + x * p[b, 7] + y * p[b, 8],
    )
    seed = wp.uint32(stage.seed[b])
    tone = wp.vec3(p[b, 13], p[b, 14], p[b, 15])
    for scale in range(4):
        cells = CELLS[scale] * 0.5
        # Every scale is turned by another angle, so that the lattices do not show.
        turn = 0.6 + 0.9 * float(scale)
        nx = (x * wp.cos(turn) + y * wp.sin(turn)) * cells + 31.0
        ny = (y * wp.cos(turn) - x * wp.sin(turn)) * cells + 57.0
        value = noise(seed + wp.uint32(scale * 7919), nx, ny)
        color += tone * (p[b, 9 + scale] * value)
    wave = wp.sin(
        x * p[b, 16]
        + y * p[b, 17]
        + p[b, 18]
        + p[b, 19] * noise(seed + wp.uint32(99991), x * 1.5 + 13.0, y * 1.5 + 17.0)
    )
    color += wp.vec3(p[b, 20], p[b, 21], p[b, 22]) * wave
    for shape in range(SHAPES):
        s = FIRST_SHAPE + shape * 10
        dx = x - p[b, s]
        dy = y - p[b, s + 1]
        u = (dx * p[b, s + 4] + dy * p[b, s + 5]) / p[b, s + 2]
        v = (dy * p[b, s + 4] - dx * p[b, s + 5]) / p[b, s + 3]
        opacity = p[b, s + 6]
        reach = wp.sqrt(u * u + v * v)
        if opacity < 0.0:
            reach = wp.max(wp.abs(u), wp.abs(v))
        edge = pixel / wp.min(p[b, s + 2], p[b, s + 3])
        cover = wp.abs(opacity) * (1.0 - smooth(1.0 - edge, 1.0 + edge, reach))
        color = mix(color, wp.vec3(p[b, s + 7], p[b, s + 8], p[b, s + 9]), cover)
    return wp.vec3(wp.clamp(color[0], 0.0, 1.0), wp.clamp(color[1], 0.0, 1.0), wp.clamp(color[2], 0.0, 1.0))


@wp.kernel(enable_backward=False)
def shade(
    textures: Textures,
    looks: Looks,
    stage: Stage,
    points_px: wp.array2d(dtype=wp.vec3),
    normals: wp.array2d(dtype=wp.vec3),
    visible: wp.array3d(dtype=wp.int64),
    fine_visible: wp.array3d(dtype=wp.int64),
    subsamples: int,
    image: wp.array3d(dtype=wp.vec3),
    albedo: wp.array3d(dtype=wp.vec3),
    normal: wp.array3d(dtype=wp.vec3),
    depth: wp.array3d(dtype=float),
):
    """One pixel: the image from its subsamples, the truth at its centre."""
    batch, row, column = wp.tid()
    size = float(visible.shape[1] - 1)
    light = stage.light[batch]
    direction = wp.normalize(wp.vec3(light[2], light[3], 1.0))
    behind = wp.vec3(0.0, 0.0, 0.0)
    if stage.textured != 0:
        x = 2.0 * float(column) / size - 1.0
        y = 2.0 * float(row) / size - 1.0
        behind = background(stage, batch, x, y, 2.0 / size)
    color = wp.vec3(0.0, 0.0, 0.0)
    reflected = wp.vec3(0.0, 0.0, 0.0)
    hits = float(0.0)  # noqa: UP018 (Warp: a variable)
    k = float(subsamples)
    for i in range(subsamples * subsamples):
        fy = row * subsamples + i / subsamples
        fx = column * subsamples + i % subsamples
        t = int(fine_visible[batch, fy, fx])
        if t >= 0:
            px = (float(fx) + 0.5) / k - 0.5
            py = (float(fy) + 0.5) / k - 0.5
            seen = fragment(textures, looks, stage, batch, t, points_px, normals, px, py)
            shading = light[0] + light[1] * wp.max(wp.dot(seen.normal, direction), 0.0)
            color += shading * seen.albedo
            reflected += seen.albedo
            hits += 1.0
        else:
            color += behind
    image[batch, row, column] = color / (k * k)
    t = int(visible[batch, row, column])
    if t >= 0:
        seen = fragment(textures, looks, stage, batch, t, points_px, normals, float(column), float(row))
        depth[batch, row, column] = seen.depth
        normal[batch, row, column] = stage.rotation[batch] * seen.normal
        albedo[batch, row, column] = (reflected + seen.albedo) / (hits + 1.0)
