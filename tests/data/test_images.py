import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from scr3d.data import images
from scr3d.data.images import (
    center_square,
    decode_image,
    list_images,
    read_image,
    read_image_and_alpha,
    resize,
    to_uint8,
    write_png8,
    write_png16,
)
from scr3d.errors import DataError, ShapeError


def picture(height=12, width=20):
    """A smooth colour picture that JPEG keeps well and in which every corner differs."""
    y, x = np.mgrid[0:height, 0:width]
    values = np.stack([x * 255 / (width - 1), y * 255 / (height - 1), 128 + 0 * x], axis=2)
    return np.rint(values).astype(np.uint8)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header_only(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "tiff", "ppm"])
def test_lossless_formats_give_exact_values(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(picture()).save(path, lossless=True)
    image = read_image(path)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, picture().astype(np.float32) / 255)


def test_jpeg_and_gif(tmp_path):
    for name, tolerance in (("a.jpg", 0.03), ("a.gif", 0.2)):
        Image.fromarray(picture()).save(tmp_path / name, quality=95, subsampling=0)
        np.testing.assert_allclose(read_image(tmp_path / name), picture() / 255, atol=tolerance)


@pytest.mark.parametrize(("mode", "tolerance"), [("L", 0), ("1", 0), ("P", 0.2), ("CMYK", 0.01)])
def test_colour_modes(tmp_path, mode, tolerance):
    path = tmp_path / "a.tiff"
    source = Image.fromarray(picture()).convert(mode)
    source.save(path)
    image = read_image(path)
    assert image.shape == (12, 20, 3)
    np.testing.assert_allclose(image, np.asarray(source.convert("RGB")) / 255, atol=1e-6)
    if mode in ("P", "CMYK"):
        np.testing.assert_allclose(image, picture() / 255, atol=tolerance)
    else:
        assert (image == image[..., :1]).all()


def test_cmyk_jpeg(tmp_path):
    Image.fromarray(picture()).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), picture() / 255, atol=0.06)


