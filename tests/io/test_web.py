"""Files of a web server and of a hub, by name, over loopback: the bytes and the errors of any other place, and no secret told."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from rt2data.errors import DataError, SourceChangedError, UsageError
from rt2data.io import location
from rt2data.io.location.base import Range
from tests.faults.command import environment

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")
pytest.importorskip("huggingface_hub", reason="the extra `hf` is not installed")

from rt2data.io.location.ahead import Ahead, Heads
from rt2data.io.location.https import WHOLE, web_of
from rt2data.io.location.hub import repository_of
from rt2data.io.location.object_file import LARGEST
from rt2data.io.location.requests import RETRY
from rt2data.io.stamps import changed, stamps_of
from tests.io.test_objects import FORKED
from tests.objects.web import REPOSITORY, SIGNATURE, TOKEN, Web, sha1, web

CONTENT = {
    "small": b"0123456789",
    "empty": b"",
    "deep/er/large": bytes(range(251)) * (2 * LARGEST // 251),
    "deep/a b+c%20d#é.bin": os.urandom(3000),
    **{f"many/{number:03d}": b"%d" % number for number in range(250)},
}
BAD = {"unavailable": 0.05, "reset": 0.05, "cut": 0.05}
"""Of a hundred requests fifteen go wrong."""


@dataclass(frozen=True)
class Kept:
    """The same files on a web server, or on a hub."""

    served: Web
    scheme: str

    def uri(self, name: str) -> str:
        if self.scheme == "hf":
            return f"hf://{REPOSITORY}/{name}"
        return self.served.uri(name.replace("%", "%25").replace("#", "%23"))


@pytest.fixture(scope="module")
def running() -> Iterator[Web]:
    with web() as found:
        yield found


@pytest.fixture
def served(running: Web, monkeypatch: pytest.MonkeyPatch) -> Web:
    """As new, and found by this process."""
    new = Web()
    for name in ("etag", "modified", "ranges", "heeds_conditions", "token", "page", "is_dead"):
        setattr(running, name, getattr(new, name))
    running.files, running.leaks = dict(CONTENT), []
    running.commits, running.branches = {}, {}
    running.commit(CONTENT)
    running.reset()
    for name, value in running.env.items():
        monkeypatch.setenv(name, value)
    forget()
    return running


def forget() -> None:
    """As a new process."""
    web_of.cache_clear()
    repository_of.cache_clear()


@pytest.fixture(params=["http", "hf"])
def kept(request: pytest.FixtureRequest, served: Web) -> Kept:
    return Kept(served, request.param)


# What every place does


@pytest.mark.parametrize("name", [name for name in CONTENT if "many" not in name])
def test_a_file(kept: Kept, name: str) -> None:
    uri, content = kept.uri(name), CONTENT[name]
    assert location.stat(uri).size == len(content)
    assert location.is_file(uri) and location.exists(uri) and not location.is_folder(uri)
    assert location.read_bytes(uri) == content == bytes(location.mapped(uri))
    assert location.read_head(uri, 7) == content[:7] and location.read_range(uri, 3, 4) == content[3:7]
    assert location.read_range(uri, len(content) + 10, 3) == b"" and location.read_range(uri, 5, 10**6)[:100] == content[5:105]
    with location.open_file(uri) as file:
        assert file.seek(-3 if content else 0, 2) >= 0 and file.read() == content[-3:]
    with location.local_copy_or_path(uri) as path:
        assert path.read_bytes() == content
    assert str(location.path_of(uri)) == uri and str(location.absolute(uri)) == uri


def test_many_files(kept: Kept) -> None:
    names = [kept.uri(f"many/{number:03d}") for number in range(250)]
    found = location.stats([*names, kept.uri("many/gone")])
    assert [stat and stat.size for stat in found] == [*(len(str(number)) for number in range(250)), None]
    heads = Heads(names, 2)
    assert [heads.read(name) for name in names] == [(b"%d" % number)[:2] for number in range(250)]
    ranges = [Range(name, 0, 3, stat.version) for name, stat in zip(names, found, strict=False) if stat]
    ahead = Ahead()
    ahead.want(ranges)
    assert [bytes(ahead.take(each)) for each in ranges] == [b"%d" % number for number in range(250)]


def test_a_file_that_is_not_there(kept: Kept) -> None:
    for call in (location.stat, location.read_bytes, location.mapped):
        with pytest.raises(FileNotFoundError) as caught:
            call(kept.uri("no/where"))
        assert caught.value.filename == kept.uri("no/where")
    assert not location.is_file(kept.uri("no/where")) and not location.exists(kept.uri("no/where"))


def test_answers_that_break_off_are_asked_for_again(kept: Kept) -> None:
    uris = [kept.uri(name) for name in CONTENT]
    with kept.served.faults(**BAD, seed=3), ThreadPoolExecutor(32) as pool:
        assert list(pool.map(location.read_bytes, uris)) == list(CONTENT.values())
        assert sum(kept.served.counters.faults.values()) > 20


def test_a_file_changed_midway(kept: Kept) -> None:
    uri = kept.uri("small")
    (stamp,) = stamps_of([uri])
    fresh = b"9876543210"
    kept.served.files["small"] = fresh
    kept.served.commit(CONTENT | {"small": fresh})
    for heeds in (True, False):
        kept.served.heeds_conditions = heeds
        forget()  # as in another process, which resolves the branch anew
        with pytest.raises(SourceChangedError, match=r"changed since it was listed"):
            location.resolve(uri)[0].read([Range(uri, 0, 4, stamp.version)])
        assert changed([stamp]) == [uri]


def test_a_commit_stays(served: Web) -> None:
    """A process that resolved a branch reads that commit to the end; a commit can be named."""
    name = f"hf://{REPOSITORY}/small"
    before, first = location.read_bytes(name), served.branches["main"]
    served.commit(CONTENT | {"small": b"new"})
    assert location.read_bytes(name) == before
    forget()
    assert location.read_bytes(name) == b"new"
    assert location.read_bytes(f"hf://{REPOSITORY}@{first}/small") == before
    served.commit(CONTENT, branch="refs/pr/3")


def test_nothing_is_written(kept: Kept, tmp_path: Path) -> None:
    uri = kept.uri("small")
    kept.served.reset()
    with pytest.raises(UsageError, match=rf"^{kept.scheme}:// is read only") as caught:
        location.write_whole(uri, b"x")
    assert caught.value.code == 2
    for call in (location.delete, location.remove_folder, lambda name: location.produce_whole(name, lambda path: None)):
        with pytest.raises(UsageError, match="is read only"):
            call(uri)
    assert not kept.served.counters.requests


@pytest.mark.parametrize("status", [401, 403])
def test_what_may_not_be_read(status: int, served: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PermissionError, match=r"sends none over http://") as caught:
        location.read_bytes(served.uri(f"{status}/x"))
    assert caught.value.filename == served.uri(f"{status}/x")
    served.token = "hf_another"
    with pytest.raises(PermissionError, match=r"set HF_TOKEN, or run `hf auth login`") as caught:
        location.read_bytes(f"hf://{REPOSITORY}/small")
    assert TOKEN not in str(caught.value)


def test_a_forked_process_is_told(kept: Kept) -> None:
    command = [sys.executable, "-c", FORKED, kept.uri("small")]
    changes = dict(kept.served.env)
    ended = subprocess.run(command, env=environment(changes), timeout=60, capture_output=True, text=True, check=False)
    assert ended.returncode == 7, ended.stderr


# A web server


def test_redirects(served: Web) -> None:
    assert location.read_bytes(served.uri("moved/small")) == CONTENT["small"]
    assert location.read_range(served.uri("moved/small"), 2, 3) == b"234"


@pytest.mark.parametrize(
    ("etag", "version"), [("strong", f'"{sha1(CONTENT["small"])}"'), ("weak", "2001-09-09"), ("none", "2001-09-09")]
)
def test_versions(etag: str, version: str, served: Web) -> None:
    served.etag = etag
    uri = served.uri("small")
    found = location.stat(uri)
    assert found.version.startswith(version)
    wanted = Range(uri, 1, 3, found.version)
    assert location.resolve(uri)[0].read([wanted]) == [b"123"]
    if etag == "strong":
        served.files["small"] = b"abcdefghij"
    else:
        served.modified = 1_000_000_100.0
    with pytest.raises(SourceChangedError):
        location.resolve(uri)[0].read([wanted])


def test_a_server_that_tells_no_version(served: Web) -> None:
    served.etag, served.modified = "none", None
    with pytest.raises(DataError, match="neither an ETag nor when the file was modified") as caught:
        location.read_bytes(served.uri("small"))
    assert caught.value.code == 3


def test_a_server_that_gives_no_parts(served: Web) -> None:
    served.ranges = False
    name = "deep/a b+c%20d#é.bin"
    uri = Kept(served, "http").uri(name)
    assert location.read_bytes(uri) == CONTENT[name] and location.read_range(uri, 10, 5) == CONTENT[name][10:15]
    served.files["huge"] = bytes(WHOLE + 1)
    with pytest.raises(DataError, match="does not give parts of a file, and this one has 16,777,217 bytes"):
        location.read_bytes(served.uri("huge"))


def test_folders_are_not_listed(served: Web) -> None:
    for call in (location.is_folder, lambda name: list(location.children(name)), lambda name: list(location.files_below(name))):
        with pytest.raises(UsageError, match=r"folders of http:// cannot be listed .*-> name a file .* hf://, gs://"):
            call(served.uri("deep"))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://host/x", "this machine only"),
        ("http://10.0.0.1/x", "this machine only"),
        ("https://user:hidden@host/x", "no user before an `@`"),
        ("https://host/x?token=hidden", "no `[?]`"),
        ("https://host/a//b", "no empty part"),
        ("https://host/a/../b", "as a part"),
        ("hf://datasets/x", "names no repository"),
        ("hf://x", "names no repository"),
        ("hf://buckets/a/b/c", "names no repository"),
    ],
)
def test_names_of_no_file(uri: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        location.path_of(uri)
    assert "hidden" not in str(caught.value) and caught.value.code == 2


# A hub


def test_the_tree_of_a_commit(served: Web) -> None:
    served.page = 50
    root = f"hf://{REPOSITORY}"
    assert {entry.name: entry.is_dir() for entry in location.children(root)} == {
        "small": False, "empty": False, "deep": True, "many": True
    }  # fmt: skip
    below = dict(location.files_below(root))
    assert {name.removeprefix(f"{root}/") for name in below} == set(CONTENT)
    assert [entry.path for entry in location.children(f"{root}/deep/er")] == [f"{root}/deep/er/large"]
    assert location.is_folder(root) and location.is_folder(f"{root}/deep/er") and not location.is_folder(f"{root}/none")
    large, small = CONTENT["deep/er/large"], CONTENT["small"]
    assert (
        location.stat(f"{root}/deep/er/large") == (len(large), hashlib.sha256(large).hexdigest()) == below[f"{root}/deep/er/large"]
    )
    assert location.stat(f"{root}/small") == (len(small), sha1(small))


def test_a_folder_is_asked_for_once(served: Web) -> None:
    names = [f"hf://{REPOSITORY}/many/{number:03d}" for number in range(250)]
    found = location.stats(names)
    wanted = [Range(name, 0, 3, stat.version) for name, stat in zip(names, found, strict=True) if stat]
    assert location.resolve(names[0])[0].read(wanted) == [b"%d" % number for number in range(250)]
    asked = served.counters.requests
    assert set(asked) == {"get"} and 252 <= asked["get"] <= 255, "one for the commit, one for the folder; some asked again"


@pytest.mark.parametrize("name", ["datasets/lab/none/x", "datasets/lab/logs@none/x", "lab/logs/x"])
def test_no_such_repository(name: str, served: Web) -> None:
    with pytest.raises(FileNotFoundError):
        location.stat(f"hf://{name}")
    assert not location.exists(f"hf://{name}") and not location.is_folder(f"hf://{name}")


def test_the_token_goes_to_the_hub_only(served: Web) -> None:
    served.token = TOKEN
    assert location.read_bytes(f"hf://{REPOSITORY}/deep/er/large") == CONTENT["deep/er/large"]
    assert location.read_bytes(f"hf://{REPOSITORY}/small") == CONTENT["small"]
    assert served.leaks == []


def test_an_error_tells_no_signature(served: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RETRY, "max_retries", 0)
    monkeypatch.setattr("rt2data.io.location.requests.TRIES", 1)
    served.is_dead = True
    with pytest.raises(OSError, match="fails") as caught:
        location.read_bytes(f"hf://{REPOSITORY}/deep/er/large")
    assert SIGNATURE not in str(caught.value) and caught.value.filename == f"hf://{REPOSITORY}/deep/er/large"


def test_the_token_of_a_file(served: Web, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    served.token = TOKEN
    script = f"from rt2data.io import location; print(location.read_bytes('hf://{REPOSITORY}/small').decode())"
    changes = {**served.env, "HF_TOKEN": None, "HF_HOME": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment(changes), capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "0123456789\n"), ended.stderr
    assert TOKEN not in ended.stderr and SIGNATURE not in ended.stderr
