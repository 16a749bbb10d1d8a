"""Seeded faults are named by their own checks; logs as they were recorded fail none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.cli.app import app
from rt2data.demo.write import write_demo
from rt2data.errors import DataError, UsageError
from rt2data.images.ready import ImageRule, ViewRule
from rt2data.images.thumbnail import thumbnail
from rt2data.look.check import CHECKS, Checked, Log, check, read_log
from rt2data.look.check.episode import FRAMES, SIDE, episode_of, looked_at, pixels_down
from rt2data.look.check.published import published
from rt2data.read.action_space import load_space
from rt2data.read.rlds.source import RLDS
from rt2data.records import Image, Step
from tests.conftest import ROOT
from tests.look.check.confusion import cell, finding, log_of, right, statuses
from tests.look.check.faults import FAULTS, Fault, by_action, by_image, exchanged, frozen, negated, one_episode, timed, with_actions
from tests.look.check.logs import SETS, load, made

pytestmark = pytest.mark.long

MODERATE = {"actions one step early": "WARN", "BGR, all": "WARN", "BGR, one episode": "WARN"}
"""What is said of a fault that Bridge cannot prove; FAIL is said of all others."""
WORDLESS = {"robomimic": {"language"}, "language_table": {"language"}}
"""Logs whose files hold no words."""
QUICK = ("bridge", "quadrotor", "metaworld", "robomimic", "xhand", "language_table")
VIDEOS = ("aloha", "g1")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_a_fault_of_bridge_is_named(fault: Fault, shared_data: Path) -> None:
    found = finding("bridge", shared_data, fault)
    assert found.get(fault.check) == MODERATE.get(fault.kind, "FAIL"), found


def failed(checks: dict[str, Checked]) -> set[str]:
    return {name for name, each in checks.items() if each.status == "FAIL"}


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(each, marks=pytest.mark.slow) for each in VIDEOS)])
def test_logs_as_they_were_recorded(name: str, shared_data: Path) -> None:
    assert failed(right(name, shared_data)) == WORDLESS.get(name, set())


@pytest.mark.parametrize("name", ("bridge", "quadrotor", "metaworld"))
def test_halves_of_a_right_log(name: str, shared_data: Path) -> None:
    """Whatever episodes there are."""
    log, rng = log_of(name, shared_data), np.random.default_rng(2)
    for _ in range(8):
        some = rng.permutation(len(log.episodes))[: max(3, len(log.episodes) // 2)]
        assert failed(statuses(replace(log, episodes=[log.episodes[i] for i in some]))) == set()


@pytest.mark.slow
def test_the_demo_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables of two colours are at most a warning: they look like swapped channels."""
    write_demo(tmp_path / "demo", episodes=30, scenes=2)
    assert app(["check", str(tmp_path / "demo" / "robot"), "--episodes", "0", "--json"], standalone_mode=False) == 0
    found = {each["check"]: each["status"] for each in json.loads(capsys.readouterr().out)["sources"][0]["checks"]}
    assert found["upright"] == found["image_lag"] == found["sign"] == "PASS" and found["channels"] in ("PASS", "WARN")


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_the_documented_table_is_what_the_checks_say(fault: Fault, shared_data: Path) -> None:
    cells = " | ".join(cell(name, shared_data, fault) for name in SETS)
    assert f"| {fault.kind} | {fault.check} | {cells} |" in (ROOT / "docs" / "checks.md").read_text("utf-8")


def said(log: Log, name: str) -> Checked:
    return statuses(log)[name]


def of_bridge(shared_data: Path, name: str, change: Any) -> Checked:
    """What a check says of Bridge with a change."""
    return said(log_of("bridge", shared_data, Fault("", name, change)), name)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 2), (0, 5), (3, 4)])
def test_axes_are_named(a: int, b: int, shared_data: Path) -> None:
    names = load_space("widowx_bridge").names
    found = of_bridge(shared_data, "axes", by_action(exchanged(a, b)))
    assert found.status == "FAIL" and f"{names[a]} moves s_{b}" in found.what and f"{names[b]} moves s_{a}" in found.what


@pytest.mark.parametrize("i", range(6))
def test_signs_and_frozen_dimensions_are_named(i: int, shared_data: Path) -> None:
    name = load_space("widowx_bridge").names[i]
    assert f"command: {name} -" in of_bridge(shared_data, "sign", by_action(negated(i))).what
    assert of_bridge(shared_data, "dimensions", by_action(frozen(i))).what == f"{name} never moves, but the state does"


@pytest.mark.parametrize("which", range(0, 13, 3))
def test_any_turned_episode_is_named(which: int, shared_data: Path) -> None:
    change = one_episode(by_image(lambda image: image[::-1, ::-1]), which)
    found = of_bridge(shared_data, "upright", change)
    assert found.status in ("FAIL", "WARN") and load("bridge", shared_data)[which][0].episode in found.what