def test_alpha_is_composited_on_the_documented_colour(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[..., 0] = 255
    rgba[0, 0, 3], rgba[0, 1, 3] = 255, 51
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    np.testing.assert_allclose(image[0, 0], [1, 0, 0])
    np.testing.assert_allclose(image[0, 1], [1, 0.8, 0.8], atol=1e-6)
    np.testing.assert_allclose(image[1, 1], images.WHITE)
    np.testing.assert_allclose(read_image(tmp_path / "a.png", (0.0, 1.0, 0.0))[1, 1], [0, 1, 0])
    color, alpha = read_image_and_alpha(tmp_path / "a.png")
    np.testing.assert_allclose(color[1, 1], [1, 0, 0])
    np.testing.assert_allclose(alpha, [[1, 0.2], [0, 0]], atol=1e-6)


def test_alpha_of_grey_palette_and_keyed_files(tmp_path):
    grey = np.array([[[100, 255], [100, 0]]], np.uint8)
    Image.fromarray(grey, "LA").save(tmp_path / "la.png")
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([100, 100, 100, 9, 9, 9])
    palette.save(tmp_path / "p.png", transparency=1)
    keyed = Image.fromarray(np.array([[[100] * 3, [9] * 3]], np.uint8))
    keyed.save(tmp_path / "keyed.png", transparency=(9, 9, 9))
    for name in ("la.png", "p.png", "keyed.png"):
        image = read_image(tmp_path / name)
        np.testing.assert_allclose(image[0, 0], 100 / 255, atol=1e-6)
        np.testing.assert_allclose(image[0, 1], 1, atol=1e-6)
    Image.fromarray(picture()).save(tmp_path / "rgb.png")
    assert read_image_and_alpha(tmp_path / "rgb.png")[1] is None


def test_sixteen_bit_grey_keeps_its_precision(tmp_path):
    codes = np.array([[0, 1, 300], [65535, 40000, 255]], np.uint16)
    Image.fromarray(codes).save(tmp_path / "a.png")
    Image.fromarray(codes.astype(np.int32)).save(tmp_path / "a.tiff")
    for name in ("a.png", "a.tiff"):
        image = read_image(tmp_path / name)
        assert image.shape == (2, 3, 3)
        np.testing.assert_allclose(image[..., 0], codes / 65535.0, rtol=1e-6)


def test_deep_files_of_unknown_range(tmp_path):
    path = tmp_path / "a.tiff"
    Image.fromarray(np.array([[0.0, 0.5]], np.float32)).save(path)
    np.testing.assert_allclose(read_image(path)[0, 1], 0.5)
    for values in (np.array([[0.0, 7.0]], np.float32), np.array([[0.0, np.nan]], np.float32)):
        Image.fromarray(values).save(path)
        with pytest.raises(DataError, match=r"outside of \[0, 1\]"):
            read_image(path)
    Image.fromarray(np.array([[0, 70000]], np.int32)).save(path)
    with pytest.raises(DataError, match="more than 16 bits"):
        read_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(tmp_path, orientation):
    upright = picture(16, 24)
    # How a camera stores an upright picture that is to be shown with each orientation.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_allclose(read_image(tmp_path / "a.png"), upright / 255, atol=1e-6)


def test_damaged_exif_is_no_reason_to_refuse(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.jpg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff\x00")
    assert read_image(tmp_path / "a.jpg").shape == (12, 20, 3)


def test_single_pixel(tmp_path):
    Image.new("RGB", (1, 1), (255, 0, 0)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(resize(read_image(tmp_path / "a.png"), 4), np.full((4, 4, 3), [1.0, 0, 0]))


def damaged_files():
    good = io.BytesIO()
    Image.fromarray(picture(64, 64)).save(good, "PNG")
    jpeg = io.BytesIO()
    Image.fromarray(picture(256, 256)).save(jpeg, "JPEG")
    return {
        "empty.png": (b"", "is empty"),
        "text.png": (b"this is no image", "no image that scr3d reads"),
        "truncated.png": (good.getvalue()[:-60], "truncated or damaged"),
        "truncated.jpg": (jpeg.getvalue()[: len(jpeg.getvalue()) // 2], "truncated or damaged"),
        "head.png": (good.getvalue()[:20], "no image that scr3d reads"),
        "bomb.png": (png_header_only(10_000, 9_000), "too large: 10000x9000"),
        "bigger.png": (png_header_only(60_000, 60_000), "too large"),
        "drawing.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "no image"),
    }


@pytest.mark.parametrize("name", damaged_files())
def test_bad_files_are_refused_in_one_line(tmp_path, name, recwarn):
    data, message = damaged_files()[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as error:
        read_image(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not recwarn.list


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(DataError, match="Is a directory"):
        read_image(tmp_path)


def test_flipped_bytes_never_escape_as_other_errors(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.img"
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"):
        good = io.BytesIO()
        Image.fromarray(picture()).save(good, kind)
        for _ in range(60):
            data = bytearray(good.getvalue())
            for position in rng.integers(0, len(data), 4):
                data[position] = rng.integers(256)
            path.write_bytes(data)
            try:
                image = read_image(path)
            except DataError:
                continue
            assert image.ndim == 3
            assert np.isfinite(image).all()


def test_list_images(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.txt", ".hidden.png", "sub/d.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.jpg", "b.PNG"]
    assert [path.name for path in list_images(tmp_path, recursive=True)] == ["a.jpg", "b.PNG", "d.webp"]
    with pytest.raises(DataError, match="missing"):
        list_images(tmp_path / "none")
    with pytest.raises(DataError, match="a file"):
        list_images(tmp_path / "a.jpg")


def test_resize_to_the_same_size_changes_nothing():
    image = np.random.default_rng(0).random((9, 9, 3), dtype=np.float32)
    same = resize(image, 9)
    np.testing.assert_array_equal(same, image)
    assert not np.shares_memory(same, image)


def test_resize_is_antialiased():
    """A pattern too fine for the new size becomes its mean, where picking pixels would leave black or white."""
    image = np.indices((64, 64)).sum(axis=0) % 2
    small = resize(image.astype(np.float32), 8)
    assert small.shape == (8, 8)
    np.testing.assert_allclose(small, 0.5, atol=0.02)


def test_resize_keeps_constants_and_range():
    np.testing.assert_allclose(resize(np.full((7, 5, 3), 0.3, np.float32), (11, 4)), 0.3, atol=1e-6)
    random = np.random.default_rng(0).random((16, 16, 3), dtype=np.float32)
    for size in (5, 40):
        assert resize(random, size).min() >= 0
        assert resize(random, size).max() <= 1


def test_resize_is_symmetric():
    image = np.random.default_rng(0).random((20, 30), dtype=np.float32)
    np.testing.assert_allclose(resize(image[:, ::-1], (7, 7)), resize(image, (7, 7))[:, ::-1], atol=1e-5)


@pytest.mark.parametrize(("shape", "size"), [((4, 4), 0), ((0, 4, 3), 4), ((4,), 4)])
def test_resize_refuses(shape, size):
    with pytest.raises(ShapeError):
        resize(np.zeros(shape, np.float32), size)


@pytest.mark.parametrize(("height", "width", "top", "left"), [(4, 8, 0, 2), (9, 4, 2, 0), (5, 5, 0, 0)])
def test_center_square(height, width, top, left):
    image = np.arange(height * width).reshape(height, width)
    side = min(height, width)
    np.testing.assert_array_equal(center_square(image), image[top : top + side, left : left + side])


def test_png_files_read_back(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.png"
    rgb = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    write_png8(path, rgb)
    np.testing.assert_array_equal(to_uint8(read_image(path)), rgb)
    write_png8(path, rgb[..., 0].astype(np.float32) / 255)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), rgb[..., 0])
    write_png8(path, np.array([[[2.0, -1.0, 0.5]]], np.float32))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), [[[255, 0, 128]]])
    codes = rng.integers(0, 65536, (5, 4), dtype=np.uint16)
    write_png16(path, codes)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), codes)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_png_writers_refuse_other_arrays(tmp_path):
    with pytest.raises(ShapeError, match="channels last"):
        write_png8(tmp_path / "a.png", np.zeros((3, 5, 5), np.uint8))
    with pytest.raises(ShapeError, match="expected uint16"):
        write_png16(tmp_path / "a.png", np.zeros((5, 5), np.uint8))
    assert not any(tmp_path.iterdir())


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_png8(path, np.zeros((2, 2), np.uint8))
    before = path.read_bytes()

    def fail(self, name, format):
        name.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="no space"):
        write_png8(path, np.ones((2, 2), np.uint8))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_content_reads_like_its_file_and_has_its_own_limit(tmp_path) -> None:
    path = tmp_path / "alpha.png"
    values = np.random.default_rng(0).integers(0, 256, (12, 9, 4), dtype=np.uint8)
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(decode_image(path.read_bytes(), "alpha.png"), read_image(path))
    with pytest.raises(DataError, match=r"^alpha\.png is too large: 9x12, at most 100 pixels; scale it down$"):
        decode_image(path.read_bytes(), "alpha.png", max_pixels=100)
