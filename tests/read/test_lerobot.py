"""LeRobot's rows and frames are read as its own files hold them, and what its metadata says wrongly is counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import xxhash

from rt2data.build import Preparation, prepare_plainly
from rt2data.images.headers import ImageFault
from rt2data.prepare.begin import begin, store_folder
from rt2data.read import units as read_units
from rt2data.read.lerobot.facts import FOUND, WORDS
from rt2data.read.lerobot.source import LeRobot
from rt2data.read.video_frames import Frame
from rt2data.records import Fact, Image, Reject, SourceRecord, Step
from tests.read.lerobot_writing import (
    TASKS,
    change_info,
    change_rows,
    made,
    picture,
    png,
    video_of,
    write_v21,
    write_v30,
)


def source(path: Path, **settings: Any) -> LeRobot:
    return LeRobot.model_validate({"path": str(path), "action_space": "generic_nd", **settings})


def records(found: LeRobot) -> Iterator[SourceRecord]:
    for unit in found.units():
        yield from found.read(unit)


def steps(found: LeRobot) -> Iterator[Step]:
    return (each for each in records(found) if isinstance(each, Step))


def facts(found: LeRobot) -> dict[str, int]:
    counts = Counter[str]()
    for each in records(found):
        if isinstance(each, Fact):
            counts[each.name.removeprefix(FOUND)] += each.count
        elif isinstance(each, Step):
            [_seen(image) for image in each.images]
    assert set(counts) <= set(WORDS)
    return dict(counts)


def _seen(image: Image) -> Any:
    """What an image is, or why it is none."""
    try:
        return image.content()
    except ImageFault as fault:
        return fault.reason


def seen(found: LeRobot, camera: str = "front") -> list[Any]:
    """Of every step the frame of a camera, or the reason why there is none."""
    return [_seen(image) for step in steps(found) for image in step.images if image.camera == camera]


def shown(path: Path) -> list[np.ndarray[Any, Any]]:
    """Every frame of a video, as PyAV gives it."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def digest(pixels: np.ndarray[Any, Any]) -> str:
    return f"{pixels.shape}{xxhash.xxh3_128_hexdigest(np.ascontiguousarray(pixels))}"


# Real logs

