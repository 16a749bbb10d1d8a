"""Each fault, seeded into rows that are otherwise right, raises its own alarm, and rows that are right raise none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from rt2data.look.stats.model import Share, Stats, Warn
from rt2data.look.stats.run import take_stats
from rt2data.look.stats.subject import store_subject
from rt2data.look.stats.warnings import warnings_of
from rt2data.prepare.store import Lost
from tests.look.stats.stores import files_of, lay, robot_rows, web_row

pytestmark = pytest.mark.long

EPISODES, STEPS = 12, 30


@dataclass(frozen=True)
class Log:
    """A robot log of WidowX: smooth displacements, a state that follows them, a gripper that closes and opens."""

    action: np.ndarray  # [episodes, steps, 7]
    state: np.ndarray
    texts: list[str] = field(default_factory=lambda: [f"pick object {i % 5}" for i in range(EPISODES)])
    splits: list[str] = field(default_factory=lambda: ["train"] * EPISODES)
    images: np.ndarray | None = None
    space: str = "widowx_bridge"
    lost: Sequence[Lost] = ()
    hz: float | None = 5
    name: str = "arm"

    def rows(self) -> list[dict[str, Any]]:
        found = []
        for i in range(len(self.action)):
            seen = None if self.images is None else self.images[i].tolist()
            found += robot_rows(f"e{i:03d}", self.action[i], self.state[i], self.texts[i], self.splits[i], images=seen, hz=self.hz)
        return found


def right() -> Log:
    """Nothing is wrong with it."""
    rng = np.random.default_rng(7)
    noise = rng.normal(0, 0.01, (EPISODES, STEPS + 4, 6))
    action = np.zeros((EPISODES, STEPS, 7), np.float32)
    action[..., :6] = sum(noise[:, k : k + STEPS] for k in range(5)) / 3
    action[..., 6] = (np.arange(STEPS) < 10) | (np.arange(STEPS) >= 20)
    state = np.zeros_like(action)
    state[:, 1:, :6] = np.cumsum(action[:, :-1, :6], axis=1)
    opening = np.ones((EPISODES, STEPS + 1))
    for t in range(STEPS):
        opening[:, t + 1] = opening[:, t] + 0.4 * (action[:, t, 6] - opening[:, t])
    state[..., 6] = opening[:, :STEPS]
    return Log(action, state)


def alarms(log: Log, folder: Path) -> list[Warn]:
    store = lay(folder / "store", files_of(log.rows()), log.space, log.name, lost=log.lost)
    return list(take_stats(store_subject(folder, [store])).warnings)


def test_a_right_log_raises_none(tmp_path: Path) -> None:
    assert alarms(right(), tmp_path) == []


Seed = Callable[[Log], Log]


def changed(**values: Any) -> Seed:
    return lambda log: replace(log, **{name: value(log) if callable(value) else value for name, value in values.items()})


def action(change: Callable[[np.ndarray], Any]) -> Seed:
    """The log with its actions changed in place."""

    def seed(log: Log) -> Log:
        copy = log.action.copy()
        change(copy)
        return replace(log, action=copy)

    return seed


def put(where: Any, value: Any) -> Seed:
    def change(actions: np.ndarray) -> None:
        actions[where] = value

    return action(change)


def inverted(actions: np.ndarray) -> None:
    actions[..., 6] = 1 - actions[..., 6]


def shifted(log: Log) -> Log:
    return replace(log, action=np.roll(log.action, 2, axis=1)[:, 2:], state=log.state[:, 2:])


def torn(log: Log) -> Log:
    """Most episodes have a single step."""
    return Single(**vars(log))


class Single(Log):
    def rows(self) -> list[dict[str, Any]]:
        return [each for each in super().rows() if each["step"] == 0 or each["group"] < "e003"]


class Jittery(Log):
    def rows(self) -> list[dict[str, Any]]:
        found = super().rows()
        for i, each in enumerate(found):
            each["timestamp"] += 0.09 * (i % 2)
        return found


def wrapped(log: Log) -> Log:
    state = log.state.copy()
    turn = np.linspace(2.5, 3.9, STEPS)
    state[..., 5] = (turn + np.pi) % (2 * np.pi) - np.pi
    return replace(log, state=state)


def positions(log: Log) -> Log:
    """Absolute targets in a space that knows displacements."""
    copy = log.action.copy()
    copy[:, :-1, :6] = log.state[:, 1:, :6]
    copy[:, -1, :6] = log.state[:, -1, :6]
    return replace(log, action=copy)


SPACE = """
name = "joints"
title = "Six joints, absolute"
[each]
name = "q"
"""
WIDE = """
name = "wide"
[each]
name = "a"
bounds = [-100.0, 100.0]
"""

SEEDED: dict[str, tuple[str, str, Seed]] = {
    "dead": ("dead_dimension", "action z is 0.01 in every step", put((..., 2), 0.01)),
    "sparse": (
        "sparse_dimension",
        "action yaw is 0 in 98 %",
        lambda log: put((0, slice(3, 6), 5), [1.0, 1e-4, 3e-4])(put((..., 5), 0.0)(log)),
    ),
    "inverted": ("inverted_gripper", "gripper is commanded to open, s_6 falls", action(inverted)),
    "never": ("gripper_never_moves", "neither opens nor closes", put((..., 6), 1.0)),
    "chatters": ("gripper_chatters", "29 times in half", put((..., 6), np.arange(STEPS) % 2)),
    "blank": ("blank_text", "25.0% of the rows have a blank instruction", changed(texts=["", " ", "\t"] + ["go"] * 9)),
    "few blank": ("blank_text", "8.3% of the rows", changed(texts=[""] + ["go", "stop"] * 5 + ["go"])),
    "black": ("same_image", "all 360 images of camera front", changed(images=np.full((EPISODES, STEPS), 7))),
    "frozen": ("duplicates", "97% of the images", changed(images=np.repeat(np.arange(EPISODES)[:, None], STEPS, 1))),
    "lag": ("lag", "2 steps earlier", shifted),
    "positions": ("absolute_as_delta", "they look like positions", positions),
    "wraps": ("wraps", "s_5 jumps by more than pi 12 times", wrapped),
    "noops": ("noops", "of the steps are no-ops", put((slice(None), slice(0, 15), slice(0, 6)), 0.0)),
    "one": ("one_instruction", "all 12 have one instruction", changed(texts=["go"] * EPISODES)),
    "lost": ("rejects", "3 dropped as faulty: corrupt_image, such as step 3", changed(lost=[Lost("corrupt_image", 3, True)])),
    "single": ("short_episodes", "9 of 12 episodes", torn),
    "jitter": ("jitter", "step intervals vary", lambda log: Jittery(**vars(log))),
}


@pytest.mark.parametrize("name", SEEDED)
def test_a_seeded_fault_raises_its_alarm(name: str, tmp_path: Path) -> None:
    code, words, seed = SEEDED[name]
    found = alarms(seed(right()), tmp_path)
    mine = [warn for warn in found if warn.code == code]
    assert mine and any(words in warn.what for warn in mine), found
    assert all(warn.source == "arm" and warn.do for warn in mine)


def own_space(text: str, folder: Path) -> str:
    path = folder / "space.toml"
    path.write_text(text)
    return str(path)


def test_displacements_in_a_space_of_positions(tmp_path: Path) -> None:
    log = replace(right(), space=own_space(SPACE, tmp_path))
    assert "delta_as_absolute" in {warn.code for warn in alarms(log, tmp_path)}


def test_positions_in_a_space_of_any_size_are_found_out_without_alarm(tmp_path: Path) -> None:
    log = positions(replace(right(), space="generic_nd"))
    store = lay(tmp_path / "store", files_of(log.rows()), log.space)
    found = take_stats(store_subject(tmp_path, [store]))
    assert found.sources[0].actions is not None and found.sources[0].actions.absolute
    assert {warn.code for warn in found.warnings} <= {"lag"}


def test_a_range_that_is_hardly_used(tmp_path: Path) -> None:
    codes = {warn.code for warn in alarms(replace(right(), space=own_space(WIDE, tmp_path)), tmp_path)}
    assert "unused_range" in codes
    narrow = own_space(WIDE.replace("100.0", "0.4"), tmp_path)
    assert "few_bins" in {warn.code for warn in alarms(replace(right(), space=narrow), tmp_path / "b")}


def test_what_lies_beyond_the_codec(tmp_path: Path) -> None:
    space = own_space(WIDE.replace("100.0", "0.005"), tmp_path)
    assert "clipped" in {warn.code for warn in alarms(replace(right(), space=space), tmp_path)}


def test_actions_that_no_codec_takes(tmp_path: Path) -> None:
    found = alarms(put((slice(0, 3), ..., 0), 3e38)(right()), tmp_path)
    assert found[0].code == "no_codec" and found[0].level == "error" and "explodes" in found[0].what


def test_leaks_are_named_with_an_example(tmp_path: Path) -> None:
    splits = ["train"] * 9 + ["val"] * 3
    images = np.arange(EPISODES * STEPS).reshape(EPISODES, STEPS)
    images[10] = images[0]
    log = replace(right(), splits=splits, images=images, texts=["go", "stop"] * 6)
    store = lay(tmp_path / "store", files_of(log.rows()), log.space)
    found = take_stats(store_subject(tmp_path, [store]))
    assert {(leak.what, leak.count) for leak in found.leaks} == {("image", STEPS), ("text_and_image", STEPS)}
    assert all(leak.example.startswith("e000-") and (leak.here, leak.there) == ("arm/train", "arm/val") for leak in found.leaks)
    assert [warn.level for warn in found.warnings if warn.code == "leak"] == ["warning", "warning"]


def test_two_sources_of_one_split_that_share_images(tmp_path: Path) -> None:
    stores = [
        lay(tmp_path / name, files_of([web_row(f"{name}{i}", f"{name} {i}?", ["yes"], i + at) for i in range(9)]), name=name)
        for name, at in (("one", 0), ("two", 5))
    ]
    found = take_stats(store_subject(tmp_path, stores))
    assert [(leak.what, leak.count) for leak in found.leaks] == [("image", 4)]
    assert [warn.level for warn in found.warnings if warn.code == "leak"] == ["note"]


def test_a_torn_group_is_a_leak(tmp_path: Path) -> None:
    rows = [web_row(f"q{i}", f"{i}?", ["yes"], 10 + i, split) | {"group": "g"} for i, split in enumerate(("train", "val"))]
    (leak,) = take_stats(store_subject(tmp_path, [lay(tmp_path / "s", files_of(rows))])).leaks
    assert (leak.what, leak.count, leak.example) == ("group", 1, "g")


def test_blank_questions_and_answers(tmp_path: Path) -> None:
    rows = [web_row(f"q{i}", "" if i < 2 else f"{i}?", ["", "no"] if i == 3 else ["yes"], i) for i in range(30)]
    found = take_stats(store_subject(tmp_path, [lay(tmp_path / "s", files_of(rows), name="qa")]))
    assert [(warn.code, warn.level) for warn in found.warnings] == [("blank_text", "warning")] * 2
    assert found.sources[0].answers is not None and found.sources[0].answers.rows == 31


def test_questions_may_share_a_image(tmp_path: Path) -> None:
    """One image with three questions shows something; three images that are the same do not."""
    for groups, codes in ((("g", "g", "g"), []), (("a", "b", "c"), ["same_image"])):
        rows = [web_row(f"q{i}", f"{i}?", ["yes"], 7) | {"group": group} for i, group in enumerate(groups)]
        found = take_stats(store_subject(tmp_path, [lay(tmp_path / "".join(groups), files_of(rows))]))
        assert [warn.code for warn in found.warnings if warn.code == "same_image"] == codes


def share(**values: Any) -> Share:
    bare = Share("arm", "robot", 0.5, 100, 100, 50, 1000, 1.0, 0, 100)
    return msgspec.structs.replace(bare, **values)


@pytest.mark.parametrize(
    ("values", "code", "level"),
    [
        ({"epochs": 4.5}, "repeated_epochs", "warning"),
        ({"epochs": 11.0}, "repeated_epochs", "error"),
        ({"unseen": 3}, "unseen", "note"),
        ({"epochs": 0.05, "unseen": 1900}, "little_drawn", "warning"),
    ],
)
def test_shares_of_a_mixture(values: dict[str, Any], code: str, level: str, mixture: Stats) -> None:
    assert mixture.mixture is not None
    here = msgspec.structs.replace(mixture.mixture, shares=(share(**values),))
    found = {warn.code: warn.level for warn in warnings_of(msgspec.structs.replace(mixture, mixture=here))}
    assert found[code] == level


def test_episodes_of_which_a_mixture_draws_parts_are_not_short(mixture: Stats) -> None:
    assert mixture.mixture is not None
    arm = mixture.sources[0]
    assert arm.name == "arm" and arm.episodes is not None
    short = msgspec.structs.replace(arm, episodes=msgspec.structs.replace(arm.episodes, short=3))
    for unseen, wanted in ((0, True), (9, False)):
        shares = (msgspec.structs.replace(mixture.mixture.shares[0], unseen=unseen), *mixture.mixture.shares[1:])
        here = msgspec.structs.replace(mixture.mixture, shares=shares)
        found = warnings_of(msgspec.structs.replace(mixture, sources=(short,), mixture=here))
        assert ("short_episodes" in {warn.code for warn in found}) is wanted


def test_a_share_that_strays(mixture: Stats) -> None:
    assert mixture.mixture is not None
    here = msgspec.structs.replace(mixture.mixture, shard_worst=0.3)
    assert "robot_share_strays" in {warn.code for warn in warnings_of(msgspec.structs.replace(mixture, mixture=here))}


def test_robots_of_different_rates(tmp_path: Path) -> None:
    logs = [replace(right(), name=name, hz=hz) for name, hz in (("slow", 3), ("fast", 50))]
    stores = [lay(tmp_path / log.name, files_of(log.rows()), log.space, log.name) for log in logs]
    found = take_stats(store_subject(tmp_path, stores)).warnings
    assert [warn.what for warn in found if warn.code == "mixed_rates"] == ["robots step at different rates: fast 50, slow 3 Hz"]
