"""What filters drop, by reason and task, on real logs; where a build stops; and what is dropped once is dropped again by ranges."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.build import Site, build_plainly, preparations, prepare_by
from rt2data.cli.store import StoreRoot, keep_ranges
from rt2data.engines.base import InTurn
from rt2data.errors import DataError, SourceChangedError, UsageError
from rt2data.forecast.forecast import forecast_plan, known_sources
from rt2data.io.location import path_of
from rt2data.plan.decide import decide
from rt2data.plan.filtered import FilterReport, filter_reports
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.plan.source_notes import filters as filter_notes
from rt2data.prepare.catalog import kept_stores
from rt2data.prepare.filtered import TASKS_PARQUET
from rt2data.prepare.kept_ranges import kept_ranges
from rt2data.prepare.store import Store
from tests.conftest import sha256_of
from tests.contract.toy import jpeg
from tests.read.test_rlds import LEAVES
from tests.tfds_writing import write_dataset

pytestmark = pytest.mark.long

BRIDGE = "{kind: rlds, path: rlds_bridge/bridge_dataset/1.0.0, action_space: widowx_bridge, filters: {FILTERS}}"
QUAD = "{kind: rlds, path: sim_quadrotor_rlds/sim_pyflyt_quad/1.0.0, action_space: generic_nd, filters: {FILTERS}}"


def prepared(recipe: Recipe) -> dict[str, Store]:
    with preparations(recipe, path_of(recipe.store_folder)) as todo:
        return prepare_by(InTurn(), todo)


def ready(recipe: Recipe) -> bool:
    """Whether the store of the only source is."""
    with preparations(recipe, path_of(recipe.store_folder)) as todo:
        return todo[0].ready


@pytest.fixture
def real(shared_data: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """A recipe of one real log with some filters."""

    def recipe(log: str, filters: str, **settings: str) -> Recipe:
        source = log.replace("path: ", f"path: {shared_data}/").replace("{FILTERS}", f"{{{filters}}}")
        (tmp_path / "r.yaml").write_text(f"robot_frac: 1\nstore: store\nsize: {{num_examples: 50}}\nrobot: {{arm: {source}}}\n")
        return read_recipe(tmp_path / "r.yaml", [f"robot.arm.{name}={value}" for name, value in settings.items()], check=True)

    return recipe


def report(recipe: Recipe) -> FilterReport:
    return filter_reports(recipe, prepared(recipe))[0]


# Golden figures

GOLDEN = {
    "bridge by origin": (BRIDGE, "path: carrot", 40, {"path_filter": (90, 9)}),
    "bridge by words": (BRIDGE, "instruction: carrot", 40, {"instruction_filter": (90, 9)}),
    "bridge by name": (BRIDGE, "episodes: [train-00000-000003, val-00000-000001]", 20, {"not_in_episodes": (110, 11)}),
    "bridge without": (BRIDGE, "exclude_episodes: [train-00000-000003]", 120, {"excluded_episode": (10, 1)}),
    "bridge noop": (BRIDGE, "noop: 0.02", 100, {"noop": (30, 13)}),
    "bridge limit": (BRIDGE, "limit: 2", 40, {"limit": (None, 9)}),
    "bridge idle": (BRIDGE, "idle: {min_idle: 1, min_non_idle: 1, drop_last: 0, below: 0.005}", 126, {"idle": (4, 3)}),
    "quad idle": (QUAD, "idle: {}", 589, {"idle": (150, 15)}),
    "quad by origin": (QUAD, "path: 'ep_0000[0-9]'", 225, {"path_filter": (514, 10)}),
    "quad limit": (QUAD, "limit: 10", 489, {"limit": (None, 5)}),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_real_logs(real: Callable[..., Recipe], case: str) -> None:
    log, filters, rows, dropped = GOLDEN[case]
    found = report(real(log, filters))
    assert (found.kept, {each.reason: (each.steps, each.episodes) for each in found.dropped}) == (rows, dropped)
    assert found.steps == rows + sum(steps or 0 for steps, _ in dropped.values())


def test_an_estimate_of_all_is_exact(real: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = real(QUAD, "idle: {}, exclude_episodes: [train-00000-000002]")
    (guess,) = forecast_plan(recipe, known_sources(recipe, tmp_path / "none")).filters
    exact = report(recipe)
    assert guess.estimated and not exact.estimated
    for name in ("steps", "kept", "dropped", "tasks", "emptied", "worst"):
        assert getattr(guess, name) == getattr(exact, name)
    assert [(each.task, each.kept, each.steps) for each in exact.worst][:2] == [
        ("approach the blue sphere and hover", 26, 36),
        ("go through the blue gate", 28, 38),
    ]


def test_a_source_without_filters_has_no_report_and_no_new_file(real: Callable[..., Recipe]) -> None:
    recipe = real(BRIDGE, "")
    stores = prepared(recipe)
    assert filter_reports(recipe, stores) == ()
    assert not (stores["arm"].path / TASKS_PARQUET).exists()
    assert "filter_files" not in stores["arm"].info.settings and not {"max_dropped", "empty_tasks"} & {*stores["arm"].info.settings}
    assert set(stores["arm"].info.settings["filters"]) == {
        *("min_steps", "max_steps", "instruction", "success", "drop_first", "drop_last", "noop"),
    }


# Ranges there and back


def test_what_a_store_keeps_is_kept_by_its_ranges(real: Callable[..., Recipe], tmp_path: Path) -> None:
    by_motion = real(BRIDGE, "noop: 0.02")
    stores = prepared(by_motion)
    build_plainly(by_motion, Site(tmp_path / "one"))
    keep_ranges(StoreRoot(), str(stores["arm"].path), tmp_path / "ranges.json", force=False, as_json=False)
    assert {
        name: [tuple(each) for each in found] for name, found in json.loads((tmp_path / "ranges.json").read_text()).items()
    } == (kept_ranges(stores["arm"]))
    by_ranges = real(BRIDGE, "keep_ranges: ranges.json")
    build_plainly(by_ranges, Site(tmp_path / "other"))
    again = prepared(by_ranges)["arm"]
    assert again.info.digest == stores["arm"].info.digest and kept_ranges(again) == kept_ranges(stores["arm"])
    assert sha256_of(tmp_path / "one") == sha256_of(tmp_path / "other")
    assert sum(stop - start for each in kept_ranges(again).values() for start, stop in each) == 100


def test_other_ranges_are_another_store_and_the_same_are_the_same(real: Callable[..., Recipe], tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    path.write_text('{"train-00000-000000": [[0, 3]], "train-00000-000001": []}')
    recipe = real(BRIDGE, "keep_ranges: ranges.json", max_dropped="100%")
    first = prepared(recipe)["arm"]
    assert ready(recipe) and first.info.splits["train"].rows == 3
    path.write_text('{"train-00000-000000": [[0, 4]], "train-00000-000001": []}')
    assert prepared(recipe)["arm"].info.splits["train"].rows == 4


def test_only_robots_have_ranges(toy_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    stores = prepared(toy_recipe())
    with pytest.raises(UsageError, match="only the store of a robot has episodes"):
        keep_ranges(StoreRoot(), str(stores["qa"].path), tmp_path / "k.json", force=False, as_json=False)
    (tmp_path / "k.json").write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        keep_ranges(StoreRoot(), str(stores["arm"].path), tmp_path / "k.json", force=False, as_json=False)


def test_an_empty_store_has_no_ranges(real: Callable[..., Recipe]) -> None:
    assert kept_ranges(prepared(real(BRIDGE, "path: nowhere"))["arm"]) == {}


# What stops a build


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Recipe]:
    """A log of four episodes of ten steps and two tasks; the robot rests in the last two, which are the second task."""
    rng, steps = np.random.default_rng(0), 10

    def episode(number: int) -> dict[str, Any]:
        action = rng.uniform(0.1, 0.5, (steps, 7)) if number < 2 else np.full((steps, 7), 0.25)
        return {
            "episode_metadata/file_path": f"lab/{number}",
            "steps/action": np.cumsum(action, axis=0).astype(np.float32) if number < 2 else action.astype(np.float32),
            **{f"steps/{name}": [False] * steps for name in ("is_first", "is_last", "is_terminal")},
            "steps/language_instruction": ["push" if number < 2 else "wait here"] * steps,
            **{f"steps/observation/image_{k}": [jpeg(number)] * steps for k in (0, 1)},
            "steps/observation/state": np.zeros((steps, 8), np.float32),
        }

    root = write_dataset(tmp_path, "log", LEAVES, {"train": [[episode(number) for number in range(4)]]})

    def recipe(filters: str, **settings: str) -> Recipe:
        (tmp_path / "r.yaml").write_text(
            f"robot_frac: 1\nstore: store\nsize: {{num_examples: 5}}\n"
            f"robot: {{arm: {{kind: rlds, path: {root}, action_space: widowx_bridge, filters: {{drop_last: 0, {filters}}}}}}}\n"
        )
        return read_recipe(tmp_path / "r.yaml", [f"robot.arm.{name}={value}" for name, value in settings.items()], check=True)

    return recipe


def stopped(recipe: Recipe) -> DataError:
    with pytest.raises(DataError) as caught:
        decide(recipe, prepared(recipe))
    assert caught.value.code == 3
    return caught.value


def test_a_task_that_filters_of_steps_empty_stops_a_build(log: Callable[..., Recipe]) -> None:
    recipe = log("idle: {min_non_idle: 2, drop_last: 0}")
    assert str(stopped(recipe)) == (
        "filters leave nothing of 1 of 2 tasks of source arm ['wait here' of 20 steps]"
        " -> loosen the filters, or set empty_tasks: allow"
    )
    allowed = log("idle: {min_non_idle: 2, drop_last: 0}", empty_tasks="allow")
    assert ready(allowed), "what is allowed changes no store"
    assert decide(allowed, prepared(allowed)).plan.sources[0].rows == 20
    found = report(allowed)
    assert (found.tasks, found.emptied, found.worst[0].kept, found.worst[0].steps) == (2, 1, 0, 20)


def test_a_task_that_the_recipe_leaves_out_stops_nothing(log: Callable[..., Recipe]) -> None:
    for filters in ("instruction: push", "path: 'lab/[01]'", "episodes: [lab/0]", "exclude_episodes: [lab/2, lab/3]"):
        recipe = log(filters)
        assert decide(recipe, prepared(recipe)).plan.sources[0].rows in (10, 20)
        assert (report(recipe).tasks, report(recipe).emptied) == (1, 0)


def test_too_many_dropped_steps_stop_a_build(log: Callable[..., Recipe]) -> None:
    recipe = log("idle: {min_non_idle: 2, drop_last: 0}", max_dropped="49%", empty_tasks="allow")
    store = prepared(recipe)["arm"].path
    assert str(stopped(recipe)) == (
        "filters drop 20 of 40 steps of source arm, more than max_dropped 0.49 allows [20 idle]"
        f" -> look at them: rt2data store rejects {store}; then loosen the filters, or raise max_dropped"
    )
    for share in ("50%", "1"):
        allowed = log("idle: {min_non_idle: 2, drop_last: 0}", max_dropped=share, empty_tasks="allow")
        assert decide(allowed, prepared(allowed)).plan.sources[0].rows == 20


def test_by_default_nine_of_ten_steps_may_go(log: Callable[..., Recipe]) -> None:
    recipe = log("drop_first: 9")
    assert decide(recipe, prepared(recipe)).plan.sources[0].rows == 4
    assert str(stopped(log("drop_first: 10"))).startswith(
        "filters drop 40 of 40 steps of source arm, more than max_dropped 0.9 allows [40 first_step]"
    )


@pytest.mark.parametrize("setting", ["episodes", "exclude_episodes"])
def test_a_list_that_names_nothing_stops_a_build(log: Callable[..., Recipe], setting: str) -> None:
    assert str(stopped(log(f"{setting}: [nope, zero]"))) == (
        f"source arm has no episode that filters.{setting} names [such as nope]"
        " -> name episodes as the prepared store does, or by their origin"
    )


def test_ranges_of_another_log_stop_a_build(log: Callable[..., Recipe], tmp_path: Path) -> None:
    (tmp_path / "ranges.json").write_text('{"elsewhere": [[0, 5]]}')
    recipe = log("keep_ranges: ranges.json")
    said = (
        "source arm has no episode that filters.keep_ranges names [such as elsewhere]"
        " -> name episodes as the prepared store does, or by their origin"
    )
    with pytest.raises(DataError) as caught:
        forecast_plan(recipe, known_sources(recipe, tmp_path / "none"))
    assert str(caught.value) == said, "known from a sample, as nothing is left of it"
    assert str(stopped(recipe)) == said


def test_a_sample_only_warns(log: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = log("idle: {min_non_idle: 2, drop_last: 0}")
    found = forecast_plan(recipe, known_sources(recipe, tmp_path / "none"))
    assert [each.what for each in found.warnings if each.code == "filters"] == [
        "a build may stop: in a sample, filters leave nothing of 1 of 2 tasks of source arm ['wait here' of 20 steps]"
    ]


# Notes


def notes(recipe: Recipe) -> list[tuple[str, str, str]]:
    stores = prepared(recipe)
    (planned,) = decide(recipe, stores).plan.sources
    return [(code, level, what) for code, level, what, _ in filter_notes(recipe.robot["arm"], stores["arm"].info, planned)]


def test_names_that_match_nothing_are_reported_by_name(log: Callable[..., Recipe]) -> None:
    assert notes(log("exclude_episodes: [lab/0, nope, zero]")) == [
        ("filter_names", "warning", "filters.exclude_episodes names episodes that there are not: nope, zero")
    ]
    many = ", ".join(f"n{k:02d}" for k in range(20))
    (said,) = notes(log(f"exclude_episodes: [lab/0, {many}]"))
    assert said[2].endswith(": n00, n01, n02, n03, n04, n05, n06, n07 and 12 more")
    assert notes(log("exclude_episodes: [lab/0]")) == []


@pytest.mark.parametrize(("known", "level"), [(4, "note"), (3, "warning")])
def test_ranges_tell_how_many_episodes_they_know(log: Callable[..., Recipe], tmp_path: Path, known: int, level: str) -> None:
    (tmp_path / "ranges.json").write_text(json.dumps({f"lab/{k}": [[0, 5]] for k in range(known)}))
    said = f"filters.keep_ranges knows {known} of 4 episodes; the others are dropped"
    assert notes(log("keep_ranges: ranges.json")) == [("keep_ranges", level, said)]


# Growth, pruning and older versions


def test_a_store_of_a_version_that_did_not_count_tasks_has_none(log: Callable[..., Recipe]) -> None:
    recipe = log("idle: {min_non_idle: 2, drop_last: 0}")
    stores = prepared(recipe)
    (stores["arm"].path / TASKS_PARQUET).unlink()
    found = filter_reports(recipe, stores)[0]
    assert (found.tasks, found.emptied, found.worst) == (0, 0, ()) and found.kept == 20
    assert decide(recipe, stores).plan.sources[0].rows == 20


def test_what_units_lost_goes_with_them(log: Callable[..., Recipe], tmp_path: Path) -> None:
    prepared(log("noop: 0.001"))
    root = tmp_path / "store"
    assert len([*root.glob("units/*/lost-*.parquet")]) == 1
    (kept,) = kept_stores(root)
    own = [path for folder in (kept.path, *root.glob("units/*")) for path in folder.iterdir()]
    of_all = {"known.parquet", "last-store.txt"}
    assert kept.bytes == sum(path.stat().st_size for path in own if path.name not in of_all)


def test_a_list_that_changes_while_a_source_is_prepared_is_noticed(log: Callable[..., Recipe], tmp_path: Path) -> None:
    (tmp_path / "list").write_text("lab/0\n")
    recipe = log("episodes: list")
    with preparations(recipe, path_of(recipe.store_folder)) as todo:
        (tmp_path / "list").write_text("lab/1\n")
        with pytest.raises(SourceChangedError, match="changed") as caught:
            prepare_by(InTurn(), todo)
    assert caught.value.where == str(tmp_path / "list") and caught.value.code == 7
