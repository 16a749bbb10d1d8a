"""Damage, what is missing, and hostile files: told, counted, or refused, and never read as something else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rt2data.cli.app import app
from rt2data.errors import DataError, UsageError
from rt2data.read.lerobot.info import fill
from rt2data.read.lerobot.source import LeRobot
from rt2data.read.source import recognize
from rt2data.read.video import Video
from rt2data.records import Reject, Row, Step
from rt2data.standardize import standardize
from tests.damage import footer_flips
from tests.read.lerobot_writing import (
    IMAGE,
    change_info,
    change_rows,
    film,
    made,
    picture,
    png,
    video_of,
    write_v21,
    write_v30,
)
from tests.read.reading import rejects
from tests.read.test_lerobot import _alike, facts, records, seen, source, steps


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three episodes of v2.1."""
    return write_v21(tmp_path / "set", [made(seed, 8) for seed in range(3)])


def data_of(root: Path, episode: int) -> Path:
    return root / f"data/chunk-000/episode_{episode:06d}.parquet"


def cut(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


# Data files


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_data_file_that_is_cut(root: Path, share: float) -> None:
    cut(data_of(root, 1), share)
    with pytest.raises(DataError, match="not a whole Parquet file") as caught:
        source(root).units()
    assert "episode_000001" in caught.value.where


def test_pointers_of_git_lfs(root: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    data, video = data_of(root, 1).read_bytes(), video_of(root, 1)
    video.write_bytes(pointer)
    assert seen(source(root))[8:16] == ["unreadable_video"] * 8
    data_of(root, 1).write_bytes(pointer)
    with pytest.raises(DataError, match="git lfs pull"):
        source(root).units()
    data_of(root, 1).write_bytes(data)


def test_pages_that_are_damaged(root: Path) -> None:
    """Only that episode is lost."""
    path = data_of(root, 1)
    at = pq.ParquetFile(path).metadata.row_group(0).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[at : at + 60] = bytes(60)
    path.write_bytes(content)
    (lost,) = rejects(source(root))
    assert lost.reason == "corrupt_rows" and lost.count == 8 and "episode-000001" in lost.where
    assert len(list(steps(source(root)))) == 16


def test_columns_that_differ_between_files(root: Path) -> None:
    change_rows(root, 1, action=None)
    change_rows(root, 2, action=pa.array([[1.0] * (7 + at % 2) for at in range(8)], pa.list_(pa.float32())))
    assert [(each.reason, each.count) for each in rejects(source(root))] == [("missing_column", 8), ("ragged_episode", 8)]
    assert len(list(steps(source(root)))) == 8


def test_numbers_that_are_none(root: Path) -> None:
    action = np.random.default_rng(0).normal(size=(8, 7)).astype(np.float32)
    action[3, 2], action[4, 0] = np.nan, np.inf
    change_rows(root, 1, action=pa.array([*action], pa.list_(pa.float32())))
    change_rows(root, 2, action=pa.array([[float(at), None, 1.0] + [0.5] * 4 for at in range(8)], pa.list_(pa.float32())))
    found = source(root)
    rows = [each for each in standardize(found, records(found)) if isinstance(each, Row | Reject)]
    assert sum(isinstance(each, Row) for each in rows) == 8 + 6
    assert {each.reason for each in rows if isinstance(each, Reject)} == {"nan_action", "last_step"}


def test_an_episode_that_is_there_twice(root: Path) -> None:
    (root / "data/chunk-001").mkdir()
    shutil.copy(data_of(root, 1), root / "data/chunk-001/episode_000001.parquet")
    with pytest.raises(DataError, match="episode 1 is there twice"):
        source(root).units()


def test_rows_of_an_episode_that_lie_apart(tmp_path: Path) -> None:
    root = write_v30(tmp_path, [made(0, 4), made(1, 4)])
    path = root / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take([0, 1, 4, 5, 2, 3, 6, 7]), path)
    with pytest.raises(DataError, match="do not lie together"):
        source(root).units()
    pq.write_table(table.drop_columns(["episode_index"]), path)
    with pytest.raises(DataError, match="no column `episode_index`"):
        source(root).units()


def test_a_file_named_for_another_episode(root: Path) -> None:
    data_of(root, 2).rename(data_of(root, 7))
    video_of(root, 2).rename(video_of(root, 7))
    found = facts(source(root))
    assert found["episode_index_differs"] == found["unlisted_episodes"] == found["episodes_without_data"] == 1
    assert len(seen(source(root))) == 24


def test_episodes_without_steps(root: Path) -> None:
    path = data_of(root, 1)
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    (lost,) = rejects(source(root))
    assert lost.reason == "empty_episode" and len(list(steps(source(root)))) == 16


# Meta


def test_meta_that_is_damaged(root: Path) -> None:
    tasks, info = root / "meta/tasks.jsonl", root / "meta/info.json"
    whole = info.read_text()
    for path in (tasks, root / "meta/episodes.jsonl"):
        kept = path.read_text()
        path.write_text(kept[:-20])
        with pytest.raises(DataError, match="not JSON") as caught:
            source(root).units()
        assert "line" in caught.value.where and path.name in caught.value.where
        path.write_text(kept)
    for broken in ("", "{", "[]", "[" * 100_000, '"x"'):
        info.write_text(broken)
        with pytest.raises(DataError, match="not"):
            source(root).units()
    info.write_text(whole)
    info.unlink()
    with pytest.raises(UsageError, match="not a LeRobot dataset"):
        source(root).units()


def test_info_of_odd_kinds(tmp_path: Path) -> None:
    """Whatever a value is: the files are read."""
    root = write_v21(tmp_path, [made(0, 3)])
    kept = json.loads((root / "meta/info.json").read_text())
    odd: list[Any] = [None, [], {}, "x", -1, 1e400, True, [[]], {"a": {"b": []}}]
    for key in kept:
        for value in odd:
            (root / "meta/info.json").write_text(json.dumps(kept | {key: value}))
            assert len(list(steps(source(root)))) == 3, (key, value)
    features = {name: {"dtype": value, "shape": value, "names": value, "info": value} for name in kept["features"] for value in odd}
    (root / "meta/info.json").write_text(json.dumps(kept | {"features": features}))
    assert len(list(steps(source(root)))) == 3
    deep: Any = "x"
    for _ in range(50):
        deep = [deep]
    (root / "meta/info.json").write_text(json.dumps(kept | {"features": {"action": {"names": deep}}}))
    assert source(root).columns()


def test_parts_of_a_download(root: Path) -> None:
    shutil.rmtree(root / "videos")
    with pytest.raises(DataError, match="no video of the camera front"):
        source(root).units()
    shutil.rmtree(root / "data")
    with pytest.raises(UsageError, match="without its folder `data`"):
        source(root).units()
    (root / "data").mkdir()
    with pytest.raises(DataError, match="no data files"):
        source(root).units()


def test_v3_without_its_list_of_episodes(tmp_path: Path) -> None:
    """Images need none; videos begin nobody knows where."""
    root = write_v30(tmp_path, [made(seed, 4, ("front", "wrist")) for seed in range(2)], stills=["wrist"])
    shutil.rmtree(root / "meta/episodes")
    with pytest.raises(DataError, match="no meta/episodes"):
        source(root).units()
    found = seen(source(root, camera="wrist"), "wrist")
    assert found == [png(picture(1000 * (at // 4) + at % 4 + 7)) for at in range(8)]


def test_templates_that_give_one_video_to_several_episodes(root: Path) -> None:
    """The names of the files are believed."""
    for template in (
        "videos/chunk-000/{video_key}/episode_000000.mp4",
        "videos/chunk-000/{video_key}/episode_{file_index:06d}.mp4",
    ):
        change_info(root, video_path=template)
        assert all(_alike(each, picture(1000 * (at // 8) + at % 8)) for at, each in enumerate(seen(source(root))))


def test_split_names_that_no_recipe_could_ask_for(root: Path) -> None:
    change_info(root, splits={"../x": "0:9"})
    with pytest.raises(UsageError, match="only letters, digits"):
        source(root).units()


# Videos


def test_a_video_that_is_missing(root: Path) -> None:
    video_of(root, 1).unlink()
    found = seen(source(root))
    assert found[8:16] == ["missing_video"] * 8 and _alike(found[16], picture(2000))


def test_cameras_that_are_not_used_may_miss(tmp_path: Path) -> None:
    root = write_v21(tmp_path, [made(seed, 4, ("front", "wrist")) for seed in range(2)])
    shutil.rmtree(root / "videos/chunk-000/observation.images.wrist")
    found = source(root, camera="front")
    assert all(_alike(each, picture(1000 * (at // 4) + at % 4)) for at, each in enumerate(seen(found)))
    with pytest.raises(DataError, match="no video of the camera wrist"):
        source(root, camera="wrist").units()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_video_that_is_cut(root: Path, share: float) -> None:
    """Its index stands at its end: nothing of it can be read."""
    cut(video_of(root, 1), share)
    found = seen(source(root))
    assert found[8:16] == ["unreadable_video"] * 8 and _alike(found[16], picture(2000))


def test_a_video_that_is_cut_behind_its_index(root: Path) -> None:
    """What is there is read."""
    path, target = video_of(root, 1), video_of(root, 1).with_suffix(".part")
    with av.open(str(path)) as given, av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}) as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    target.rename(path)
    cut(path, 0.85)
    found = seen(source(root))[8:16]
    assert _alike(found[0], picture(1000)) and found[-1] in ("corrupt_frame", "missing_frame")
    assert all(isinstance(each, str) or _alike(each, picture(1000 + at)) for at, each in enumerate(found))


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libsvtav1"])
def test_frames_that_are_damaged(codec: str, tmp_path: Path) -> None:
    """One flipped bit in each of 60 videos: what is noticed is left out up to the next key frame, and other groups are whole."""
    whole, path = tmp_path / "whole.mp4", tmp_path / "flipped.mp4"
    film(whole, [picture(step) for step in range(20)], [step / 10 for step in range(20)], codec)
    with av.open(str(whole)) as container:
        group = np.cumsum([frame.key_frame for frame in container.decode(video=0)])
    content, random, told = whole.read_bytes(), np.random.default_rng(0), 0
    expected = decoded(whole)
    start, end = content.find(b"mdat") + 40, content.find(b"moov") - 8
    for _ in range(60):
        flipped = bytearray(content)
        flipped[random.integers(start, end)] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        found = decoded(path)
        assert set(found) <= set(expected)
        wrong = [at for at in found if not np.array_equal(found[at], expected[at])]
        assert len({group[at] for at in wrong}) <= 1
        told += len(found) < len(expected)
    assert told >= 15


def decoded(path: Path) -> dict[int, Any]:
    """The frames that are given, by tenths of a second."""
    video, found = Video(str(path), 10**6), {}
    for at in range(20):
        near = video.near(at / 10)
        if near.shown is not None and abs(near.shown.time - at / 10) < 0.05:
            found[at] = video.pixels(near.shown.frame).astype(int)
    video.close()
    return found


def test_playlists_and_other_files_in_the_place_of_a_video(root: Path, tmp_path: Path) -> None:
    """FFmpeg would follow what they name."""
    secret = tmp_path / "secret.mp4"
    shutil.copy(video_of(root, 0), secret)
    playlist = f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n".encode()
    for content in (playlist, f"ffconcat version 1.0\nfile {secret}\n".encode(), b"<html>", b"", b"RIFF....WAVE"):
        video_of(root, 1).write_bytes(content)
        assert seen(source(root))[8:16] == ["unreadable_video"] * 8


def test_frames_that_are_too_large(root: Path) -> None:
    assert seen(source(root, images={"max_pixels": 1000}))[:8] == ["too_many_pixels"] * 8


def test_paths_of_videos_never_leave_the_dataset(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.mp4"
    shutil.copy(video_of(root, 0), outside)
    shutil.rmtree(root / "videos")
    for template in (
        "../outside.mp4",
        str(outside),
        f"file:{outside}",
        "videos/../../outside.mp4",
        "{video_key}/../../outside.mp4",
    ):
        change_info(root, video_path=template)
        with pytest.raises(DataError, match="no video of the camera front"):
            source(root).units()


def test_templates_fill_in_numbers_and_names_only() -> None:
    assert fill("{a:03d}/{b}/{a}", a=7, b="x") == "007/x/7"
    assert fill("{b.__class__}/{c}/{a!r}/{a:9999999d}", a=7, b="x") == "{b.__class__}/{c}/{a!r}/{a:9999999d}"


def test_rows_that_name_their_frames(root: Path) -> None:
    """Columns of paths and times beside the videos, as early datasets have them."""
    kind = pa.struct([("path", pa.string()), ("timestamp", pa.float32())])
    for episode in range(3):
        table = pq.read_table(data_of(root, episode))
        values = pa.array([{"path": "videos/x.mp4", "timestamp": at / 10} for at in range(8)], kind)
        pq.write_table(table.append_column("observation.images.front", values), data_of(root, episode))
    assert all(_alike(each, picture(1000 * (at // 8) + at % 8)) for at, each in enumerate(seen(source(root))))


# Images


def still(root: Path, values: list[Any]) -> LeRobot:
    """A dataset whose only camera is a column of these images."""
    episode = made(0, len(values))
    episode.more = {"observation.images.front": pa.array(values, IMAGE)}
    return source(write_v21(root, [episode], stills=["front"]))


def test_images_without_bytes(tmp_path: Path) -> None:
    good = {"bytes": png(picture(1)), "path": "frame.png"}
    values = [good, None, {"bytes": None, "path": None}, {"bytes": b"", "path": "gone.png"}, good]
    assert [each if isinstance(each, str) else "image" for each in seen(still(tmp_path, values))] == [
        *("image", "missing_image", "missing_image", "missing_image", "image")
    ]


def test_a_damaged_footer_of_images_is_named(tmp_path: Path) -> None:
    """pyarrow itself would end the process."""
    still(tmp_path, [{"bytes": png(picture(at)), "path": None} for at in range(5)])
    path = next(tmp_path.rglob("data/**/*.parquet"))
    refused = read = 0
    for damaged in footer_flips(path.read_bytes(), every=101):
        path.write_bytes(damaged)
        try:
            read += len(list(records(source(path.parents[2]))))
        except (DataError, UsageError):  # a column may have another name now
            refused += 1
    assert refused and read


@pytest.mark.parametrize("beside", [False, True])
def test_images_in_files(tmp_path: Path, beside: bool) -> None:
    """Plain files in the dataset's folder `images`; nothing else, however it is named."""
    root = tmp_path / "set"
    folder = root / "images/front"
    folder.mkdir(parents=True)
    secret = tmp_path / "secret.png"
    for path in (secret, folder / "0.png", root / "elsewhere.png"):
        path.write_bytes(png(picture(3)))
    (folder / "link.png").symlink_to(secret)
    (folder / "hole").symlink_to(tmp_path)
    names = ["images/front/0.png", "images/front/link.png", "images/front/hole/secret.png", "../secret.png", str(secret)]
    names += [f"file://{secret}", "images/front/../../../secret.png", "elsewhere.png", "images\\front\\0.png", ""]
    values: list[Any] = [{"bytes": None, "path": name} for name in names]
    values += [{"bytes": png(picture(4)), "path": "x"}] * beside
    found = still(root, values)
    got = seen(found)
    assert got[0] == png(picture(3)) and set(got[1 : len(names)]) == {"missing_image"}
    places = [step.images[0].place for step in steps(found)]
    if beside:
        assert got[-1] == png(picture(4)) and set(places) == {None}
    else:
        assert places[0] is not None and places[0].path in found.files()
        assert (places[0].offset, places[0].length) == (0, len(got[0]))
    assert not any("link" in path or "secret" in path for path in found.files())


# Recognition


def test_datasets_of_version_1_are_named(tmp_path: Path) -> None:
    root = tmp_path / "old"
    (root / "meta_data").mkdir(parents=True)
    (root / "meta_data/info.json").write_text('{"codebase_version": "v1.6", "fps": 50, "video": true}')
    header = json.dumps({"from": {"dtype": "I64", "shape": [50], "data_offsets": [0, 400]}}).encode()
    (root / "meta_data/episode_data_index.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(400))
    for path in (root, root / "meta_data"):
        found = recognize(path)
        assert found is not None and found.what == "a LeRobot v1 dataset: 50 episodes" and "convert" in found.do
    assert LeRobot.recognize(root) is None
    (root / "meta_data/episode_data_index.safetensors").write_bytes(b"\xff" * 20)
    found = recognize(root)
    assert found is not None and found.what == "a LeRobot v1 dataset: of an unknown number of episodes"


def test_what_is_suggested(root: Path) -> None:
    for path in (root, root / "meta", root / "meta/info.json", root / "data", root / "videos"):
        found = LeRobot.recognize(path)
        assert found is not None and (dict(found.settings), found.name) == ({"path": str(root)}, "set")
    assert LeRobot.recognize(root.parent) is None
    change = {name: pa.array([*np.ones((8, 2), np.float32)], pa.list_(pa.float32())) for name in ("action.left", "action.right")}
    for episode in range(3):
        path = data_of(root, episode)
        table = pq.read_table(path).drop_columns(["action"])
        for name, values in change.items():
            table = table.append_column(name, values)
        pq.write_table(table, path)
    found = LeRobot.recognize(root)
    assert found is not None and found.settings["action"] == ["action.left", "action.right"]
    suggested = source(root, **{key: value for key, value in found.settings.items() if key != "path"})
    assert next(steps(suggested)).action.tolist() == [1.0] * 4 and not list(suggested.invalid_settings())


@pytest.mark.parametrize(
    ("ranges", "suggested"),
    [
        ({"arm": {"start": 0, "end": 6}, "hand": {"start": 6, "end": 7}}, None),
        ({"hand": {"start": 6, "end": 7}, "arm": {"start": 0, "end": 6}}, ["action[6:7]", "action[0:6]"]),
        ({"arm": {"start": 0, "end": 3}}, ["action[0:3]"]),
        ({"arm": {"start": 0, "end": 99}, "b": {"start": -1, "end": 2}, "c": "x"}, None),
    ],
)
def test_named_ranges_of_groot(root: Path, ranges: dict[str, Any], suggested: list[str] | None) -> None:
    (root / "meta/modality.json").write_text(json.dumps({"action": ranges, "state": [], "video": {}}))
    found = LeRobot.recognize(root)
    assert found is not None and found.settings.get("action") == suggested
    if suggested:
        assert list(found.facts["modality"]["action"].values()) == suggested
        assert len(next(steps(source(root, action=suggested))).action) == (7 if len(suggested) == 2 else 3)


def test_growth_names_only_what_is_new(tmp_path: Path) -> None:
    """Basis and place of an episode stay when others come; they change with its video, its split and its words."""
    root = write_v21(tmp_path, [made(seed, 4) for seed in range(2)])
    found = source(root)
    before = [(part, basis) for part, basis in zip(found.parts({}), found.bases(found.parts({})), strict=True)]
    write_v21(root, [made(seed, 4) for seed in range(2)] + [made(2, 4)])
    for episode in range(2):
        os.utime(video_of(root, episode), ns=(1, 1))
    parts = found.parts({})
    assert parts[:2] == [part for part, _ in before] and len(parts) == 3
    basis = found.bases(parts)
    change_info(root, splits={"train": "0:1", "val": "1:3"})
    assert [one != other for one, other in zip(basis, found.bases(parts), strict=True)] == [False, True, True]
    video_of(root, 0).touch()
    assert [one != other for one, other in zip(basis, found.bases(parts), strict=True)] == [True, True, True]


def test_only_steps_are_read(root: Path) -> None:
    assert {type(each) for each in records(source(root))} == {Step}


# In commands


@pytest.mark.slow
def test_commands_go_on_where_frames_are_missing(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video_of(root, 0).unlink()
    change_info(root, total_frames=999)
    (tmp_path / "mixture.yaml").write_text(
        f"robot_frac: 1\nstore: store\nmax_bad: 50%\nrobot: {{arm: {{kind: lerobot, path: {root}, action_space: widowx_bridge}}}}\n"
    )
    for words in (["inspect", root, "--suggest"], ["view", root, "-n", "1"], ["build-mixture", tmp_path / "mixture.yaml"]):
        assert not app([*map(str, words), *(["--workers", "0"] if words[0] == "build-mixture" else [])], standalone_mode=False)
    said = capsys.readouterr()
    assert "kind: lerobot" in said.out
    assert "info.json counts other frames than the episodes listed in meta have (1)" in said.err
    lost = pq.read_table(next((tmp_path / "store").glob("arm-*/rejects.parquet"))).to_pylist()
    assert [each["reason"] for each in lost] == ["missing_video"] * 8
    assert "there is no" in lost[0]["detail"] and "episode-000000" in lost[0]["where"]
