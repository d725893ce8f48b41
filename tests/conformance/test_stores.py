"""One suite for every store: a local folder and S3."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from invocation.gateways import s3
from invocation.gateways.stores import BadLocation, BadPath, LocalStore, Store, store_at

LARGE = s3.PART_BYTES * 2 + 17
"""More than two parts of an upload."""


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return store_at(tmp_path / "store" if request.param == "local" else request.getfixturevalue("s3_folder"))


def test_what_was_written_is_read_and_replaced(store: Store) -> None:
    store.write_whole("a/b.txt", b"one")
    store.write_whole("a/b.txt", b"three")

    assert store.read("a/b.txt") == b"three"
    assert store.size("a/b.txt") == 5
    assert store.exists("a/b.txt")


def test_what_is_not_there_says_so(store: Store) -> None:
    for ask in (store.read, store.size, store.stamp, store.open_input):
        with pytest.raises(FileNotFoundError):
            ask("none")
    assert not store.exists("none")
    assert list(store.list()) == []
    assert list(store.list("none")) == []


def test_a_stamp_tells_that_a_file_was_written_again(store: Store) -> None:
    store.write_whole("a.txt", b"one")
    before = store.stamp("a.txt")
    assert store.stamp("a.txt") == before

    store.write_whole("a.txt", b"two")
    assert store.stamp("a.txt").size == before.size
    assert store.stamp("a.txt") != before


def test_a_folder_is_no_file(store: Store) -> None:
    store.write_whole("a/b.txt", b"")

    assert not store.exists("a")
    with pytest.raises(FileNotFoundError):
        store.stamp("a")
    assert store.exists("a/b.txt")


def test_below_a_file_and_at_a_folder_there_is_no_file(store: Store) -> None:
    store.write_whole("a/b.txt", b"one")

    for path in ("a/b.txt/c", "a"):
        assert not store.exists(path)
        for ask in (store.read, store.size, store.stamp, store.open_input):
            with pytest.raises(FileNotFoundError):
                ask(path)
        store.remove(path)
    assert store.read("a/b.txt") == b"one"


def test_a_folder_can_lie_where_no_file_stands(store: Store) -> None:
    store.write_whole("a/b.txt", b"one")

    assert all(store.can_hold(path) for path in ("a", "a/c/d", "new"))


def test_in_a_folder_no_file_has_another_below_it(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.write_whole("a/b.txt", b"one")

    assert not any(store.can_hold(path) for path in ("a/b.txt", "a/b.txt/c/d"))


def test_what_goes_while_a_folder_is_listed_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_at(tmp_path)
    for path in ("a/1", "b/2"):
        store.write_whole(path, b"x")
    walk = os.walk

    def late(folder: Path) -> Iterator[Any]:
        for found in list(walk(folder)):
            store.remove("a/1")
            yield found

    monkeypatch.setattr(os, "walk", late)
    assert list(store.list()) == [("b/2", 1)]


def test_an_input_is_read_by_lines_and_seeks(store: Store) -> None:
    store.write_whole("lines", b"".join(b"line %d\n" % number for number in range(1000)))

    with store.open_input("lines") as file:
        assert file.readline(100) == b"line 0\n"
        assert file.readline(3) == b"lin"
        file.seek(7)
        assert file.readline() == b"line 1\n"
        assert file.tell() == 14
        assert len(file.read()) == store.size("lines") - 14
        assert file.read(10) == b""


def test_a_large_file_arrives_by_parts(store: Store) -> None:
    with store.open_whole("large") as file:
        for start in range(0, LARGE, 1_000_003):
            file.write(bytes([start % 251]) * min(1_000_003, LARGE - start))

    assert store.size("large") == LARGE
    with store.open_input("large") as file:
        file.seek(1_000_003)
        assert file.read(2) == bytes([1_000_003 % 251]) * 2


@pytest.mark.parametrize("length", [1, LARGE])
def test_an_error_while_writing_leaves_what_was_there(store: Store, length: int) -> None:
    store.write_whole("kept", b"before")

    with pytest.raises(RuntimeError, match="half way"):
        _break_off(store, "kept", b"x" * length)

    assert store.read("kept") == b"before"
    assert [path for path, _ in store.list()] == ["kept"]
    assert store.remove_abandoned(before=time.time() + 60) == 0


def _break_off(store: Store, path: str, content: bytes) -> None:
    with store.open_whole(path) as file:
        file.write(content)
        assert store.read(path) != content
        raise RuntimeError("half way")


def test_files_are_listed_in_order_by_folder(store: Store) -> None:
    for path in ("b/2", "b/1", "b/c/3", "bb/4", "a"):
        store.write_whole(path, path.encode())

    assert list(store.list()) == [("a", 1), ("b/1", 3), ("b/2", 3), ("b/c/3", 5), ("bb/4", 4)]
    assert [path for path, _ in store.list("b")] == ["b/1", "b/2", "b/c/3"]


def test_what_is_removed_is_gone_and_stays_gone(store: Store) -> None:
    for path in ("b/1", "b/c/2", "bb/3"):
        store.write_whole(path, b"x")

    store.remove("bb/3")
    store.remove("bb/3")
    store.remove("never")
    assert [path for path, _ in store.list()] == ["b/1", "b/c/2"]
    store.remove_tree("b")
    store.remove_tree("b")
    assert list(store.list()) == []


def test_what_of_a_folder_could_not_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.write_whole("b/1", b"x")

    def refuse(path: str, **_: Any) -> None:
        raise PermissionError(path)

    with monkeypatch.context() as refused:
        refused.setattr(os, "unlink", refuse)
        with pytest.raises(OSError, match="1"):
            store.remove_tree("b")
    store.remove_tree("b")
    assert list(store.list()) == []


def test_what_s3_says_that_it_did_not_remove_is_told() -> None:
    answered = Answers([{"Key": "in/b/1", "Code": "NoSuchKey"}, {"Key": "in/b/2", "Code": "SlowDown"}])

    with pytest.raises(OSError, match="in/b/2: SlowDown; 1 objects"):
        s3.S3Store("bucket", "in", answered).remove_tree("b")  # type: ignore[arg-type]


class Answers:
    """A connection to an S3 that answers every removal so; its list has one object."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        self.client = self
        self._errors = errors

    def get_paginator(self, _: str) -> Answers:
        return self

    def paginate(self, **_: str) -> list[dict[str, Any]]:
        return [{"Contents": [{"Key": "in/b/2", "Size": 1}]}]

    def delete_objects(self, **_: Any) -> dict[str, Any]:
        return {"Errors": self._errors}


