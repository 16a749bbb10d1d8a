"""Episodes written back: read again by our own reader, the same bytes by any path, whole or absent, and checked again."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.beam.pool import PoolKind, pool_at_work
from rt2data.beam.run import build_anywhere, build_locally
from rt2data.build import Site, build_plainly, rlds_output
from rt2data.errors import LockedError, SourceChangedError, UsageError
from rt2data.io.publish import exclusively
from rt2data.look.verify.episodes import is_rlds, verify_episodes
from rt2data.plan.episodes import RldsOptions
from rt2data.plan.recipe import Recipe
from rt2data.prepare import runs
from rt2data.read.rlds.source import RLDS
from rt2data.records import Step
from rt2data.seal.episodes import RldsManifest, read_rlds_manifest
from rt2data.write.episodes import write_episodes
from rt2data.write.shard import ShardInfo, ShardOrder
from tests.contract import toy

pytestmark = pytest.mark.long

Read = Callable[..., Recipe]
EPISODES, STEPS = 6, 8
KINDS: tuple[PoolKind, ...] = ("threads", "processes")


def write(recipe: Recipe, out: Path, after: Callable[[ShardInfo], None] | None = None, **settings: Any) -> RldsManifest:
    """In this process; `after` is called with each shard that is written."""
    site = Site(out, settings.pop("overwrite", False), settings.pop("restart", False))
    output = rlds_output(RldsOptions(**settings))
    if after is not None:
        output = replace(output, phases=(output.phases[0], (ShardOrder, partial(_heard, after))))
    manifest: RldsManifest = build_plainly(recipe, site, output=output)
    return manifest


def _heard(after: Callable[[ShardInfo], None], order: ShardOrder) -> ShardInfo:
    found = write_episodes(order)
    after(found)
    return found


def digest(out: Path) -> str:
    """One hash of every file's name and bytes."""
    found = hashlib.sha256()
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        found.update(path.relative_to(out).as_posix().encode() + path.read_bytes())
    return found.hexdigest()


def read(folder: Path, **settings: Any) -> list[Step]:
    source = RLDS(path=str(folder), action_space="any", filters={"drop_last": 0}, **settings)
    found = [one for unit in source.units() for one in source.read(unit)]
    assert all(isinstance(one, Step) for one in found)
    return [one for one in found if isinstance(one, Step)]


