"""Ends of episodes are believed where a source tells them apart, and the same whatever the units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.build import Site, build_plainly
from rt2data.errors import DataError
from rt2data.forecast.estimate import estimate_store
from rt2data.io.tfrecord.features import Leaf
from rt2data.plan.recipe import read_recipe
from rt2data.prepare.begin import begin
from rt2data.prepare.gather import gather_orders, gather_rows
from rt2data.prepare.seal import seal_store
from rt2data.prepare.store import Store
from rt2data.prepare.unit import prepare_unit
from rt2data.read.rlds.source import RLDS
from rt2data.records import End
from rt2data.seal.manifest import Manifest
from rt2data.standardize.end_marks import OPPOSITES, fact_name, marks_of, refuted, succeeded, tells_success, wanted
from tests.contract.toy import jpeg
from tests.standardize.steps import episode, found
from tests.tfds_writing import write_dataset

STEPS = 3
LEAVES = (
    Leaf("steps/action", "tensor", "float32", (7,)),
    Leaf("steps/is_terminal", "scalar", "bool"),
    Leaf("steps/language_instruction", "text", "string"),
    Leaf("steps/observation/image", "image", "uint8", (32, 32, 3), "jpeg"),
    Leaf("steps/reward", "scalar", "float32"),
)
SUCCESS = Leaf("episode_metadata/success", "scalar", "bool")
Log = Callable[..., RLDS]


def recorded(number: int, terminal: bool = False, reward: float = 0, success: bool | None = None) -> dict[str, Any]:
    """An episode of three steps that ends so."""
    last = np.arange(STEPS) == STEPS - 1
    found = {
        "steps/action": np.random.default_rng(number).normal(0, 0.01, (STEPS, 7)).astype(np.float32),
        "steps/is_terminal": last & terminal,
        "steps/language_instruction": ["lift the cup"] * STEPS,
        "steps/observation/image": [jpeg(10 * number + step) for step in range(STEPS)],
        "steps/reward": last * np.float32(reward),
    }
    return found if success is None else found | {SUCCESS.key: success}


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """A source of episodes that end in these ways."""

    def make(*ends: dict[str, Any], **settings: Any) -> RLDS:
        leaves = (*LEAVES, SUCCESS) if any("success" in end for end in ends) else LEAVES
        root = tmp_path / "log/1.0.0"
        if not root.exists():
            write_dataset(tmp_path, "log", leaves, {"train": [[recorded(n, **end) for n, end in enumerate(ends)]]})
        return RLDS(path=str(root), action_space="widowx_bridge", **settings)

    return make


def prepare(source: RLDS, folder: Path, small: bool = False) -> Store:
    """The source's store; `small` makes a unit of each episode."""
    each = [piece for unit in source.units() for piece in (source.pieces(unit, 1) if small else [unit])]
    orders = begin("log", source, folder, [replace(unit, index=index) for index, unit in enumerate(each)])
    units = [prepare_unit(order) for order in orders]
    rows = [gather_rows(order) for order in gather_orders("log", folder.with_name(f".{folder.name}.partial"), units)]
    seal_store("log", source, folder, units, rows)
    return Store(folder)


def ended(store: Store) -> list[int]:
    """Episodes with a terminate token."""
    table = store.take("train", np.arange(store.info.splits["train"].rows)).to_pylist()
    assert all(row["step"] == STEPS - 1 for row in table if row["terminate"])
    return sorted(int(row["group"][-6:]) for row in table if row["terminate"])


SAID = {
    "success": ([{"success": True}, {"success": False}, {"success": True}], [0, 2]),
    "success where all are terminal": (
        [{"success": True, "terminal": True}, {"success": False, "terminal": True, "reward": 1}, {"success": True}],
        [0, 2],
    ),
    "is_terminal": ([{"terminal": True}, {"terminal": False}, {"terminal": True}], [0, 2]),
    "reward": ([{"reward": 1}, {"reward": 0}, {"reward": 1}], [0, 2]),
    "reward where all are terminal": (
        [{"terminal": True, "reward": 1}, {"terminal": True}, {"terminal": True, "reward": 1}],
        [0, 2],
    ),
    "reward that is always 0 and is_terminal that tells": ([{"terminal": True}, {}, {"terminal": True}], [0, 2]),
    "nothing at all": ([{}, {}, {}], [0, 1, 2]),
    "all marked alike": ([{"terminal": True, "reward": 1, "success": True}] * 3, [0, 1, 2]),
    "success never set": ([{"terminal": True, "success": False}] * 3, [0, 1, 2]),
}


@pytest.mark.parametrize("name", SAID)
def test_auto_believes_what_tells_ends_apart(log: Log, tmp_path: Path, name: str) -> None:
    ends, successes = SAID[name]
    store = prepare(log(*ends), tmp_path / "store")
    assert ended(store) == successes
    assert store.info.splits["train"].rows == 3 * STEPS


def test_units_change_no_end_and_no_byte(log: Log, tmp_path: Path) -> None:
    """The only success stands in a unit of its own."""
    source = log(*({"success": n == 4, "terminal": True} for n in range(5)))
    whole, parts = prepare(source, tmp_path / "whole"), prepare(source, tmp_path / "parts", small=True)
    assert ended(parts) == ended(whole) == [4]
    assert (parts.info.digest, parts.info.facts) == (whole.info.digest, whole.info.facts)
    assert len([stamp for stamp in parts.stamps if not stamp.version]) == 5, "one unit for each episode"


@pytest.mark.parametrize(
    ("rule", "successes"), [("last_step", [0, 1, 2]), ("is_terminal", [0, 1]), ("never", []), ("success", [0]), ("auto", [0])]
)
def test_what_the_recipe_says(log: Log, tmp_path: Path, rule: str, successes: list[int]) -> None:
    ends = [{"success": True, "terminal": True}, {"success": False, "terminal": True}, {"success": False}]
    assert ended(prepare(log(*ends, terminate=rule), tmp_path / "store")) == successes