UPSIDE_DOWN = {"turned": lambda image: image[::-1, ::-1], "flipped": lambda image: image[::-1]}


@pytest.mark.parametrize("how", UPSIDE_DOWN)
@pytest.mark.parametrize("name", ["bridge", "metaworld", "robomimic"])
def test_images_that_are_all_upside_down_are_named(name: str, how: str, shared_data: Path) -> None:
    """By what rises; mirrored from left to right they look as upright as before."""
    fault = Fault("", "up", lambda found, space: [by_image(UPSIDE_DOWN[how])(each) for each in found])
    found = said(log_of(name, shared_data, fault), "up")
    assert found.status == "FAIL" and "upside down" in found.what, found
    mirrored = Fault("", "up", lambda found, space: [by_image(lambda image: image[:, ::-1])(each) for each in found])
    assert said(log_of(name, shared_data, mirrored), "up").status == "PASS" == right(name, shared_data)["up"].status


def test_what_cannot_say_which_way_is_up_is_said(shared_data: Path) -> None:
    """Joints, planes, cameras on a hand, and a frame that may hang from the ceiling."""
    for name in ("quadrotor", "language_table", "xhand"):
        found = right(name, shared_data)["up"]
        assert found.status == "SKIP" and "inspect --png" in found.what
    log = log_of("bridge", shared_data, Fault("", "up", all_turned))
    assert said(replace(log, space=replace(log.space, frame="camera")), "up").status == "WARN"
    renamed = [replace(each, cameras={f"wrist_{name}": seen for name, seen in each.cameras.items()}) for each in log.episodes]
    found = said(replace(log, episodes=renamed), "up")
    assert found.status == "SKIP" and "stands still" in found.what


def all_turned(found: Any, space: Any) -> Any:
    return [by_image(UPSIDE_DOWN["turned"])(each) for each in found]


@pytest.mark.parametrize("down", [0.6, -0.6, 0.0])
def test_what_moves_down_is_measured(down: float) -> None:
    """A soft blob on a black table, over a column that stands still."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    blobs = [np.exp(-((rows - 14 - down * k) ** 2 + (columns - 10 - k / 3) ** 2) / 18) for k in range(6)]
    grey = np.array([200 * blob + np.where(columns > 26, 90, 0) for blob in blobs])
    found, moving = pixels_down(grey)
    assert found == pytest.approx(np.full(5, down), abs=0.12) and 0 < moving.max() < 0.3
    assert [each.tolist() for each in pixels_down(grey[:1])] == [[], []]


def test_a_repaired_fault_passes(shared_data: Path) -> None:
    """What the recipe's settings turn back is not a fault."""
    space, episodes = load_space("widowx_bridge"), load("bridge", shared_data)
    turned = [by_image(lambda image: image[::-1, ::-1, ::-1])(each) for each in episodes]
    rule = ImageRule(turn=180, channels="bgr")
    repaired = Log([episode_of(each, rule, space) for each in turned], space)
    as_it_was = Log([episode_of(by_image(np.array)(each), ImageRule(), space) for each in episodes], space)
    assert said(repaired, "channels") == said(as_it_was, "channels") and said(repaired, "channels").status == "PASS"
    assert said(Log([episode_of(each, ImageRule(), space) for each in turned], space), "channels").status == "WARN"


def test_a_gripper_that_the_recipe_turns(shared_data: Path) -> None:
    space, episodes = load_space("widowx_bridge"), load("bridge", shared_data)
    turned = [with_actions(each, np.stack([[*step.action[:6], 1 - step.action[6]] for step in each])) for each in episodes]
    for opens, status in ((1, "FAIL"), (0, "PASS")):
        log = Log([episode_of(each, ImageRule(), space, opens) for each in turned], space)  # type: ignore[arg-type]
        assert said(log, "gripper_sign").status == status


# Single checks, on made logs


def arm_log(episodes: int = 6, steps: int = 40, **changes: Any) -> list[list[Step]]:
    """Right: smooth displacements of WidowX and a state that follows them."""
    rng = np.random.default_rng(3)
    found = []
    for number in range(episodes):
        noise = rng.normal(0, 0.01, (steps + 4, 6))
        action = np.zeros((steps, 7))
        action[:, :6] = sum(noise[k : k + steps] for k in range(5)) / 3
        action[:, 6] = np.arange(steps) % 20 < 10
        state = np.vstack([np.zeros(7), np.cumsum(action, axis=0)[:-1]])
        state[:, 6] = np.roll(action[:, 6], 1)
        found.append(made(f"e{number}", action, state, words=f"pick object {number}", **changes))
    return found


def made_log(episodes: list[list[Step]], space: str = "widowx_bridge", **more: Any) -> Log:
    known = load_space(space).sized(len(episodes[0][0].action))
    return Log([episode_of(each, ImageRule(), known) for each in episodes], known, hz=known.control_hz, **more)


