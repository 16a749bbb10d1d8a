"""Bad data, injected for real: each kind gives its own behaviour, one clear line, and exact counts. Nothing is lost silently."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.build import Site, build_plainly
from rt2data.errors import DataError, RejectLimitError, RtError, UsageError
from rt2data.formats.base import make_format
from rt2data.io.tfrecord.example import decode_example, encode_example
from rt2data.io.tfrecord.framing import frame, scan
from rt2data.io.tfrecord.reading import read_records
from rt2data.look.verify import verify
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.render.record import decode_record
from rt2data.seal.manifest import Manifest
from tests.bench.generate import STEPS, write_corpus, write_log

pytestmark = pytest.mark.long

EPISODES, PICTURES = 10, 30
Break = Callable[[Path], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small log and a small corpus without a fault."""
    folder = tmp_path_factory.mktemp("whole")
    write_log(folder / "log", EPISODES * STEPS * 4000, 4000)
    write_corpus(folder / "web", PICTURES, 4000)
    return folder


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    """A copy of it to break, with a recipe."""
    shutil.copytree(whole, tmp_path / "data")
    (tmp_path / "mixture.yaml").write_text(
        """
robot_frac: 0.5
store: store
robot: {log: {kind: rlds, path: data/log/bench_log/1.0.0, action_space: widowx_bridge}}
web: {qa: {kind: vqav2, questions: data/web/questions.json, annotations: data/web/annotations.json, image_dirs: data/web/images}}
"""
    )
    return tmp_path


def recipe(place: Path, *overrides: str) -> Recipe:
    return read_recipe(place / "mixture.yaml", overrides=overrides)


def build(place: Path, *overrides: str, allow_bad: bool = False) -> Manifest:
    return build_plainly(recipe(place, *overrides), Site(place / "out"), allow_bad)


def lost(manifest: Manifest, source: str) -> dict[str, int]:
    return {entry.reason: entry.count for entry in manifest.rejects[source]}


def rows(manifest: Manifest, source: str) -> int:
    return next(s.rows for s in manifest.plan.sources if s.name == source)


def shard(place: Path) -> Path:
    return next((place / "data" / "log" / "bench_log" / "1.0.0").glob("*.tfrecord*"))


def nothing_published(place: Path) -> bool:
    return not (place / "out").exists()


def test_the_whole_data_builds(place: Path) -> None:
    manifest = build(place)
    assert (rows(manifest, "log"), rows(manifest, "qa")) == (EPISODES * STEPS, 2 * PICTURES)
    assert not any(manifest.rejects.values())


def cut(size: Callable[[Path], int]) -> Break:
    def apply(place: Path) -> None:
        path = shard(place)
        with path.open("r+b") as file:
            file.truncate(size(path))

    return apply