@pytest.mark.parametrize("path", ["../out", "a/../../out", "/etc/passwd", "", "..", "a/..", "a\0b", "a/" + "b" * 256, "é" * 128])
def test_no_path_leads_out(store: Store, path: str) -> None:
    for act in (store.read, store.size, store.exists, store.remove, store.remove_tree, store.below, store.at, store.open_input):
        with pytest.raises(BadPath):
            act(path)
    with pytest.raises(BadPath):
        store.write_whole(path, b"")


def test_a_store_below_is_a_part_of_it(store: Store) -> None:
    store.below("a/b").write_whole("c", b"x")

    assert list(store.list()) == [("a/b/c", 1)]
    assert list(store.below("a").list()) == [("b/c", 1)]
    assert store.below("a").at("b/c") == store.at("a/b/c") == f"{store.location}/a/b/c"
    assert store_at(store.at("a/b")).read("c") == b"x"


def test_pyarrow_reads_and_writes_through_it(store: Store) -> None:
    table = pa.table({"n": list(range(1000))})
    with store.open_whole("d/part.parquet") as file, pq.ParquetWriter(file, table.schema) as writer:
        writer.write_table(table)

    found = ds.dataset(store.full("d"), filesystem=store.filesystem, format="parquet").to_table()
    assert found.equals(table)
    assert pq.read_table(store.full("d/part.parquet"), filesystem=store.filesystem).equals(table)


@pytest.mark.parametrize("location", ["", "ftp://host/x", "s3://", "s3:///x"])
def test_what_is_no_location_is_refused(location: str) -> None:
    with pytest.raises(BadLocation):
        store_at(location)


def test_a_link_does_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "link").symlink_to(tmp_path / "secret")

    with pytest.raises(BadPath):
        store_at(tmp_path / "store").read("link")


def test_a_writer_that_is_killed_leaves_nothing_to_see_in_a_folder(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    (tmp_path / "a").mkdir()
    left = tmp_path / "a" / ".kept-beside-0123"
    left.write_text("half")

    assert list(store.list()) == []
    assert store.remove_abandoned(before=left.stat().st_mtime) == 0
    assert store.remove_abandoned(before=left.stat().st_mtime + 1) == 1
    assert not left.exists()


def test_a_folder_that_is_made_for_a_file_is_as_durable_as_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk was asked to keep is looked at; only a loss of power would show what it did not."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(str(Path(f"/proc/self/fd/{number}").readlink())))
    store = LocalStore(tmp_path / "new" / "store")
    store.write_whole("a/b/one.txt", b"1")

    folders = [tmp_path, tmp_path / "new", store.folder, store.folder / "a", store.folder / "a" / "b"]
    assert [path for path in synced if "-beside-" not in path] == [str(folder) for folder in folders]
    synced.clear()
    store.write_whole("a/b/two.txt", b"2")
    assert [path for path in synced if "-beside-" not in path] == [str(store.folder / "a" / "b")]
