from concurrent.futures import ThreadPoolExecutor

import pytest

from scr3d import files
from scr3d.files import PARTIAL_MARK, PendingFolder, atomic_folder, atomic_path, write_bytes


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert temporary.suffix == path.suffix
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_the_old_one_as_a_whole(tmp_path):
    path = tmp_path / "a"
    (path / "old").mkdir(parents=True)
    leftover = tmp_path / f"{PARTIAL_MARK}a"
    (leftover / "stale").mkdir(parents=True)
    with atomic_folder(path) as temporary:
        (temporary / "new").write_text("")
        assert (path / "old").exists()
    assert [p.name for p in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_folder_keeps_the_old_one(tmp_path):
    path = tmp_path / "a"
    (path / "old").mkdir(parents=True)

    def fail():
        with atomic_folder(path) as temporary:
            (temporary / "new").write_text("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [p.name for p in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_pending_folder_is_flushed_and_put_in_place_when_it_is_finished(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(files, "flush", lambda path: flushed.append(path.name))
    path = tmp_path / "a"
    pending = PendingFolder(path)
    with pending as temporary:
        write_bytes(temporary / "one", b"1")
        write_bytes(temporary / "two", b"2")
        assert flushed == []
    assert not path.exists()
    write_bytes(tmp_path / "other", b"")
    assert flushed == [f"{PARTIAL_MARK}other"]
    with ThreadPoolExecutor(1) as pool:
        pool.submit(pending.finish).result()
    assert flushed[1:] == ["one", "two"]
    assert sorted(p.name for p in path.iterdir()) == ["one", "two"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "other"]


def test_a_folder_that_cannot_be_flushed_leaves_the_old_one(tmp_path, monkeypatch):
    def fail(path):
        raise OSError(28, "No space left on device")

    path = tmp_path / "a"
    (path / "old").mkdir(parents=True)
    pending = PendingFolder(path)
    with pending as temporary:
        write_bytes(temporary / "new", b"")
    monkeypatch.setattr(files, "flush", fail)
    with pytest.raises(OSError, match="No space"):
        pending.finish()
    assert [p.name for p in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]
