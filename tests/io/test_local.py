"""The local body: what the protocol says of files and folders, and files that are whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from rt2data.errors import OutputError, SourceChangedError, UsageError
from rt2data.io import location
from rt2data.io.location.base import Location, Range
from rt2data.io.location.folders import exchange, make_folder, temporary_folder
from rt2data.io.location.local import Local

LOCAL: Location = Local()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"0123456789")
    (tmp_path / "a" / "b" / "two").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    return tmp_path


@pytest.mark.parametrize("as_uri", [False, True])
def test_files_are_read_by_path_and_by_uri(tree: Path, as_uri: bool) -> None:
    name = (tree / "a" / "one").as_uri() if as_uri else tree / "a" / "one"
    assert location.stat(name).size == 10
    assert location.read_bytes(name) == b"0123456789" and location.read_text(name) == "0123456789"
    assert location.read_head(name, 3) == b"012" and location.read_range(name, 7, 9) == b"789"
    with location.open_file(name) as file, location.local_copy_or_path(name) as path:
        assert file.seek(-2, 2) == 8 and file.read() == b"89"
        assert path == tree / "a" / "one"


def test_kinds_of_names(tree: Path) -> None:
    kinds = {
        name: (location.exists(tree / name), location.is_file(tree / name), location.is_folder(tree / name))
        for name in ("a/one", "a", "link", "broken", "nothing", "a/one/x")
    }
    absent = (False, False, False)
    assert kinds == {
        "a/one": (True, True, False),
        "a": (True, False, True),
        "link": (True, False, True),
        "broken": absent,
        "nothing": absent,
        "a/one/x": absent,
    }
    assert location.identity(tree / "link") == location.identity(tree / "a") != location.identity(tree)


def test_listings(tree: Path) -> None:
    assert sorted((entry.name, entry.is_dir(), entry.is_file()) for entry in location.children(tree / "a")) == [
        ("b", True, False),
        ("one", False, True),
    ]
    found = {Path(name).name: stat.size for name, stat in location.files_below(tree / "a")}
    assert found == {"one": 10, "two": 3}
    assert list(location.files_below(tree / "nothing")) == []
    with pytest.raises(FileNotFoundError):
        list(location.children(tree / "nothing"))


def test_many_ranges_of_the_versions_that_were_listed(tree: Path) -> None:
    one, two = str(tree / "a" / "one"), str(tree / "a" / "b" / "two")
    version = LOCAL.stat(one).version
    assert LOCAL.read([Range(one, 2, 3, version), Range(two, 0, 2), Range(one, 9, 5)]) == [b"234", b"ab", b"9"]
    with pytest.raises(SourceChangedError, match="one"):
        LOCAL.read([Range(one, 0, 1, version + "0")])
    with pytest.raises(FileNotFoundError):
        LOCAL.read([Range(one + "x", 0, 1)])


def test_a_file_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    with location.whole_file(tmp_path / "out") as file:
        file.write(b"1")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out").read_bytes() == b"1"
    with pytest.raises(RuntimeError), location.whole_file(tmp_path / "out") as file:
        file.write(b"2")
        raise RuntimeError
    with pytest.raises(RuntimeError):
        location.produce_whole(tmp_path / "out", _half)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"out": b"1"}
    location.produce_whole(tmp_path / "out", lambda path: path.write_bytes(b"3") and None)
    location.write_whole((tmp_path / "other").as_uri(), b"4" * 100_000)
    assert location.read_bytes(tmp_path / "out") == b"3" and location.stat(tmp_path / "other").size == 100_000
    for name in ("out", "nothing", "other"):
        location.delete(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def _half(path: Path) -> None:
    path.write_bytes(b"half")
    raise RuntimeError


def test_what_cannot_be_written_is_named(tree: Path) -> None:
    for failing in (
        lambda: location.write_whole(tree / "a" / "one" / "x", b""),
        lambda: make_folder(tree / "a" / "one"),
        lambda: temporary_folder("x", tree / "nothing").__enter__(),
    ):
        with pytest.raises(OutputError, match="cannot write") as caught:
            failing()
        assert caught.value.code == 5 and caught.value.do


def test_two_folders_exchange_their_names(tree: Path) -> None:
    (tree / "c").mkdir()
    if exchange(tree / "a", tree / "c"):
        assert not list((tree / "a").iterdir()) and (tree / "c" / "one").is_file()
    assert not exchange(tree / "a", tree / "nothing")


@pytest.mark.parametrize("call", [location.stat, location.read_bytes, location.is_file, location.absolute, location.delete])
def test_no_function_takes_a_uri_without_a_body_for_a_path(call: object) -> None:
    for name in ("hdfs://host/x", Path("ftp://host/x")):
        with pytest.raises(UsageError, match=r"(hdfs|ftp):// is not supported"):
            call(name)  # type: ignore[operator]