REAL_VIDEOS = [
    "lerobot_v21_g1",
    pytest.param("lerobot_v30_g1", marks=pytest.mark.slow),
    pytest.param("sim_aloha_lerobot_v21", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", REAL_VIDEOS)
def test_real_frames_are_those_that_pyav_decodes(name: str, shared_data: Path) -> None:
    """Every frame of every step, beside a plain loop over the same videos."""
    expected = [digest(frame) for path in sorted((shared_data / name / "videos").rglob("*.mp4")) for frame in shown(path)]
    found = [digest(step.images[0].content()) for step in steps(source(shared_data / name))]
    assert found == expected and len(set(found)) > len(found) / 2


@pytest.mark.parametrize("name", ["lerobot_v21_g1", "lerobot_v30_g1", "sim_aloha_lerobot_v21", "sim_quadrotor_lerobot_v30_images"])
def test_real_numbers_and_words_are_those_of_the_files(name: str, shared_data: Path) -> None:
    root = shared_data / name
    found = list(steps(source(root)))
    tables = [pq.read_table(path) for path in sorted((root / "data").rglob("*.parquet"))]
    words = _tasks(root)
    at = iter(found)
    for table in tables:
        for row in table.to_pylist():
            step = next(at)
            assert step.action.dtype == np.float32 and step.action.tolist() == row["action"]
            assert step.state is not None and step.state.tolist() == row["observation.state"]
            assert step.episode == f"episode-{row['episode_index']:06d}" and step.step == row["frame_index"]
            assert step.instruction == words[row["task_index"]]
            assert step.timestamp == row["timestamp"]
            assert step.reward == row.get("next.reward")
    assert next(at, None) is None
    assert facts_of_numbers(root) == {}


def facts_of_numbers(root: Path) -> dict[str, int]:
    found = source(root)
    return {each.name: each.count for each in records(found) if isinstance(each, Fact)}


def _tasks(root: Path) -> dict[int, str]:
    if (root / "meta/tasks.jsonl").exists():
        return {row["task_index"]: row["task"] for row in map(json.loads, (root / "meta/tasks.jsonl").read_text().splitlines())}
    table = pq.read_table(root / "meta/tasks.parquet").to_pylist()
    return {row["task_index"]: row["task"] for row in table}


def test_real_images_keep_their_bytes(shared_data: Path) -> None:
    root = shared_data / "sim_quadrotor_lerobot_v30_images"
    column = pq.read_table(root / "data/chunk-000/file-000.parquet", columns=["observation.images.onboard"])[0].to_pylist()
    assert [step.images[0].content() for step in steps(source(root))] == [each["bytes"] for each in column]


def test_published_statistics_are_those_of_the_steps(shared_data: Path) -> None:
    """meta/episodes_stats.jsonl, made by others from the same log."""
    root, by_episode = shared_data / "lerobot_v21_g1", dict[str, list[Step]]()
    for step in steps(source(root)):
        by_episode.setdefault(step.episode, []).append(step)
    for line in (root / "meta/episodes_stats.jsonl").read_text().splitlines():
        published = json.loads(line)
        episode = by_episode[f"episode-{published['episode_index']:06d}"]
        for name, columns in (("action", [s.action for s in episode]), ("observation.state", [s.state for s in episode])):
            values = np.array(columns)  # float32, as there
            for what in ("min", "max", "mean", "std"):
                assert getattr(values, what)(axis=0) == pytest.approx(published["stats"][name][what], abs=5e-7)
        assert published["stats"]["action"]["count"] == [len(episode)]


def test_one_log_in_two_versions_is_read_alike(shared_data: Path) -> None:
    old, new = (steps(source(shared_data / name)) for name in ("lerobot_v21_g1", "lerobot_v30_g1"))
    for one, other in zip(old, new, strict=True):
        assert (one.episode, one.step, one.steps, one.split) == (other.episode, other.step, other.steps, other.split)
        assert one.action.tobytes() == other.action.tobytes() and one.instruction == other.instruction
        assert (one.is_first, one.is_last, one.timestamp) == (other.is_first, other.is_last, other.timestamp)
        if one.step % 20 == 0:
            assert np.array_equal(one.images[0].content(), other.images[0].content())


@pytest.mark.slow
def test_one_log_in_two_versions_gives_the_same_store(shared_data: Path, tmp_path: Path) -> None:
    """Keys, order, actions, states, words, ends and the bytes of the images."""
    old, new = (stored(source(shared_data / name), tmp_path / name) for name in ("lerobot_v21_g1", "lerobot_v30_g1"))
    assert len(old) == 498 and old == new


def stored(found: LeRobot, folder: Path) -> list[dict[str, Any]]:
    """The rows of a store; of its files only the names differ."""
    place = store_folder(folder, "log", found)
    prepare_plainly(Preparation("log", found, place, tuple(begin("log", found, place))))
    rows = [row for path in sorted(place.glob("rows-*.parquet")) for row in pq.read_table(path).to_pylist()]
    for row in rows:
        row["images"] = [{key: value for key, value in image.items() if key != "file"} for image in row["images"]]
    return rows


def test_real_successes_and_rewards(shared_data: Path) -> None:
    for name in ("sim_aloha_lerobot_v21", "sim_quadrotor_lerobot_v30_images"):
        for table in (pq.read_table(path) for path in sorted((shared_data / name / "data").rglob("*.parquet"))):
            expected = {}
            for row in table.to_pylist():
                expected[row["episode_index"]] = expected.get(row["episode_index"], False) or row["next.success"]
            found = {int(s.episode[-6:]): s.success for s in steps(source(shared_data / name)) if s.is_last}
            assert expected.items() <= found.items()


# What is written here


def test_versions_and_codecs_give_the_same_steps(tmp_path: Path) -> None:
    """Two cameras, one in video and one in a column; several files; an episode that begins in the middle of a video."""
    episodes = [made(seed, 8 + seed, ("front", "wrist")) for seed in range(4)]
    old = write_v21(tmp_path / "old", episodes, stills=["wrist"])
    new = write_v30(tmp_path / "new", episodes, stills=["wrist"], files=2)
    found = [list(map(_plain, steps(source(root)))) for root in (old, new)]
    assert [each[:-1] for each in found[0]] == [each[:-1] for each in found[1]]
    assert [each[0] for each in found[0]] == [f"episode-{n:06d}" for n, each in enumerate(episodes) for _ in each.action]
    for step, pixels in zip(steps(source(new)), (frame for each in episodes for frame in each.frames["front"]), strict=True):
        by_name = {image.camera: image.content() for image in step.images}
        assert _alike(by_name["front"], pixels) and by_name["wrist"] == png(
            episodes[int(step.episode[-1])].frames["wrist"][step.step]
        )


def _plain(step: Step) -> tuple[Any, ...]:
    assert step.state is not None
    return step.episode, step.step, step.action.tobytes(), step.state.tobytes(), step.instruction, step.timestamp


def _alike(found: Any, pixels: np.ndarray[Any, Any]) -> bool:
    """The same picture, once compressed: another one differs by tens."""
    return bool(np.abs(found.astype(int) - pixels.astype(int)).mean() < 12)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libsvtav1"])
def test_frames_of_every_codec(codec: str, tmp_path: Path) -> None:
    root = write_v21(tmp_path, [made(0, 30)], codec=codec)
    found = seen(source(root))
    assert [digest(each) for each in found] == [digest(each) for each in shown(video_of(root, 0))]
    assert all(_alike(each, picture(step)) for step, each in enumerate(found))


def test_steps_that_are_passed_over_change_no_other(tmp_path: Path) -> None:
    """Any step may go unasked: the frames of the others are their own, also where many are passed over."""
    root = write_v30(tmp_path, [made(0, 90), made(1, 200)])
    whole = list(map(digest, seen(source(root))))
    for every in (3, 70):
        found = [(at, digest(step.images[0].content())) for at, step in enumerate(steps(source(root))) if at % every == every - 1]
        assert found == [(at, whole[at]) for at, _ in found]


def test_frames_of_steps_that_were_read_before(tmp_path: Path) -> None:
    """A step that is kept gives its frame later too, though not as fast."""
    kept = list(steps(source(write_v21(tmp_path, [made(0), made(1)]))))
    for step in (kept[15], kept[3], kept[20], kept[3]):
        assert _alike(step.images[0].content(), picture(1000 * int(step.episode[-1]) + step.step))


def test_names_ranges_and_splits(tmp_path: Path) -> None:
    root = write_v21(tmp_path, [made(seed) for seed in range(5)])
    change_info(root, splits={"train": "0:5", "val": "3:5", "odd": "all of them"})
    found = source(root, action=["observation.state[1:3]", "action[0:2]"], splits=["val"])
    assert {step.split for step in steps(found)} == {"val"} and found.split_names() == ("train", "val")
    first = next(steps(found))
    assert first.episode == "episode-000003" and first.action.tolist() == [*made(3).state[0, 1:], *made(3).action[0, :2]]
    assert facts(source(root))["unknown_splits"] == 1
    column = next(each for each in source(root).columns() if each.path == "action")
    assert column.names == tuple(f"m{n}" for n in range(7)) and column.width == 7
    assert [each.setting for each in source(root, splits=["tset"]).invalid_settings()] == [("splits", 0)]


def test_words_of_a_column_of_text_or_of_numbers(tmp_path: Path) -> None:
    episode = made(0, 4)
    episode.more = {
        "language_instruction": ["a", "b", None, "d"],
        "annotation.human.task": np.array([1, 0, 9, 1]),
        "next.done": [False, True, False, True],
    }
    root = write_v21(tmp_path, [episode])
    assert [step.instruction for step in steps(source(root))] == [TASKS[0]] * 4
    assert [step.instruction for step in steps(source(root, instruction="language_instruction"))] == ["a", "b", "", "d"]
    numbered = source(root, instruction="annotation.human.task")
    assert [step.instruction for step in steps(numbered)] == [TASKS[1], TASKS[0], "", TASKS[1]]
    assert facts(numbered) == {"steps_of_unknown_tasks": 1, "done_inside": 1}
    assert [step.is_terminal for step in steps(source(root))] == [False] * 3 + [True]


def test_several_tasks_in_an_episode(tmp_path: Path) -> None:
    episode = made(0, 4)
    episode.tasks = [0, 0, 1, 1]
    assert [s.instruction for s in steps(source(write_v30(tmp_path, [episode])))] == [TASKS[0]] * 2 + [TASKS[1]] * 2


# Times


def test_a_frame_that_is_not_there(tmp_path: Path) -> None:
    """No other frame takes its place."""
    episode = made(0, 10)
    del episode.frames["front"][4]
    episode.shown["front"] = [time for at, time in enumerate(episode.times) if at != 4]
    root = write_v21(tmp_path, [episode])
    found = seen(source(root))
    assert found[4] == "missing_frame"
    assert all(_alike(each, picture(step)) for step, each in enumerate(found) if step != 4)
    assert facts(source(root)) == {"video_frames_differ": 1}


def test_a_video_that_begins_too_late(tmp_path: Path) -> None:
    """Its own times count, and it is told."""
    episode = made(0, 10)
    episode.shown["front"] = [time + 0.2 for time in episode.times]
    root = write_v21(tmp_path, [episode])
    found = seen(source(root))
    assert found[:2] == ["missing_frame"] * 2 and _alike(found[2], picture(0)) and _alike(found[9], picture(7))
    assert facts(source(root)) == {"video_starts_late": 1}


def test_a_video_that_ends_too_early(tmp_path: Path) -> None:
    episode = made(0, 10)
    episode.frames["front"] = episode.frames["front"][:7]
    episode.shown["front"] = episode.times[:7]
    assert seen(source(write_v21(tmp_path, [episode])))[7:] == ["missing_frame"] * 3


@pytest.mark.parametrize(("off", "reason"), [(0.04, None), (0.06, "missing_frame"), (-0.04, None), (-0.06, "missing_frame")])
def test_half_a_frame_is_the_limit(off: float, reason: str | None, tmp_path: Path) -> None:
    """A step between two frames has the nearer one, unless that is another step's."""
    episode = made(0, 9)
    episode.times = [time + (off if at == 5 else 0) for at, time in enumerate(episode.times)]
    episode.frames["front"] = [frame for at, frame in enumerate(episode.frames["front"]) if reason is None or at not in (4, 6)]
    episode.shown["front"] = [at / 10 for at in range(9) if reason is None or at not in (4, 6)]
    found = seen(source(write_v21(tmp_path, [episode])))
    assert found[5] == reason if reason else _alike(found[5], picture(5))


def test_two_steps_at_one_frame(tmp_path: Path) -> None:
    """It is that of the nearer one."""
    episode = made(0, 9)
    episode.times = [0.38 if at == 5 else time for at, time in enumerate(episode.times)]
    episode.shown["front"] = [at / 10 for at in range(9)]
    root = write_v21(tmp_path, [episode])
    found = seen(source(root))
    assert found[5] == "timestamp_not_rising" and _alike(found[4], picture(4)) and _alike(found[6], picture(6))
    assert facts(source(root)) == {"timestamps_not_rising": 1, "timestamp_gaps": 1}
    change_rows(root, 0, timestamp=np.array([0.42 if at == 5 else at / 10 for at in range(9)], np.float32))
    found = seen(source(root))
    assert found[5] == "repeated_frame" and _alike(found[4], picture(4)) and _alike(found[6], picture(6))


def test_times_that_are_no_numbers(tmp_path: Path) -> None:
    root = write_v21(tmp_path, [made(0, 6)])
    change_rows(root, 0, timestamp=np.array([0, 0.1, np.nan, 0.1, 0.4, 0.5], np.float32))
    found = seen(source(root))
    assert found[2:4] == ["bad_timestamp", "timestamp_not_rising"] and _alike(found[4], picture(4))


def test_without_timestamps_steps_are_counted(tmp_path: Path) -> None:
    root = write_v21(tmp_path, [made(0, 6)])
    change_rows(root, 0, timestamp=None)
    assert all(_alike(each, picture(step)) for step, each in enumerate(seen(source(root))))
    assert facts(source(root)) == {"no_timestamps": 1}
    change_info(root, fps="fast")
    (found,) = records(source(root))
    assert isinstance(found, Reject) and found.reason == "no_timestamps" and found.count == 6


def test_a_gap_in_time_is_counted_and_read_over(tmp_path: Path) -> None:
    episode = made(0, 8)
    episode.times = [at / 10 + 30 * (at >= 4) for at in range(8)]
    root = write_v21(tmp_path, [episode])
    assert all(_alike(each, picture(step)) for step, each in enumerate(seen(source(root))))
    assert facts(source(root)) == {"timestamp_gaps": 1}


# What info.json says wrongly


def test_what_differs_is_counted_and_the_files_are_believed(tmp_path: Path) -> None:
    root = write_v21(tmp_path, [made(seed, 6) for seed in range(3)])
    assert facts(source(root)) == {}
    change_info(
        root,
        total_frames=999,
        total_episodes=7,
        fps=30,
        splits={"train": "0:2"},
        codebase_version="v3.0",
        data_path="{video_key.__class__}/{episode_index:06d}",
        video_path="../../{video_key}/{episode_index}.mp4",
    )
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["action"]["shape"] = [99]
    change_info(root, features=info["features"])
    lines = (root / "meta/episodes.jsonl").read_text().splitlines()
    lines[0] = lines[0].replace('"length": 6', '"length": 60')
    (root / "meta/episodes.jsonl").write_text("\n".join([*lines[:2], '{"episode_index": 8, "tasks": [], "length": 5}']))
    assert facts(source(root)) == {
        "total_frames_differs": 1,
        "total_episodes_differs": 1,
        "data_path_differs": 1,
        "version_differs": 1,
        "shape_differs": 1,
        "episodes_without_data": 1,
        "unlisted_episodes": 1,
        "length_differs": 1,
        "episodes_in_no_split": 1,
        "fps_differs": 3,
    }
    found = seen(source(root))
    assert len(found) == 18 and all(_alike(each, picture(1000 * (at // 6) + at % 6)) for at, each in enumerate(found))
    assert source(root).describe()["differs"]["total_frames_differs"] == 1


def test_episodes_of_v3_that_meta_says_wrongly(tmp_path: Path) -> None:
    root = write_v30(tmp_path, [made(seed, 6) for seed in range(3)])
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take([0, 1]), path)
    found = seen(source(root))
    assert found[12:] == ["missing_video"] * 6 and _alike(found[11], picture(1005))
    assert facts(source(root)) == {"unlisted_episodes": 1, "total_episodes_differs": 1, "total_frames_differs": 1}
    pq.write_table(table.set_column(0, "episode_index", [[0, 1, 5]]), path)
    assert facts(source(root)) == {"unlisted_episodes": 1, "episodes_without_data": 1}


def test_numeric_order(tmp_path: Path) -> None:
    numbers = (2, 10, 9, 100)
    root = write_v21(tmp_path, {number: made(number, 3) for number in numbers})
    for number in numbers:
        path = root / f"data/chunk-000/episode_{number:06d}.parquet"
        path.rename(path.with_name(f"episode_{number}.parquet"))
    found = dict.fromkeys(step.episode for step in steps(source(root)))
    assert list(found) == [f"episode-{number:06d}" for number in sorted(numbers)]


def test_names_stay_when_episodes_are_added(tmp_path: Path) -> None:
    root = write_v21(tmp_path, [made(0, 3), made(1, 3)])
    before = [*map(_plain, steps(source(root)))]
    write_v21(root, [made(seed, 3) for seed in range(4)])
    assert [*map(_plain, steps(source(root)))][:6] == before


def test_units_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = source(write_v30(tmp_path, [made(seed, 6) for seed in range(6)], files=2))
    (unit,) = found.units()
    assert len(unit.each) == 6 and found.pieces(unit, 1) != [unit]
    whole = [*map(_plain, steps(found))]
    monkeypatch.setattr(read_units, "UNIT_BYTES", unit.bytes // 3)
    assert 2 < len(found.units()) < 6
    assert [*map(_plain, steps(found))] == whole


def test_a_frame_is_no_pixels_before_it_is_asked_for(tmp_path: Path) -> None:
    """An episode in hand is a few numbers; frames are decoded as they are taken."""
    found = [image for step in steps(source(write_v21(tmp_path, [made(0, 40)]))) for image in step.images]
    assert all(isinstance(image.data, Frame) for image in found)


def test_episode_by_episode(tmp_path: Path) -> None:
    """`episodes` gives what `read` gives."""
    found = source(write_v21(tmp_path, [made(0, 3)]))
    (unit,) = found.units()
    assert [type(each).__name__ for each in found.episodes(unit, found.layout())] == ["Episode"]