def test_steps_come_back_whole_and_in_order(toy_recipe: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows lie in many files in random order; written back, each episode is as it was read."""
    monkeypatch.setattr(runs, "ROWS_PER_FILE", 7)
    manifest = write(toy_recipe(), tmp_path / "out")
    assert (manifest.episodes, manifest.steps) == (EPISODES + 9, EPISODES * STEPS + 9)
    assert len([s for s in manifest.shards if s.dataset == "arm_rlds"]) > 2
    steps = read(tmp_path / "out/arm_rlds/1.0.0")
    episodes = [list(group) for _, group in groupby(steps, key=lambda step: step.episode)]
    assert [len(episode) for episode in episodes] == [STEPS] * EPISODES
    toys = {actions.tobytes(): number for number, actions in enumerate(map(toy_actions, range(EPISODES)))}
    seen = set()
    for episode in episodes:
        number = toys[np.stack([step.action for step in episode]).tobytes()]
        seen.add(number)
        for at, step in enumerate(episode):
            assert (step.instruction, step.is_first, step.is_last) == (f"lift block {number % 3}", at == 0, at == STEPS - 1)
            assert step.is_terminal == (at == STEPS - 1)
            assert step.state is not None
            assert step.state.tobytes() == (step.action * 2).tobytes()
            assert [image.camera for image in step.images] == ["image_front"]
            assert bytes(step.images[0].data) == toy.jpeg(1000 * number + at)
    assert seen == set(range(EPISODES))


def records(out: Path) -> dict[str, bytes]:
    """The files of records by name."""
    return {path.name: path.read_bytes() for path in out.rglob("*.tfrecord-*")}


def test_windows_change_no_episode(toy_recipe: Read, tmp_path: Path) -> None:
    """An RLDS step has its own images and its own action, whatever a mixture adds of other steps."""
    write(toy_recipe(), tmp_path / "plain")
    write(toy_recipe(robot__arm__history="[-2, 0]", robot__arm__horizon=3), tmp_path / "windows")
    assert records(tmp_path / "windows") == records(tmp_path / "plain")


def test_the_cameras_of_the_recipe_are_written(toy_recipe: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = toy.ToyRobot.read

    def three(self: toy.ToyRobot, unit: Any) -> Any:
        for step in one(self, unit):
            assert isinstance(step, Step)
            yield replace(step, images=(*step.images, *(replace(step.images[0], camera=name) for name in ("left", "right"))))

    monkeypatch.setattr(toy.ToyRobot, "read", three)
    names = {}
    for chosen in ("", "[right, front]", "all"):
        manifest = write(toy_recipe(**({"robot__arm__cameras": chosen} if chosen else {})), tmp_path / f"out-{len(names)}")
        names[chosen] = [image.camera for image in manifest.plan.datasets[0].images]
    assert names == {"": ["front", "left", "right"], "[right, front]": ["right", "front"], "all": ["front", "left", "right"]}
    asked = write(toy_recipe(robot__arm__cameras="all"), tmp_path / "asked", cameras=("left",))
    assert [image.camera for image in asked.plan.datasets[0].images] == ["left"]


def toy_actions(episode: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    actions = np.random.default_rng(episode).normal(0, 0.01, (STEPS, 7)).astype(np.float32)
    actions[:, 6] = np.arange(STEPS) % 2
    return actions


def test_flags_stand_at_the_ends_of_what_was_kept(toy_recipe: Read, tmp_path: Path) -> None:
    recipe = toy_recipe(robot__arm__filters="{drop_first: 2, drop_last: 1}", robot__arm__terminate="is_terminal")
    manifest = write(recipe, tmp_path / "out")
    steps = read(tmp_path / "out/arm_rlds/1.0.0")
    assert [step.is_first for step in steps] == [True, False, False, False, False] * EPISODES
    assert [step.is_last for step in steps] == [False, False, False, False, True] * EPISODES
    assert not any(step.is_terminal for step in steps)
    assert f"{2 * EPISODES} first_step dropped" in manifest.plan.datasets[0].changes
    numbers = read(tmp_path / "out/arm_rlds/1.0.0", state="step")
    assert [int(step.state[0]) for step in numbers if step.state is not None] == [2, 3, 4, 5, 6] * EPISODES


@pytest.mark.parametrize("tokens", [False, True])
def test_the_same_bytes_for_any_workers(toy_recipe: Read, tmp_path: Path, tokens: bool) -> None:
    recipe = toy_recipe(robot__arm__holdout=0.3)
    write(recipe, tmp_path / "inline", tokens=tokens)
    for kind in KINDS if tokens else KINDS[1:]:
        with pool_at_work(kind, 2) as pool:
            build_locally(recipe, Site(tmp_path / kind), pool, output=rlds_output(RldsOptions(tokens=tokens)))
        assert digest(tmp_path / kind) == digest(tmp_path / "inline")
    build_anywhere(recipe, Site(tmp_path / "beam"), (), output=rlds_output(RldsOptions(tokens=tokens)))
    assert digest(tmp_path / "beam") == digest(tmp_path / "inline")
    splits = json.loads((tmp_path / "inline/arm_rlds/1.0.0/dataset_info.json").read_text())["splits"]
    assert {split["name"] for split in splits} == {"train", "val"}


def test_a_killed_run_leaves_nothing_visible_and_goes_on_with_the_same_bytes(toy_recipe: Read, tmp_path: Path) -> None:
    recipe, out = toy_recipe(), tmp_path / "out"
    child = multiprocessing.get_context("fork").Process(target=_die_after, args=(recipe, out, 3))
    child.start()
    child.join(60)
    assert child.exitcode == 9
    assert not out.exists()
    heard: list[ShardInfo] = []
    write(recipe, out, heard.append)
    assert sum(not shard.fresh for shard in heard) == 3
    write(recipe, tmp_path / "again")
    assert digest(out) == digest(tmp_path / "again")
    assert not list(tmp_path.glob(".*partial"))


def _die_after(recipe: Recipe, out: Path, shards: int) -> None:
    heard = []

    def listen(shard: ShardInfo) -> None:
        heard.append(shard)
        if len(heard) == shards:
            os._exit(9)

    write(recipe, out, listen)


def test_what_is_here_already_is_not_written_again_nor_lost(toy_recipe: Read, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(toy_recipe(), out)
    before = (out / "manifest.json").stat().st_mtime_ns
    write(toy_recipe(), out)
    assert (out / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="another output is here"):
        write(toy_recipe(), out, tokens=True)
    assert verify_episodes(out).ok
    assert write(toy_recipe(), out, tokens=True, overwrite=True).plan.tokens
    with exclusively(tmp_path / ".out.lock", "out"), pytest.raises(LockedError):
        write(toy_recipe(), out)


def test_an_unfinished_output_of_another_recipe_is_kept_until_told(toy_recipe: Read, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def stop(shard: ShardInfo) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(toy_recipe(), out, stop)
    with pytest.raises(UsageError, match="unfinished build of another"):
        write(toy_recipe(), out, tokens=True)
    with pytest.raises(UsageError, match="unfinished build of another"):
        build_plainly(toy_recipe(), Site(out))  # a mixture in the same place
    write(toy_recipe(), out, tokens=True, restart=True)
    assert verify_episodes(out).ok


def test_a_source_that_changes_is_noticed(toy_recipe: Read, tmp_path: Path) -> None:
    recipe, out = toy_recipe(), tmp_path / "out"
    write(recipe, tmp_path / "first")
    file = tmp_path / "robot/003.bin"

    def change(shard: ShardInfo) -> None:
        file.write_bytes(file.read_bytes()[::-1])

    with pytest.raises(SourceChangedError):
        write(recipe, out, change)
    assert not out.exists()


def test_verify_names_every_fault(toy_recipe: Read, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = write(toy_recipe(), out, tokens=True)
    assert verify_episodes(out).ok
    assert is_rlds(out)
    assert (verify_episodes(out).episodes, verify_episodes(out).steps) == (manifest.episodes, manifest.steps)
    (out / "arm_rlds/1.0.0" / f"dataset_statistics_{'0' * 64}.json").write_text("{}")  # what OpenVLA leaves
    assert verify_episodes(out).ok
    shard = next((out / "arm_rlds/1.0.0").glob("*tfrecord*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    assert any("checksum" in fault.what for fault in verify_episodes(out).faults)
    shard.write_bytes(whole[:-100])
    assert any("cut" in fault.what for fault in verify_episodes(out).faults)
    shard.unlink()
    (out / "coco.txt").write_text("stray")
    (out / "arm_rlds/1.0.0/features.json").write_text("{}")
    found = {(fault.file, fault.what) for fault in verify_episodes(out).faults}
    assert {
        (shard.name, "is missing"),
        ("coco.txt", "does not belong here: the manifest does not know it"),
        ("arm_rlds/1.0.0/features.json", "is not as it was written"),
    } <= found
    (out / "manifest.json").write_text("{}")
    assert not verify_episodes(out).ok
    assert not is_rlds(out)


def test_the_manifest_says_what_differs_from_the_source(toy_recipe: Read, tmp_path: Path) -> None:
    manifest = write(toy_recipe(), tmp_path / "out", layout="libero")
    assert read_rlds_manifest(tmp_path / "out") == manifest
    arm, qa = manifest.plan.datasets
    assert (arm.dataset, arm.gripper is not None, qa.dataset) == ("libero_spatial_no_noops", True, "qa_rlds")
    assert any("gripper is remapped" in line for line in arm.changes)
    assert any("there are no actions" in line for line in qa.changes)
    steps = read(tmp_path / "out/libero_spatial_no_noops/1.0.0")
    assert [float(step.action[6]) for step in steps[:STEPS]] == [1.0, -1.0] * (STEPS // 2)
    assert {step.state.shape for step in steps if step.state is not None} == {(8,)}
    statistics = json.loads((tmp_path / "out/libero_spatial_no_noops/1.0.0/dataset_statistics.json").read_text())
    found = statistics["libero_spatial_no_noops"]
    assert (found["action"]["min"][6], found["action"]["max"][6]) == (0.0, 1.0), "as OpenVLA turns them again"
    assert (found["action"]["mask"], len(found["proprio"]["mean"])) == ([True] * 6 + [False], 8)
    assert (found["num_transitions"], found["num_trajectories"]) == (EPISODES * STEPS, EPISODES)


def test_the_command_says_what_was_written(toy_recipe: Read, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rt2data.cli.build import BuildOptions
    from rt2data.cli.rlds import verify_rlds as check
    from rt2data.cli.rlds import write_rlds as command

    toy_recipe()
    asked = BuildOptions(tmp_path / "mixture.yaml", None, (), 0, "processes", False, False)
    command(asked, None, "plain", False, ["front"], ["qa=my_vqa"], "1.2.3", False, False, False)
    said = capsys.readouterr()
    assert "tfds.load('arm_rlds:1.2.3'" in said.out
    assert "def arm_rlds_transform" in said.out
    assert "is_first and is_last" in said.err
    assert (tmp_path / "mixture-rlds/my_vqa/1.2.3/features.json").is_file()
    assert check(tmp_path / "mixture-rlds", 0, "processes", as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    with pytest.raises(UsageError, match="is not SOURCE=DATASET"):
        command(asked, None, "plain", False, (), ["qa"], "1.0.0", False, False, False)
    for wrong in ({"version": "1"}, {"cameras": ("back",)}, {"names": {"arm": "No"}}, {"layout": "fur"}):
        with pytest.raises(UsageError):
            write(toy_recipe(), tmp_path / "wrong", **wrong)
    assert not (tmp_path / "wrong").exists()