def test_a_made_log_is_right() -> None:
    found = statuses(made_log(arm_log()))
    assert failed(found) == set() and {each.check for each in found.values() if each.status == "WARN"} == set()
    assert found["cameras"].what == "the log has no images" and found["rate"].what == "the log has no timestamps"


def test_without_states_or_steps_nothing_is_concluded() -> None:
    bare = [[replace(step, state=None) for step in each] for each in arm_log()]
    found = statuses(made_log(bare))
    for name in ("delta", "units", "axes", "sign", "lag", "image_lag"):
        assert found[name].status == "SKIP" and "no state" in found[name].what
    one = statuses(made_log([arm_log()[0][:1]]))
    assert failed(one) == {"lengths"} and one["duplicates"].what == "only one episode"


def test_numbers_that_are_none() -> None:
    episodes = arm_log()
    bad = np.full(7, np.nan, np.float32)
    assert said(made_log([[replace(episodes[0][0], action=bad), *episodes[0][1:]], *episodes[1:]]), "finite").status == "FAIL"


@pytest.mark.parametrize(("hz", "status"), [(5, "PASS"), (5.5, "PASS"), (7, "FAIL"), (15, "FAIL"), (1, "FAIL")])
def test_rates(hz: float, status: str) -> None:
    assert said(made_log([timed(hz)(each) for each in arm_log()]), "rate").status == status


def test_time_that_does_not_advance() -> None:
    times = [[replace(step, timestamp=0.2 * max(step.step, 5)) for step in each] for each in arm_log()]
    assert "does not advance" in said(made_log(times), "rate").what


@pytest.mark.parametrize(
    ("words", "status"),
    [("", "FAIL"), (" ", "FAIL"), ("N/A", "FAIL"), ("language_instruction", "FAIL"), ("open the test tube", "WARN")],
)
def test_words(words: str, status: str) -> None:
    told = [[replace(step, instruction=words) for step in each] for each in arm_log()]
    assert said(made_log(told), "language").status == status


def test_duplicates_in_two_splits() -> None:
    episodes = arm_log(episodes=40)
    again = [replace(step, episode="again") for step in episodes[0]]
    assert said(made_log([*episodes, again]), "duplicates").status == "WARN"
    torn = said(made_log([*episodes, [replace(step, split="val") for step in again]]), "duplicates")
    assert torn.status == "FAIL" and "in different splits, such as again and e0" in torn.what


def test_marks_of_success() -> None:
    def marked(*marks: bool) -> list[list[Step]]:
        return [[*each[:-1], replace(each[-1], success=mark)] for each, mark in zip(arm_log(len(marks)), marks, strict=True)]

    assert said(made_log(marked(True, True)), "success").status == "PASS"
    assert said(made_log(marked(True, False)), "success").measured == "1 of 2 are successes"
    assert "no episode" in said(made_log(marked(False, False)), "success").what


def test_velocities_and_unknown_spaces_are_not_accused() -> None:
    episodes = arm_log()
    assert "control_mode" in said(made_log(episodes, "generic_nd"), "delta").what
    backwards = [with_actions(each, np.stack([-step.action for step in each])) for each in episodes]
    assert said(made_log(backwards, "generic_nd"), "sign").status == "WARN"
    assert said(made_log(backwards), "sign").status == "FAIL"


def test_state_names_say_which_belongs_to_which() -> None:
    episodes = arm_log()
    order = [6, 5, 4, 3, 2, 1, 0]
    turned = [[replace(step, state=step.state[order]) for step in each if step.state is not None] for each in episodes]
    names = tuple(load_space("widowx_bridge").names[i] for i in order)
    assert said(made_log(turned), "axes").status == "FAIL"
    assert said(made_log(turned, state_names=names), "axes").status == "PASS"


# Reading


def test_images_are_looked_at_as_they_come() -> None:
    """A source may overwrite what it gave for the step before."""
    buffer = np.zeros((8, 8, 3), np.uint8)

    def steps() -> Any:
        for number, step in enumerate(arm_log(1)[0]):
            buffer[:] = number
            yield replace(step, images=(Image("front", buffer),))

    seen = episode_of(steps(), ImageRule(), load_space("widowx_bridge")).cameras["front"]
    assert seen.brightness.tolist() == list(range(40)) and (seen.change == 1).all() and len(set(seen.hashes.tolist())) == 40


@pytest.mark.parametrize("total", [1, 2, FRAMES, FRAMES + 1, 1000])
def test_which_images_are_looked_at(total: int) -> None:
    found = looked_at(total)
    assert {0, total - 1} <= found and max(found) < total and len(found) <= FRAMES + 2


