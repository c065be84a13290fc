import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scr3d.data.store import (
    ArraySpec,
    Store,
    StoreInfo,
    StoreWriter,
    decode_depth,
    encode_depth,
    is_store,
    read_info,
)
from scr3d.errors import DataError
from scr3d.geometry.camera import DepthRange

ARRAYS = {"image": ArraySpec("uint8", (4, 4, 3)), "sex": ArraySpec("float32", ())}


def block(start, stop):
    return {
        "image": np.stack([np.full((4, 4, 3), index, np.uint8) for index in range(start, stop)]),
        "sex": np.arange(start, stop, dtype=np.float32),
    }


def write(folder, count=6):
    StoreWriter(folder, StoreInfo(4, count, ARRAYS, source={"seed": 3})).append(block(0, count))
    return folder


def edit_json(folder, **changes):
    path = folder / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_reads_back_what_was_written(tmp_path):
    store = Store(write(tmp_path))
    assert (len(store), store.size, store.info.source) == (6, 4, {"seed": 3})
    assert "image" in store
    assert "depth" not in store
    np.testing.assert_array_equal(store.get("sex", np.array([5, 0, 5])), [5, 0, 5])
    np.testing.assert_array_equal(store.get("image", slice(2, 4)), block(2, 4)["image"])


def test_samples_are_copies(tmp_path):
    store = Store(write(tmp_path))
    store.get("image", slice(0, 6))[:] = 99
    assert store.get("image", np.array([1])).max() == 1


def test_interrupted_writing_goes_on(tmp_path):
    info = StoreInfo(4, 6, ARRAYS)
    StoreWriter(tmp_path, info).append(block(0, 2))
    assert is_store(tmp_path)
    with pytest.raises(DataError, match="unfinished: 2 of 6"):
        Store(tmp_path)
    again = StoreWriter(tmp_path, info)
    assert again.done == 2
    again.append(block(2, 6))
    np.testing.assert_array_equal(Store(tmp_path).get("sex", slice(0, 6)), np.arange(6))


@pytest.mark.parametrize(
    "other",
    [StoreInfo(4, 7, ARRAYS), StoreInfo(4, 6, ARRAYS, source={"seed": 4}), StoreInfo(4, 6, {"sex": ARRAYS["sex"]})],
)
def test_another_description_is_refused(tmp_path, other):
    write(tmp_path)
    with pytest.raises(DataError, match="already holds another data set"):
        StoreWriter(tmp_path, other)


def test_wrong_blocks_are_refused(tmp_path):
    writer = StoreWriter(tmp_path, StoreInfo(4, 3, ARRAYS))
    with pytest.raises(DataError, match="expected at most 3 samples"):
        writer.append(block(0, 4))
    with pytest.raises(DataError, match=r"of \['image'\]"):
        writer.append({"image": block(0, 1)["image"]})
    assert writer.done == 0


def test_no_store(tmp_path):
    with pytest.raises(DataError, match="no scr3d data store"):
        Store(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"format": "scr3d-store", "version": 1}', '{"format": "scr3d-store"}'],
)
def test_damaged_description(tmp_path, text):
    write(tmp_path)
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(DataError, match="make the data set again"):
        Store(tmp_path)


def test_other_version(tmp_path):
    edit_json(write(tmp_path), version=99)
    with pytest.raises(DataError, match=r"scr3d-store 99, this program reads scr3d-store 1"):
        read_info(tmp_path)


def test_arrays_must_match_the_description(tmp_path):
    write(tmp_path)
    np.save(tmp_path / "sex.npy", np.zeros(5, np.float32))
    with pytest.raises(DataError, match=r"sex\.npy holds float32"):
        Store(tmp_path)
    (tmp_path / "sex.npy").unlink()
    with pytest.raises(DataError, match=r"sex\.npy cannot be read"):
        Store(tmp_path)


def test_truncated_array(tmp_path):
    path = write(tmp_path) / "image.npy"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"image\.npy cannot be read"):
        Store(tmp_path)


def test_pickled_arrays_are_refused(tmp_path):
    write(tmp_path)
    np.save(tmp_path / "sex.npy", np.array([{}] * 6, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"sex\.npy cannot be read"):
        Store(tmp_path)


def test_arrays_of_nothing_are_refused(tmp_path):
    """Mapping one would end the process with a division by zero."""
    write(tmp_path)
    np.save(tmp_path / "sex.npy", np.zeros(6, "V0"))
    with pytest.raises(DataError, match=r"sex\.npy cannot be read"):
        Store(tmp_path)


def test_array_names_stay_in_the_folder(tmp_path):
    write(tmp_path)
    edit_json(tmp_path, arrays={"../secret": {"dtype": "uint8", "shape": []}})
    with pytest.raises(DataError, match="no file name of a store"):
        Store(tmp_path)


@given(st.floats(0.9, 1.1))
def test_depth_codes_are_exact_to_half_a_step(depth):
    depth_range = DepthRange()
    code = encode_depth(np.array([depth]), np.array([True]), depth_range)
    assert code.dtype == np.uint16
    assert code[0] >= 1
    step = (depth_range.far - depth_range.near) / 65535
    assert abs(float(decode_depth(code, depth_range)[0]) - depth) <= step + 1e-7


def test_nearer_is_brighter_and_background_is_zero():
    codes = encode_depth(np.array([0.9, 1.0, 1.1, 1.0]), np.array([True, True, True, False]), DepthRange())
    assert codes.tolist() == [65535, 32768, 1, 0]
    assert decode_depth(np.array([0, 65535], np.uint16), DepthRange()).tolist() == pytest.approx([1.1, 0.9])


def test_codes_survive_decoding():
    codes = np.arange(1, 65536, dtype=np.uint16)
    depth = decode_depth(codes, DepthRange())
    np.testing.assert_array_equal(encode_depth(depth, np.ones_like(codes, bool), DepthRange()), codes)
