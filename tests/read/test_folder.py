"""Logs of folders: what is written is what is read, and nothing outside of an episode's folder is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.build import Site, build_plainly
from rt2data.cli.app import app
from rt2data.errors import DataError, UsageError
from rt2data.images.ready import ImageFault
from rt2data.look.verify import verify
from rt2data.plan.recipe import parse_recipe
from rt2data.read.episode_files import episode_name, plain_name
from rt2data.read.folder.source import FolderLog
from rt2data.read.source import recognize
from tests.conftest import ROOT
from tests.contract.toy import jpeg
from tests.read import folders
from tests.read.reading import records, rejects, steps


def source(path: Path, space: str = "widowx_bridge", **settings: Any) -> FolderLog:
    return FolderLog.model_validate({"path": str(path), "action_space": space, **settings})


def one(folder: Path, *lines: Any) -> FolderLog:
    """A log of a whole episode and one of these lines."""
    folders.write(folder, [3])
    folders.write_episode(folder / "other", lines, seed=9)
    return source(folder)


# Values


def test_written_is_read(tmp_path: Path) -> None:
    path = folders.write(tmp_path / "log", [5, 7])
    found = steps(source(path))
    assert [(step.episode, step.step) for step in found] == [("episode_0", n) for n in range(5)] + [
        ("episode_1", n) for n in range(7)
    ]
    for step in found:
        seed = int(step.episode[-1])
        wrote = folders.step(step.step, step.steps, seed)
        assert (step.action == np.array(wrote["action"], np.float32)).all() and step.action.dtype == np.float32
        assert step.state is not None and (step.state == np.array(wrote["state"], np.float32)).all()
        assert step.timestamp == wrote["timestamp"] and step.instruction == f"lift block {seed}"
        assert step.success == (seed % 2 == 0 if step.is_last else None)
        for image in step.images:
            whole = (path / step.episode / wrote["images"][image.camera]).read_bytes()
            assert image.content() == whole
            assert image.place == (str(path / step.episode / wrote["images"][image.camera]), 0, len(whole))


def test_episodes_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("ep_10", "ep_9", "ep_1", "take 2", "ep_100"):
        folders.write_episode(tmp_path / name, [folders.step(0, 1)])
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes").mkdir()
    assert list(dict.fromkeys(step.episode for step in steps(source(tmp_path)))) == [
        *("ep_1", "ep_9", "ep_10", "ep_100"),
        episode_name("take 2"),
    ]


@pytest.mark.parametrize("folder", ["take 2", "a" * 41, "ä", "a.b", "\udcff"])
def test_names_that_do_not_fit(folder: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", episode_name(folder))
    assert episode_name(folder) != episode_name(folder + "_")


def test_features_of_any_name(tmp_path: Path) -> None:
    lines = [
        {"obs": {"pos": [[1, 2], [3, n]], "grip": True}, "act": {"arm": [n, 2, 3]}, "task": "go", "images": {"l": {"rgb": "a.jpg"}}}
        for n in range(3)
    ]
    folders.write_episode(tmp_path / "a", [{**each, "images": {}} for each in lines])
    found = source(tmp_path, "generic_nd", action=["act/arm[1:3]", "obs/grip"], state="obs/pos")
    assert [step.action.tolist() for step in steps(found)] == [[2, 3, 1]] * 3
    assert [step.state.tolist() for step in steps(found) if step.state is not None] == [[1, 2, 3, n] for n in range(3)]
    assert {column.path for column in found.columns()} == {"obs/pos", "obs/grip", "act/arm", "task"}


def test_cameras(tmp_path: Path) -> None:
    """One that only later steps have is read too; names may be given."""
    first = [{"action": [0], "images": {"front": "0.jpg"}}]
    later = [{"action": [0], "images": {"front": "0.jpg"}}, {"action": [0], "images": {"top": "1.jpg", "front": None}}]
    for number in range(17):
        folders.write_episode(tmp_path / f"{number:02d}", [json.dumps(each) for each in (first if number < 16 else later)])
        (tmp_path / f"{number:02d}" / "0.jpg").write_bytes(jpeg(1))
    (tmp_path / "16" / "1.jpg").write_bytes(jpeg(2))
    last = [[image.camera for image in step.images] for step in steps(source(tmp_path, "generic_nd"))][-2:]
    assert last == [["front"], ["top"]]
    named = steps(source(tmp_path, "generic_nd", camera_features={"eye": "images/front"}))
    assert [[image.camera for image in step.images] for step in named][-2:] == [["eye"], []]


def test_numbers_beyond_what_is_finite(tmp_path: Path) -> None:
    """json.dumps writes NaN; the step is dropped when it is standardized, not here."""
    found = one(tmp_path, *(f'{{"action": [{value}, 0, 0, 0, 0, 0, 0], "state": [0]}}' for value in ("NaN", "1e300")))
    assert [np.isfinite(step.action).all() for step in steps(found)] == [True] * 3 + [False] * 2


def test_words_that_the_recipe_gives(tmp_path: Path) -> None:
    assert {step.instruction for step in steps(source(folders.write(tmp_path), text="wipe"))} == {"wipe"}


# Damage


BAD_LINES = {
    "cut": '{"action": [1, 2',
    "no JSON": "hello",
    "no object": "[1, 2]",
    "a key twice": '{"action": [1], "action": [2]}',
    "too deep": '{"action": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "a number of 5,000 digits": '{"action": [' + "1" * 5000 + "]}",
    "half a surrogate": '{"action": [1], "instruction": "\\ud800"}',
    "half a surrogate in a key": '{"action": [1], "images": {"\\ud800": "a.jpg"}}',
    "no UTF-8": '{"action": [1], "instruction": "\ud800"}',
}


@pytest.mark.parametrize("what", BAD_LINES)
def test_a_bad_line_costs_its_episode(what: str, tmp_path: Path) -> None:
    found = one(tmp_path, folders.step(0, 3), "", BAD_LINES[what], folders.step(2, 3))
    (lost,) = rejects(found)
    assert (lost.reason, lost.count) == ("bad_json", 2)
    assert "line 3" in lost.detail and lost.where == f"{tmp_path}/other/steps.jsonl, episode other"
    assert len(steps(found)) == 3


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rt2data.read.folder.steps.MAX_LINE", 2000)
    found = one(tmp_path, folders.step(0, 2), json.dumps({"action": [1] * 2000}))
    assert [(each.reason, "longer than" in each.detail) for each in rejects(found)] == [("bad_json", True)]


def test_a_step_without_its_action(tmp_path: Path) -> None:
    found = one(tmp_path, folders.step(0, 2), {"state": [1, 2, 3, 4]})
    assert [(each.reason, "line 2" in each.detail) for each in rejects(found)] == [("missing_feature", True)]


@pytest.mark.parametrize(
    ("value", "said"), [([1, 2], "has 2 numbers, and 7 before"), ("x", "is not numbers"), ([[1], [2, 3]], "not numbers")]
)
def test_an_action_of_another_width_or_kind_stops(value: Any, said: str, tmp_path: Path) -> None:
    found = one(tmp_path, folders.step(0, 2), folders.step(1, 2) | {"action": value})
    with pytest.raises(DataError, match=rf"{said} \[.*other/steps.jsonl, line 2"):
        records(found)


def test_an_image_that_is_missing(tmp_path: Path) -> None:
    found = one(tmp_path, *(folders.step(number, 3) for number in range(3)))
    (tmp_path / "other/front/000001.jpg").unlink()
    (tmp_path / "other/wrist_2.jpg").unlink()
    front = [step.images[0] for step in steps(found)][3:]
    assert [image.place is None for image in front] == [False, True, False]
    with pytest.raises(ImageFault, match=r"other/front/000001\.jpg: there is no such image") as caught:
        front[1].content()
    assert caught.value.reason == "missing_image"


UNSAFE = (
    "../secret.jpg",
    "front/../../secret.jpg",
    "/etc/secret.jpg",
    "file:///etc/secret.jpg",
    "a\\..\\b.jpg",
    "gs://b/x.jpg",
    "",
)


@pytest.mark.parametrize("name", UNSAFE)
def test_names_that_lead_out(name: str, tmp_path: Path) -> None:
    assert plain_name(name) is None
    (tmp_path / "secret.jpg").write_bytes(jpeg(1))
    found = one(tmp_path / "log", json.dumps(folders.step(0, 1) | {"images": {"front": name or " "}}))
    image = steps(found)[3].images[0]
    assert image.place is None
    with pytest.raises(ImageFault) as caught:
        image.content()
    assert caught.value.reason == ("unsafe_path" if name else "missing_image")


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/0.jpg").write_bytes(jpeg(1))
    log = folders.write(tmp_path / "log", [3])
    folders.write_episode(log / "other", [json.dumps({"action": [0] * 7, "state": [0], "images": {"a": "a/0.jpg", "b": "b.jpg"}})])
    (log / "other/a").symlink_to(tmp_path / "outside")
    (log / "other/b.jpg").symlink_to(tmp_path / "outside/0.jpg")
    for image in steps(source(log))[3].images:
        with pytest.raises(ImageFault, match="links are not followed"):
            image.content()
    assert not [path for path in source(log).files() if "outside" in os.path.realpath(path)]
    (log / "linked").symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="holds a link"):
        source(log).units()


def test_what_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder with a steps\.jsonl"):
        (tmp_path / "x" / "y").mkdir(parents=True)
        source(tmp_path).units()
    with pytest.raises(UsageError):
        source(tmp_path / "nothing").units()
    folders.write_episode(tmp_path / "log" / "a", [{"state": [1]}])
    with pytest.raises(UsageError, match=r"no feature is known to be the action.*there is state"):
        source(tmp_path / "log").units()


# Names, growth, cost


def test_what_is_recognized(tmp_path: Path) -> None:
    path = folders.write(tmp_path / "log")
    found = FolderLog.recognize(path)
    assert found is not None and found.settings == {"path": str(path)} and found.name == "log"
    for given, what in (
        (path, "a folder of episodes with steps.jsonl"),
        (path / "episode_0", "an episode of a log"),
        (path / "episode_0" / "steps.jsonl", "an episode of a log"),
    ):
        told = recognize(given)
        assert told is not None and told.what == what and f"name {path} " in told.do
    assert FolderLog.recognize(path / "episode_0") is None


def test_what_is_new_is_read_and_nothing_else(tmp_path: Path) -> None:
    found = source(folders.write(tmp_path))
    before = {unit.path: basis for unit, basis in zip(found.parts({}), found.bases(found.parts({})), strict=True)}
    folders.write_episode(tmp_path / "episode_3", [folders.step(0, 1)])
    (tmp_path / "episode_1/wrist_0.jpg").write_bytes(jpeg(77) + b"x")
    after = {unit.path: basis for unit, basis in zip(found.parts({}), found.bases(found.parts({})), strict=True)}
    changed = [path for path in after if after[path] != before.get(path)]
    assert changed == [f"{tmp_path}/episode_1/steps.jsonl", f"{tmp_path}/episode_3/steps.jsonl"]


@pytest.mark.slow
def test_memory_is_that_of_the_numbers(tmp_path: Path) -> None:
    """Images are as many and as large as they like."""
    script = (
        "import sys; from rt2data.read.folder.source import FolderLog\n"
        "found = FolderLog(path=sys.argv[1], action_space='generic_nd')\n"
        "for unit in found.units():\n"
        "    for step in found.read(unit):\n"
        "        for image in step.images: image.content()\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    peaks = []
    for count in (50, 1000):
        folder = tmp_path / str(count) / "a"
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{number}.jpg").write_bytes(jpeg(1) + bytes(200_000))
        lines = [json.dumps({"action": [number], "images": {"front": f"{number}.jpg"}}) for number in range(count)]
        (folder / "steps.jsonl").write_text("\n".join(lines))
        done = subprocess.run([sys.executable, "-c", script, str(folder.parent)], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 10, f"MB: {peaks}"


def test_a_mixture(tmp_path: Path) -> None:
    path = folders.write(tmp_path / "log", [5, 7], width=2)
    (path / "episode_0/front/000002.jpg").unlink()
    (path / "episode_1/front/000003.jpg").write_bytes(b"<html>")
    recipe = parse_recipe(
        "robot_frac: 1\nstore: store\nmax_bad: 1/2\n"
        "robot: {arm: {kind: folder, path: log, action_space: language_table, camera: front}}",
        "x",
        tmp_path,
    )
    manifest = build_plainly(recipe, Site(tmp_path / "out"))
    assert not verify(tmp_path / "out").faults
    assert {each.reason: each.count for each in manifest.rejects["arm"]} == {"missing_image": 1, "not_an_image": 1}
    assert manifest.plan.sources[0].rows == 10


def test_the_documented_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The code of the page writes a log, which is recognized, and which a recipe reads as it is suggested."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "robot-logs.md").read_text()
    (block,) = (each for each in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL) if "steps.jsonl" in each)
    exec(compile(block, "robot-logs.md", "exec"), {})
    assert not app(["inspect", "--suggest", "my_log"], standalone_mode=False)
    suggested = capsys.readouterr().out
    recipe = parse_recipe(f"robot_frac: 1\nstore: store\n{suggested}", "x", tmp_path)
    assert build_plainly(recipe, Site(tmp_path / "out")).plan.sources[0].rows == 30
    assert not verify(tmp_path / "out").faults