CUTS = {
    "mid record": cut(lambda path: path.stat().st_size - 1000),
    "at a record boundary": cut(lambda path: scan(str(path)).spans[-1].offset),
    "in a length header": cut(lambda path: scan(str(path)).spans[-1].offset + 5),
    "in a payload checksum": cut(lambda path: path.stat().st_size - 2),
    "to nothing": cut(lambda path: 0),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_cut_file_is_never_read_as_a_shorter_one(place: Path, name: str) -> None:
    CUTS[name](place)
    with pytest.raises(DataError) as caught:
        build(place)
    assert shard(place).name in str(caught.value)
    assert caught.value.code == 3
    assert nothing_published(place)


def test_a_flipped_bit_costs_one_record(place: Path) -> None:
    path = shard(place)
    content = bytearray(path.read_bytes())
    span = scan(str(path)).spans[4]
    content[span.offset + span.length // 2] ^= 1
    path.write_bytes(content)
    manifest = build(place, "max_bad=50%")
    assert rows(manifest, "log") == (EPISODES - 1) * STEPS
    assert lost(manifest, "log").keys() == {"bad_crc"}


def test_a_lost_record_counts_as_an_episode(place: Path) -> None:
    """It is one reject, and as many rows as its episode had: one of a few episodes is far beyond 2 %."""
    path = shard(place)
    content = bytearray(path.read_bytes())
    span = scan(str(path)).spans[4]
    content[span.offset + span.length // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        RejectLimitError, match=rf"{STEPS} of {EPISODES * STEPS} rows .*1 bad_crc \(records of about {STEPS} rows\)"
    ):
        build(place, f"max_bad={0.5 / EPISODES}")


def rewrite(place: Path, change: Callable[[int, dict[str, Any]], None]) -> None:
    """Change the episodes of the log and write it anew."""
    path = shard(place)
    records = []
    for number, (_, payload) in enumerate(read_records(str(path))):  # type: ignore[misc]
        values = {name: feature.values() for name, feature in decode_example(payload).items()}
        change(number, values)
        records.append(frame(encode_example(values)))
    path.write_bytes(b"".join(records))


def poison(value: float) -> Callable[[int, dict[str, Any]], None]:
    def change(number: int, values: dict[str, Any]) -> None:
        if number == 3:
            action = np.array(values["steps/action"], np.float32)
            action[7 * 5 + 2] = value
            values["steps/action"] = action

    return change


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("policy", "dropped"), [("step", 1), ("episode", STEPS)])
def test_a_number_that_is_none_is_never_tokenized(place: Path, value: float, policy: str, dropped: int) -> None:
    rewrite(place, poison(value))
    manifest = build(place, f"robot.log.bad_step={policy}", "max_bad=50%")
    assert lost(manifest, "log") == {"nan_action": dropped}
    assert rows(manifest, "log") == EPISODES * STEPS - dropped
    assert np.isfinite(manifest.statistics["log"]["action"]["max"]).all()


def test_an_episode_with_a_wrong_number_of_action_values_costs_itself_alone(place: Path) -> None:
    def change(number: int, values: dict[str, Any]) -> None:
        if number == 2:
            values["steps/action"] = np.array(values["steps/action"], np.float32)[:-1]

    rewrite(place, change)
    manifest = build(place, "max_bad=50%")
    assert lost(manifest, "log") == {"ragged_episode": STEPS}
    assert rows(manifest, "log") == (EPISODES - 1) * STEPS


def test_a_wrong_action_space_names_episode_and_step(place: Path) -> None:
    with pytest.raises(DataError, match=r"7 dimensions.*metaworld has 4.*episode train-00000-000000 step 0"):
        build(place, "robot.log.action_space=metaworld")


def test_blank_instructions_are_dropped_and_no_fault(place: Path) -> None:
    """As in Bridge and DROID, where many episodes have no words."""

    def change(number: int, values: dict[str, Any]) -> None:
        if number < 2:
            values["steps/language_instruction"] = [b" "] * STEPS

    rewrite(place, change)
    manifest = build(place)
    assert lost(manifest, "log") == {"blank_instruction": 2 * STEPS}
    assert any(warn.code == "blank_dropped" for warn in manifest.plan.warnings)
    with pytest.raises(RejectLimitError, match="80 of 400 rows of source log are faulty"):
        build(place, "robot.log.blank_instruction=reject")
    kept = build_plainly(recipe(place, "robot.log.blank_instruction=keep"), Site(place / "kept"))
    assert not lost(kept, "log")
    found = verify(place / "kept")
    empty = sum(s.draws for s in kept.plan.sources if s.name == "log") * 2 // EPISODES
    assert found.ok
    assert f"{empty} examples of source log have a blank instruction or question in their prompt" in found.notes


def test_a_source_that_is_nearly_all_blank_is_refused(place: Path) -> None:
    def change(number: int, values: dict[str, Any]) -> None:
        if number:
            values["steps/language_instruction"] = [b"..."] * STEPS

    rewrite(place, change)
    assert rows(build(place), "log") == STEPS
    with pytest.raises(RejectLimitError, match=r"360 of 400 steps .* have no words, more than max_blank 0\.8") as caught:
        build_plainly(recipe(place, "robot.log.max_blank=80%"), Site(place / "other"))
    assert caught.value.code == 4


def test_instructions_are_cleaned_as_questions_are(place: Path) -> None:
    """What moves a cursor or turns the direction of writing is no word to learn."""

    def change(number: int, values: dict[str, Any]) -> None:
        values["steps/language_instruction"] = ["lift \x1b[2J the\ncup\u202e e\u0301".encode()] * STEPS

    rewrite(place, change)
    manifest = build(place, "robot_frac=1")
    (shard, *_) = manifest.shards
    first = next(make_format("webdataset").read(place / "out" / shard.name))
    assert decode_record(first.record).prompt == "Q: what action should the robot take to lift [2J the cup \xe9? A:"


def picture(place: Path, number: int) -> Path:
    return place / "data" / "web" / "images" / f"{number:012d}.jpg"


def damage(content: bytes) -> dict[str, bytes]:
    scan_data = bytearray(content)
    scan_data[len(content) // 2 : len(content) // 2 + 200] = b"\xff\xd9" * 100
    return {
        "cut": content[: len(content) // 2],
        "empty": b"",
        "html": b"<html><body>404 Not Found</body></html>",
        "garbled": bytes(scan_data),
    }


@pytest.mark.parametrize("kind", ["cut", "empty", "html", "garbled"])
def test_a_bad_picture_is_a_reject(place: Path, kind: str) -> None:
    path = picture(place, 7)
    path.write_bytes(damage(path.read_bytes())[kind])
    manifest = build(place, "max_bad=50%")
    assert sum(lost(manifest, "qa").values()) == 2  # two questions about it
    assert rows(manifest, "qa") == 2 * PICTURES - 2


def test_missing_pictures_are_counted(place: Path) -> None:
    for number in (1, 2, 3):
        picture(place, number).unlink()
    manifest = build(place, "max_bad=50%")
    assert lost(manifest, "qa") == {"missing_image": 6}


def test_too_many_rejects_publish_nothing(place: Path) -> None:
    for number in range(10):
        picture(place, number).write_bytes(b"")
    with pytest.raises(RejectLimitError, match="20 of 60 rows of source qa") as caught:
        build(place)
    assert caught.value.code == 4
    assert nothing_published(place)
    assert rows(build(place, allow_bad=True), "qa") == 40


def test_a_missing_annotations_file_is_named(place: Path) -> None:
    (place / "data" / "web" / "annotations.json").unlink()
    with pytest.raises(UsageError, match=r"annotations\.json"):
        build(place)


@pytest.mark.parametrize("name", ["questions.json", "annotations.json"])
def test_cut_json_is_named_with_its_byte(place: Path, name: str) -> None:
    path = place / "data" / "web" / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=rf"{name}.*byte \d+"):
        build(place)


def test_a_question_of_100_mb_is_a_reject_and_takes_no_memory(place: Path) -> None:
    path = place / "data" / "web" / "questions.json"
    asked = json.loads(path.read_text())
    asked["questions"][5]["question"] = "why " * 25_000_000
    path.write_text(json.dumps(asked))
    del asked
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    manifest = build(place, "max_bad=50%")
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 300
    assert rows(manifest, "qa") == 2 * PICTURES - 1
    assert sum(lost(manifest, "qa").values()) >= 1


def test_two_rows_of_one_key_are_refused(place: Path) -> None:
    path = place / "data" / "web" / "questions.json"
    asked = json.loads(path.read_text())
    asked["questions"].append(asked["questions"][3])
    path.write_text(json.dumps(asked))
    with pytest.raises(DataError):
        build(place)


def test_a_side_emptied_by_filters_is_never_left_out(place: Path) -> None:
    with pytest.raises(DataError, match="robot side") as caught:
        build(place, "robot.log.filters.instruction=no such words")
    assert caught.value.code == 3


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("robot_frac=1.5", "robot_frac"),
        ("robot_frac=-0.1", "robot_frac"),
        ("robot_frac=nan", "robot_frac"),
        ("robot.log.weight=-1", "robot.log.weight"),
        ("robot.log.weight=.nan", "robot.log.weight"),
        ("robot.log.weight=0", "weight"),
        ("web.qa.weight=0", "weight"),
    ],
)
def test_senseless_shares_are_refused_by_name(place: Path, override: str, key: str) -> None:
    with pytest.raises(RtError) as caught:
        recipe(place, override)
    assert caught.value.code == 2
    assert key in str(caught.value)


@pytest.mark.parametrize("share", ["0", "1", "0.66", "2/3", "50%"])
def test_shares_are_exact(place: Path, share: str) -> None:
    manifest = build(place, f"robot_frac={share}", "size.num_examples=997")
    want = float(recipe(place, f"robot_frac={share}").robot_frac) * 997
    assert abs(manifest.plan.robot_examples - want) < 1
    for info in manifest.shards:
        robot = info.sources["log"].examples if "log" in info.sources else 0
        assert abs(robot - float(manifest.plan.robot_examples) / 997 * info.examples) <= 1
