"""Results on the shelf: names, which files are served, removal."""

import os
import time

from otoscope.app.shelf import Cleaner, Shelf, folder_bytes, remove_old


def test_only_files_of_results_are_served(tmp_path):
    shelf = Shelf(tmp_path / "results", 60)
    token = shelf.add()
    (shelf.folder / token / "report.html").write_text("x")
    (shelf.folder / token / "secret.txt").write_text("x")
    (tmp_path / "report.html").write_text("x")
    assert shelf.file(token, "report.html") == shelf.folder / token / "report.html"
    assert shelf.file(token, "explanation.zip") is None  # not written
    assert shelf.file(token, "secret.txt") is None
    for other in ("..", ".", "", f"../results/{token}", token[:-1], token + "/.."):
        assert shelf.file(other, "report.html") is None
    shelf.remove(token)
    assert shelf.file(token, "report.html") is None


def test_names_of_results_differ(tmp_path):
    shelf = Shelf(tmp_path, 60)
    tokens = {shelf.add() for _ in range(100)}
    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {22}


def test_old_results_are_removed(tmp_path):
    shelf = Shelf(tmp_path, 3600)
    old, new = shelf.add(), shelf.add()
    (shelf.folder / old / "report.html").write_text("x")
    os.utime(shelf.folder / old, (0, time.time() - 3601))
    (shelf.folder / "loose").write_text("x")
    os.utime(shelf.folder / "loose", (0, 0))
    assert remove_old(tmp_path, 3600) == 2
    assert [path.name for path in tmp_path.iterdir()] == [new]
    assert remove_old(tmp_path / "absent", 3600) == 0


def test_cleaner_removes_until_it_is_stopped(tmp_path):
    shelf = Shelf(tmp_path, 0.05)
    cleaner = Cleaner([tmp_path], keep_s=0.05, every_s=0.02)
    shelf.add()
    cleaner.start()
    deadline = time.monotonic() + 10
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not list(tmp_path.iterdir())
    cleaner.stop()
    assert not cleaner.is_alive()
    token = shelf.add()
    time.sleep(0.15)
    assert (tmp_path / token).is_dir()


def test_size_of_a_folder(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"12345")
    (tmp_path / "d").write_bytes(b"1")
    assert folder_bytes(tmp_path) == 6
    assert folder_bytes(tmp_path / "absent") == 0
