"""Builds whose sources are on a hub or a web server: the same bytes as from a disk, whatever goes wrong, and no secret kept."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import rt2data as package
from tests.faults.command import Ended, Warm, running
from tests.faults.conftest import INLINE, RECIPE, Place, make_place

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")
pytest.importorskip("huggingface_hub", reason="the extra `hf` is not installed")

from rt2data.io.installation import schemas
from rt2data.io.location.https import web_of
from rt2data.io.location.hub import repository_of
from tests.objects.web import REPOSITORY, SIGNATURE, TOKEN, Web, web
from tests.render.tiny import llama_like

pytestmark = pytest.mark.long
slow = pytest.mark.slow
BAD = {"unavailable": 0.02, "reset": 0.02, "cut": 0.01}
"""Of a hundred requests five go wrong."""
HUB = f"hf://{REPOSITORY}"


@dataclass(frozen=True)
class Near:
    """A folder to build in; the data is elsewhere."""

    served: Web
    folder: Path

    @property
    def env(self) -> dict[str, str | None]:
        return {**self.served.env, "HF_HOME": str(self.folder / "no-token-here")}

    def place(self, scheme: str, name: str = "mixture") -> str:
        return f"{HUB}/{name}" if scheme == "hf" else self.served.uri(name)

    def recipe(self, *changes: tuple[str, str]) -> None:
        text = RECIPE.format(data=f"{HUB}/data")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (self.folder / "mixture.yaml").write_text(text)

    def build(self, warm: Warm, *more: str) -> Ended:
        return warm(self.folder, *INLINE, *more, env=self.env)

    def same_as(self, built: Place) -> None:
        """Fails unless all files but the manifest, which names paths, are those of a build from the disk; and no secret is here."""
        here, there = hashes(self.folder / "mixture"), hashes(built.out)
        assert here.pop("manifest.json") and there.pop("manifest.json") and here == there
        self.tells_nothing()

    def tells_nothing(self, *said: str) -> None:
        contents = [path.read_bytes() for path in self.folder.rglob("*") if path.is_file()] + [text.encode() for text in said]
        assert contents and not [each for each in contents if TOKEN.encode() in each or SIGNATURE.encode() in each]


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def running_web() -> Iterator[Web]:
    with web() as found:
        yield found


@pytest.fixture
def near(running_web: Web, data: Path, built: Place, tmp_path: Path) -> Near:
    running_web.files = {}
    folders = {"data/": data, "mixture/": built.out, "store/": built.folder / "store", "actions/": schemas() / "actions"}
    served = [running_web.upload(folder, prefix) for prefix, folder in folders.items()]
    running_web.commit(dict(each for found in served for each in found.items()))
    running_web.token, running_web.ranges = TOKEN, True
    running_web.leaks.clear()
    running_web.reset()
    found = Near(running_web, tmp_path)
    found.recipe()
    return found


@pytest.fixture
def found_here(near: Near, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in near.served.env.items():
        monkeypatch.setenv(name, value)
    web_of.cache_clear()
    repository_of.cache_clear()


def test_sources_on_a_hub(near: Near, warm: Warm, built: Place) -> None:
    """An RLDS dataset and a VQAv2 corpus. Nothing new is found the second time, and no content is read."""
    ended = near.build(warm, "--json")
    ended.succeeded()
    near.same_as(built)
    near.tells_nothing(ended.out, ended.err)
    assert near.served.leaks == [] and near.served.counters.requests["get"] > 50
    near.served.reset()
    again = near.build(warm)
    again.succeeded()
    assert "nothing to do" in again.err
    assert {Path(name).suffix for name in near.served.counters.keys_read} == {".json"}


@slow
def test_requests_fail(near: Near, warm: Warm, built: Place) -> None:
    with near.served.faults(**BAD, seed=4):
        ended = near.build(warm)
    ended.succeeded()
    assert sum(near.served.counters.faults.values()) >= 5
    near.same_as(built)
    near.tells_nothing(ended.out, ended.err)


@pytest.mark.parametrize("ranges", [pytest.param(True, marks=slow), False])
def test_files_of_a_web_server(ranges: bool, near: Near, warm: Warm, built: Place) -> None:
    """The recipe and both JSON files; images need a folder that can be listed."""
    near.served.ranges = ranges
    at = near.served.uri("data")
    near.recipe((f"{HUB}/data/web/questions", f"{at}/web/questions"), (f"{HUB}/data/web/annotations", f"{at}/web/annotations"))
    text = (near.folder / "mixture.yaml").read_text().replace("store: store", f"store: {near.folder}/store")
    near.served.ranges = True
    near.served.files["recipe/mixture.yaml"] = text.replace(f"{HUB}/data/web/images", f"{built.data}/web/images").replace(
        f"{HUB}/data/log", f"{built.data}/log"
    ).encode()  # fmt: skip
    near.served.ranges = ranges
    warm(near.folder, *INLINE, near.served.uri("recipe/mixture.yaml"), "-o", "mixture", env=near.env).succeeded()
    near.same_as(built)


@slow
@pytest.mark.parametrize("scheme", ["http", "hf"])
def test_a_tokenizer_and_an_action_space(scheme: str, near: Near, warm: Warm, built: Place, tmp_path: Path) -> None:
    content = llama_like().encode()
    (tmp_path / "tokenizer.json").write_bytes(content)
    near.served.files["tokenizer.json"] = content
    near.served.commit(near.served.commits[near.served.branches["main"]] | {"tokenizer.json": content})
    local = make_place(tmp_path / "local", built.data)
    warm(local.folder, *INLINE, "--set", f"tokenizer={{kind: hf, path: {tmp_path}/tokenizer.json}}").succeeded()
    chosen = "--set", f"tokenizer={{kind: hf, path: '{near.place(scheme, 'tokenizer.json')}'}}"
    near.build(warm, *chosen).succeeded()
    near.same_as(local)
    space = near.place(scheme, "actions/widowx_bridge.toml")
    near.build(warm, *chosen, "--set", f"robot.log.action_space={space}", "-o", "other").succeeded()
    one, other = (
        next(iter(package.load(near.folder / name, columns=["input_ids", "action_space"]))) for name in ("mixture", "other")
    )
    assert list(one["input_ids"]) == list(other["input_ids"])


@slow
def test_a_branch_moves_midway(near: Near) -> None:
    shard = next(name for name in near.served.commits[near.served.branches["main"]] if ".tfrecord" in name)
    files = near.served.commits[near.served.branches["main"]]
    before = near.served.resolved
    with running(near.folder, "build-mixture", "--workers", "1", env=near.env) as command:
        until = time.monotonic() + 40
        while near.served.resolved == before and time.monotonic() < until:
            time.sleep(0.005)
        near.served.commit(files | {shard: files[shard][:-1] + bytes([files[shard][-1] ^ 1])})
        ended = command.wait()
    ended.failed(7, Path(shard).name)
    assert not (near.folder / "mixture").exists()


def test_what_goes_wrong(near: Near, warm: Warm) -> None:
    near.recipe((f"{HUB}/data/web/images", near.served.uri("data/web/images")))
    near.build(warm).failed(2, "folders of http:// cannot be listed", "data/web/images")
    near.recipe((f"{HUB}/data/log", f"{HUB}/data/lag"))
    near.build(warm).failed(2, "there is no such folder", f"{HUB}/data/log")
    near.recipe()
    near.served.token = "hf_another"
    ended = near.build(warm)
    ended.failed(3, "set HF_TOKEN", HUB)
    near.tells_nothing(ended.out, ended.err)
    near.build(warm, "-o", "https://host/m").failed(2, "https:// is read only", "https://host/m")
    near.build(warm, "-o", "https://user:hidden@host/m").failed(2, "no user before an `@`")


@pytest.mark.usefixtures("found_here")
@pytest.mark.parametrize("scheme", ["http", "hf"])
def test_a_mixture_is_read(scheme: str, near: Near, warm: Warm, built: Place) -> None:
    place = near.place(scheme)
    there, here = (list(package.load(each, decode="jpeg")) for each in (place, built.out))
    assert [example["key"] for example in there] == [example["key"] for example in here]
    assert all(bytes(one["image"]) == bytes(other["image"]) for one, other in zip(there, here, strict=True))


@slow
@pytest.mark.parametrize("scheme", ["http", "hf"])
def test_what_is_finished_is_looked_at(scheme: str, near: Near, warm: Warm, built: Place) -> None:
    place = near.place(scheme)
    (store,) = (entry.name for entry in (built.folder / "store").glob("qa-*"))
    for command in (("inspect",), ("stats", "--workers", "0"), ("view", "-n", "1")):
        for seen in (place, near.place(scheme, f"store/{store}")):
            warm(near.folder, *command, seen, env=near.env).succeeded()
    verified = warm(near.folder, "verify", place, "--workers", "0", env=near.env)
    if scheme == "hf":
        verified.succeeded()
    else:
        verified.failed(2, "folders of http:// cannot be listed")