def test_broken_images_are_counted() -> None:
    episodes = [[replace(step, images=(Image("front", b"\xff\xd8 broken"),)) for step in each] for each in arm_log()]
    assert said(made_log(episodes), "cameras").status == "FAIL"


def test_some_episodes_by_seed(shared_data: Path) -> None:
    source = RLDS(path=str(shared_data / "rlds_bridge"), action_space="widowx_bridge")
    names = [[each.name for each in read_log(source, "bridge", 5, seed).episodes] for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2] and len(set(names[0])) == 5
    assert len(read_log(source, "bridge").episodes) == len(read_log(source, "bridge", 1000).episodes) == 13


def test_a_space_of_another_size(shared_data: Path) -> None:
    with pytest.raises(DataError, match="have 7 dimensions"):
        read_log(RLDS(path=str(shared_data / "rlds_bridge"), action_space="quadrotor"), "bridge")


def test_damaged_records_are_told(shared_data: Path, tmp_path: Path) -> None:
    for path in sorted((shared_data / "rlds_bridge/bridge_dataset/1.0.0").iterdir()):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = next(tmp_path.glob("*-train.tfrecord*"))
    data = bytearray(shard.read_bytes())
    data[5000] ^= 255
    shard.write_bytes(data)
    found = said(read_log(RLDS(path=str(tmp_path), action_space="widowx_bridge"), "bridge"), "readable")
    assert found.status == "FAIL" and "bad_crc" in found.what and "12 episodes" in found.measured


@pytest.mark.parametrize("rule", [ViewRule(), ViewRule(turn=90), ViewRule(flip="vertical"), ViewRule(channels="bgr")])
def test_a_thumbnail_is_the_image_in_small(rule: ViewRule) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32, :32] = (200, 0, 0)
    expected = np.rot90(pixels, -rule.turn // 90)
    expected = expected[::-1] if rule.flip == "vertical" else expected
    expected = expected[:, :, ::-1] if rule.channels == "bgr" else expected
    assert (thumbnail(pixels, 16, rule) == expected[::4, ::4]).all()


def test_published_statistics_are_whole() -> None:
    for each in published():
        assert len(each.q01) == len(each.q99) == len(each.mask) and all(a < b for a, b in zip(each.q01, each.q99, strict=True))
    assert [each.name for each in published()] == ["bridge_orig"]


# The command


def test_the_command(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(shared_data / "rlds_bridge")
    assert app(["check", path], standalone_mode=False) == 0
    said = capsys.readouterr()
    assert "action space widowx_bridge, by its name" in said.err
    rows = [line for line in said.out.splitlines() if line[:4] in ("PASS", "WARN", "SKIP") and line[4:6] == "  "]
    assert [row.split()[1] for row in rows] == [each.name for each in CHECKS] and max(map(len, rows)) <= 80
    assert "WARN cameras: image_3: all images are black -> choose" in said.out
    assert app(["check", path, "--action-space", "libero", "--json"], standalone_mode=False) == DataError.code
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"] and found["sources"][0]["action_space"] == "libero"
    said_of = {each["check"]: each["status"] for each in found["sources"][0]["checks"]}
    assert said_of["units"] == "FAIL" and said_of["gripper_sign"] in ("WARN", "FAIL")


def test_the_command_with_a_recipe(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "mixture.yaml"
    recipe.write_text(f"""
robot_frac: 1
robot:
  right: {{kind: rlds, path: {shared_data}/rlds_bridge, action_space: widowx_bridge}}
  turned: {{kind: rlds, path: {shared_data}/rlds_bridge, action_space: widowx_bridge, gripper_open: 0}}
""")
    assert app(["check", str(recipe), "--source", "right", "-q"], standalone_mode=False) == 0
    assert app(["check", str(recipe), "--json"], standalone_mode=False) == DataError.code
    words = capsys.readouterr().out
    found = {each["name"]: each for each in json.loads(words[words.index("{\n") :])["sources"]}
    assert [c["check"] for c in found["turned"]["checks"] if c["status"] == "FAIL"] == ["gripper_sign"]
    with pytest.raises(UsageError, match="no robot source 'rigth'"):
        app(["check", str(recipe), "--source", "rigth"], standalone_mode=False)


def test_only_raw_robot_logs(tmp_path: Path, shared_data: Path) -> None:
    with pytest.raises(UsageError, match="nothing is there"):
        app(["check", str(tmp_path / "none")], standalone_mode=False)
    corpus = shared_data / "coco_web"
    with pytest.raises(UsageError):
        app(["check", str(corpus)], standalone_mode=False)


def test_every_check_has_a_name_of_its_own() -> None:
    names = [each.name for each in CHECKS]
    assert len(set(names)) == len(names) == len(check(made_log(arm_log(2))))
    assert all(f"| `{name}` |" in (ROOT / "docs" / "checks.md").read_text("utf-8") for name in names)