def test_terminate_tokens_are_part_of_a_row(log: Log, tmp_path: Path) -> None:
    ends = [{"success": True}, {"success": False}]
    digests = {rule: prepare(log(*ends, terminate=rule), tmp_path / rule).info.digest for rule in ("auto", "last_step", "never")}
    assert len(set(digests.values())) == 3


# The filter


def test_only_successes_are_kept_and_the_rest_is_listed(log: Log, tmp_path: Path) -> None:
    source = log({"success": True}, {"success": False}, {"success": True}, filters={"success": True})
    store = prepare(source, tmp_path / "store")
    assert ended(store) == [0, 2]
    assert store.info.splits["train"].rows == 2 * STEPS
    assert [(lost.reason, lost.count, lost.fault) for lost in store.info.rejects] == [("failed_episode", STEPS, False)]
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "store/rejects.parquet").to_pylist()[0]["where"] == "episode train-00000-000001"
    guess = estimate_store("log", source, tmp_path / "none", "train", 0)
    assert guess.estimate.rows.value == 2 * STEPS
    assert guess.table["terminate"].to_pylist().count(True) == 2


@pytest.mark.parametrize("settings", [{"filters": {"success": True}}, {"terminate": "success"}])
def test_a_source_that_marks_no_success_is_refused(log: Log, tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="source log does not say which episodes are successes") as caught:
        prepare(log({"terminal": True}, {"terminal": True}, **settings), tmp_path / "store")
    assert caught.value.code == 3


# Told


def built(log: Log, tmp_path: Path, *ends: dict[str, Any]) -> Manifest:
    source = log(*ends)
    path = tmp_path / "mix.yaml"
    path.write_text(
        f"robot_frac: 1\nstore: store\nrobot: {{log: {{kind: rlds, path: {source.path}, action_space: widowx_bridge}}}}\n"
    )
    return build_plainly(read_recipe(path), Site(tmp_path / "out"))


def codes(manifest: Manifest) -> dict[str, str]:
    return {warn.code: warn.what for warn in manifest.plan.warnings}


def test_ends_that_are_assumed_are_told(log: Log, tmp_path: Path) -> None:
    assert "2 episodes is marked a success" in codes(built(log, tmp_path, {"terminal": True}, {"terminal": True}))["ends_assumed"]


def test_failures_are_told(log: Log, tmp_path: Path) -> None:
    told = codes(built(log, tmp_path, {"success": True}, {"success": False}))
    assert told["ends"] == "of 2 episodes 1 are marked as failures: they carry no terminate token"
    assert "ends_assumed" not in told


def test_real_bridge_says_nothing_and_the_real_quadrotor_does(shared_data: Path, tmp_path: Path) -> None:
    for name, space, tells in (
        ("rlds_bridge/bridge_dataset/1.0.0", "widowx_bridge", False),
        ("sim_quadrotor_rlds", "generic_nd", True),
    ):
        store = prepare(RLDS(path=str(shared_data / name), action_space=space, splits="train"), tmp_path / space)
        assert tells_success(store.info.facts) == tells
        assert len(ended_anywhere(store)) == store.info.splits["train"].groups


def ended_anywhere(store: Store) -> list[str]:
    table = store.take("train", np.arange(store.info.splits["train"].rows)).to_pylist()
    return [row["group"] for row in table if row["terminate"]]


# Marks


@pytest.mark.parametrize(
    ("rewards", "mark"),
    [
        ([0, 0, 0, 1], End.REWARDED),
        ([0, 0, 1, 0], End.REWARDED),  # RLDS leaves that of the last step undefined
        ([0, 1, 0, 0], End.UNREWARDED),
        ([0, 0, 0, 0], End.UNREWARDED),
        ([0.1, 0.2, 0.3, 0.9], None),
        ([-1, -1, -1, 0], None),
        ([0, 0, 0, float("nan")], None),
        ([0, None, 0, 1], None),
    ],
)
def test_a_sparse_reward_is_a_mark(rewards: list[float | None], mark: End | None) -> None:
    marks = marks_of(episode(4, reward=rewards)) & (End.REWARDED | End.UNREWARDED)
    assert marks == (End(0) if mark is None else mark)


def test_no_marks_where_the_action_ends_the_task() -> None:
    actions = [np.append(np.float32([0]), np.full(7, step / 10, np.float32)) for step in range(3)]
    made = found(episode(3, action=actions, success=[None, None, False]), action_space="google_robot")
    assert not any(getattr(each, "name", "").startswith("ends") for each in made)


@given(st.lists(st.sets(st.sampled_from([*OPPOSITES, *OPPOSITES.values()])), min_size=1, max_size=8), st.booleans())
def test_a_mark_that_is_never_set_refutes_nobody(episodes: list[set[End]], only: bool) -> None:
    flags = [sum(marks | ({End.WANTED} if only else set())) for marks in episodes]
    facts = {fact_name(mark): sum(mark in marks for marks in episodes) for mark in (*OPPOSITES, *OPPOSITES.values())}
    marks, against = np.array(flags, np.uint8), refuted(facts)
    good, kept = succeeded(marks, against), wanted(marks, against)
    assert kept.all() or only
    assert not (kept & ~good).any() or not only
    for positive, negative in OPPOSITES.items():
        if not facts[fact_name(positive)]:
            without = succeeded(marks & ~np.uint8(negative), against)
            assert (without == good).all()
    assert all(good[at] for at, each in enumerate(episodes) if End.SUCCESS in each)
